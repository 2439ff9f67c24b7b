"""`kafkapp mock-cluster`: topics that are there from the start, and a program that it runs."""
import os
import signal
import socket
import sys

import pytest
from command_line import finish, run, start

from kafkapp import KafkaSyncProducer

PARTITIONS = """
import os, sys
from kafkapp import KafkaSyncProducer
with KafkaSyncProducer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]}) as producer:
    for topic in sys.argv[1:]:
        print(topic, len(producer.fetch_broker_metadata(topic).partitions))
"""


def test_topics_are_there_from_the_start():
    process = start("mock-cluster", "--topic", "orders:6", "-t", "audit")
    servers = process.stdout.readline().decode().strip()
    with KafkaSyncProducer({"bootstrap.servers": servers, "allow.auto.create.topics": False}) as producer:
        assert [len(producer.fetch_broker_metadata(topic).partitions) for topic in ("orders", "audit")] == [6, 4]
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (0, "", "")


def test_a_program_finds_the_cluster_in_its_environment_and_its_status_is_the_commands():
    result = run("mock-cluster", "--brokers", 2, "--topic", "t:3", "--exec", sys.executable, "-c", PARTITIONS + "sys.exit(7)", "t")
    assert (result.returncode, result.stdout, result.stderr) == (7, "t 3\n", "")


def test_its_input_and_options_are_its_own():
    result = run("mock-cluster", "--exec", "sh", "-c", "cat; test -n \"$KAFKA_BOOTSTRAP_SERVERS\" && echo $1", "sh", "--brokers", stdin=b"in\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "in\n--brokers\n", "")


def test_a_program_that_cannot_be_started_is_named():
    result = run("mock-cluster", "--exec", "no-such-program")
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "kafkapp: no-such-program: No such file or directory\n")


WAITS = """
import os, signal, sys, time
def end(number, frame):
    os.write(1, b"got %d\\n" % number)       # print() may be interrupted by itself
    sys.exit(0 if sys.argv[1] == "catches" else 1)
if sys.argv[1] == "catches":
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("kind, status, said", [("catches", 0, f"got {int(signal.SIGTERM)}\n"), ("dies", 128 + signal.SIGTERM, "")])
def test_sigterm_is_passed_on(kind, status, said):
    process = start("mock-cluster", "--exec", sys.executable, "-c", WAITS, kind)
    int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (status, said, "")


def test_ctrl_c_of_a_terminal_reaches_the_program_once_and_the_command_waits_for_its_end():
    process = start("mock-cluster", "--exec", sys.executable, "-c", WAITS, "catches", start_new_session=True)
    int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == (0, f"got {int(signal.SIGINT)}\n", "")


def test_a_program_that_kills_itself():
    assert run("mock-cluster", "--exec", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_no_port_stays_open_in_what_the_program_leaves_behind(tmp_path):
    """The cluster's sockets are not the program's: a daemon that it starts does not keep them."""
    note = tmp_path / "servers"
    result = run("mock-cluster", "--exec", "sh", "-c", f"echo $KAFKA_BOOTSTRAP_SERVERS > {note}; sleep 30 > /dev/null 2>&1 & echo $!")
    try:
        host, port = note.read_text().strip().split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), 5).close()
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)
