"""`kafkapp consume`: every way in which it ends, and what it has committed then: whole records that were written, and no others."""
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import time

import pyarrow
import pytest
from command_line import BOUND, COMMAND, Terminal, environment, finish, new_topic, run, start, until

from kafkapp import ErrorCode, KafkaAsyncProducer

NEVER = ("-X", "auto.commit.interval.ms=86400000")      # but at the end
ALWAYS = ("-X", "auto.commit.interval.ms=1")
MANY = 20_000       # records of 100 bytes: more than a pipe takes


@pytest.fixture
def many(send):
    send(*(b"%099d" % n for n in range(MANY)))


@pytest.fixture
def arguments(broker, topic):
    return "consume", "-b", broker.bootstrap_servers, topic


@pytest.fixture
def member(arguments, topic):
    """Arguments of a command that reads the partition for a group, which has the topic's name."""
    return *arguments, "-g", topic, "-p", "0"


@pytest.fixture
def committed(broker, topic):
    return lambda: broker.committed(topic).get((topic, 0), 0)


def lines_of(process):
    """The lines that are still in the pipe of a process that has ended."""
    return process.stdout.read().split(b"\n")[:-1]


# -- groups ------------------------------------------------------------------------------------------------------------

def test_a_group_goes_on_where_it_stopped(send, member, committed):
    send(b"a", b"b", b"c")
    assert run(*member, "-c", "2").stdout == "a\nb\n"
    assert committed() == 2
    assert run(*member, "-e").stdout == "c\n"
    send(b"d")
    assert run(*member, "-e", "-X", "enable.auto.commit=false").stdout == "d\n"
    assert committed() == 3
    assert run(*member, "-e", "-o", "beginning").stdout == "a\nb\nc\nd\n"


def test_without_a_group_nothing_is_committed(send, arguments, broker, topic):
    send(b"a")
    assert run(*arguments, "-e").stdout == "a\n"
    assert broker.committed(topic) == {}


def test_killed_between_output_and_commit_it_loses_nothing(send, member, committed):
    send(b"a", b"b")
    process = start(*member, *NEVER)
    assert process.stdout.readline() + process.stdout.readline() == b"a\nb\n"
    process.kill()
    process.communicate(timeout=BOUND)
    assert committed() == 0
    assert run(*member, "-e").stdout == "a\nb\n"


def test_killed_while_its_output_is_blocked_it_has_committed_no_more_than_it_wrote(many, member, committed):
    process = start(*member, *ALWAYS)
    assert process.stdout.readline()
    process.kill()
    process.wait(BOUND)
    written = 1 + len(lines_of(process))
    assert written < MANY and committed() <= written
    rest = run(*member, "-e").stdout.splitlines()
    assert MANY - len(rest) <= written and int(rest[-1]) == MANY - 1


def test_it_commits_while_it_reads(send, member, committed):
    send(b"a")
    process = start(*member, *ALWAYS)
    assert process.stdout.readline() == b"a\n"
    until(lambda: committed() == 1)
    process.kill()
    process.communicate(timeout=BOUND)


# -- signals -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_commits_what_was_written(send, member, committed, number):
    send(b"a", b"b")
    process = start(*member, *NEVER)
    assert process.stdout.readline() + process.stdout.readline() == b"a\nb\n"
    process.send_signal(number)
    status, out, err = finish(process)
    assert (status, out, committed()) == (128 + number, "", 2)
    assert err.startswith("2 read: 2 bytes in ") and err.count("\n") == 2


def test_a_signal_while_nobody_reads_the_output(many, member, committed):
    process = start(*member, *NEVER)
    assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND) == 128 + signal.SIGTERM
    written = 1 + len(lines_of(process))
    assert 1 <= committed() == written < MANY
    process.communicate()


def test_a_signal_while_the_output_is_read_for_a_while_yet(many, member, committed):
    process = start(*member, *NEVER)
    out = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out += process.stdout.read(200_000)     # more than a pipe takes: a write goes on, and stops amid the batch
    assert process.wait(BOUND) == 128 + signal.SIGTERM
    out += process.stdout.read()
    assert 1 <= committed() == out.count(b"\n") < MANY
    process.communicate()


def test_a_signal_while_nobody_reads_an_arrow_stream(many, member, committed):
    process = start(*member, *NEVER, "--arrow", "-")
    assert process.stdout.read(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND) == 128 + signal.SIGTERM
    assert committed() < MANY
    process.communicate()


def test_a_signal_while_no_broker_answers():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        process = start("consume", "-b", f"127.0.0.1:{nobody.getsockname()[1]}", "t", "--timeout", "60")
        assert b"Connection refused" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert finish(process)[0] == 130


def test_an_arrow_stream_that_is_interrupted_is_whole(send, arguments, tmp_path):
    send(b"a", b"b")
    path = tmp_path / "a.arrows"
    process = start(*arguments, "--arrow", path)
    until(lambda: path.exists() and path.stat().st_size > 1000)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    data = path.read_bytes()
    assert data.endswith(b"\xff\xff\xff\xff\0\0\0\0")      # the end of a stream
    assert pyarrow.ipc.open_stream(data).read_all()["value"].to_pylist() == [b"a", b"b"]


# -- what it writes to -------------------------------------------------------------------------------------------------

def test_nobody_reads_any_more(many, member, committed):
    process = start(*member)
    assert process.stdout.readline()
    process.stdout.close()
    assert (process.wait(BOUND), process.stderr.read()) == (128 + signal.SIGPIPE, b"")
    assert 1 <= committed() < MANY
    process.stdin.close()
    process.stderr.close()


def test_nobody_reads_any_more_while_nothing_comes(send, arguments):
    send(b"a")
    process = start(*arguments)
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    assert (process.wait(BOUND), process.stderr.read()) == (128 + signal.SIGPIPE, b"")
    process.stdin.close()
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("arrow", [(), ("--arrow", "-")], ids=["values", "arrow"])
def test_a_full_disk_at_standard_output(send, member, committed, arrow):
    send(b"a")
    with open("/dev/full", "wb") as full:
        status, _, err = finish_without_output(start(*member, "-e", *arrow, stdout=full))
    assert status == 2 and committed() == 0
    assert err.splitlines()[-1] == "kafkapp: standard output: No space left on device: no record is written"


def finish_without_output(process):
    _, err = process.communicate(timeout=BOUND)
    return process.returncode, None, err.decode()


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_becomes_full_has_whole_records_and_these_are_committed(send, member, committed, topic, tmp_path):
    send(*(b"value %d" % n for n in range(10)))
    path = tmp_path / "values"
    with open(path, "wb") as file:
        file.write(b"before\n")
        file.flush()
        status, _, err = finish_without_output(start(*member, "-e", stdout=file, preexec_fn=limited(30)))
    assert path.read_bytes() == b"before\nvalue 0\nvalue 1\n"
    assert (status, committed()) == (2, 2)
    assert err.splitlines()[-1] == f"kafkapp: standard output: File too large: the last record written is {topic}-0@1"
    with open(path, "ab") as file:
        assert finish_without_output(start(*member, "-e", stdout=file))[0] == 0
    assert path.read_bytes() == b"before\n" + b"".join(b"value %d\n" % n for n in range(10))


def test_envelopes_on_a_disk_that_becomes_full_are_whole(send, member, committed, tmp_path):
    send(*(b"value %d" % n for n in range(10)))
    with open(tmp_path / "envelopes", "wb") as file:
        status, _, err = finish_without_output(start(*member, "-e", "-J", stdout=file, preexec_fn=limited(400)))
    written = (tmp_path / "envelopes").read_bytes()
    assert [json.loads(line)["value"] for line in written.splitlines()] == [f"value {n}" for n in range(committed())]
    assert status == 2 and 0 < committed() < 10 and written.endswith(b"}\n") and "File too large: the last record written is" in err


def test_an_arrow_stream_on_a_disk_that_becomes_full_is_whole_as_far_as_it_goes(send, member, committed, topic, tmp_path):
    path = tmp_path / "a.arrows"
    send(b"first")
    process = start(*member, *ALWAYS, "--arrow", path, preexec_fn=limited(100_000))
    until(lambda: committed() == 1)
    send(b"x" * 200_000)
    status, _, err = finish(process)
    assert pyarrow.ipc.open_stream(path).read_all()["value"].to_pylist() == [b"first"]
    assert (status, committed()) == (2, 1)
    assert err.splitlines()[-1] == f"kafkapp: {path}: File too large: the last record written is {topic}-0@0"


def test_standard_output_is_closed(send, arguments):
    send(b"a")
    done = subprocess.run([*COMMAND, *arguments, "-e"], env=environment(), stderr=subprocess.PIPE, timeout=BOUND, check=False,
                          preexec_fn=lambda: os.close(1))
    assert done.returncode == 2 and b"kafkapp: standard output: Bad file descriptor" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("more", [(), ("-g", "group")], ids=["alone", "in a group"])
def test_a_topic_that_is_deleted_ends_the_wait_for_its_end(cluster, more):
    """Not one that was read to its end before."""
    cluster.create_topic(topic := new_topic(), 2)
    cluster.create_topic(read := new_topic(), 1)
    with KafkaAsyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
        producer.send(topic, b"first", partition=1)
    cluster.set_leader(topic, 0, None)
    process = start("consume", "-b", cluster.bootstrap_servers, topic, read, "-e", *more)
    assert process.stdout.readline() == b"first\n"
    time.sleep(1)       # the end of the other one has come then
    cluster.set_topic_error(read, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.value)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.value)
    status, out, err = finish(process)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == f"kafkapp: topic {topic} is not there any more: it was deleted before its end was read"


def test_a_topic_that_a_broker_misses_for_a_moment_is_read_to_its_end(cluster):
    """Longer than the command takes between two looks, shorter than it waits."""
    cluster.create_topic(topic := new_topic(), 2)
    with KafkaAsyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
        producer.send(topic, b"first", partition=1)
    cluster.set_leader(topic, 0, None)
    process = start("consume", "-b", cluster.bootstrap_servers, topic, "-e")
    assert process.stdout.readline() == b"first\n"
    cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.value)
    time.sleep(3)
    cluster.set_topic_error(topic, 0)
    cluster.set_leader(topic, 0, 1)
    assert finish(process)[:2] == (0, "")


# -- progress ----------------------------------------------------------------------------------------------------------

def test_progress_is_for_a_terminal_that_does_not_show_the_records(send, arguments, tmp_path):
    send(b"a", b"b")
    with open(tmp_path / "out", "wb") as out, Terminal(*arguments, "-c", "2", stdout=out) as terminal:
        assert terminal.wait() == 0
        assert re.search(r"2 read, [\d,]+ records/s, 2 bytes", terminal.text) and "\x1b[32m2 read\x1b[0m: 2 bytes" in terminal.text
    assert (tmp_path / "out").read_bytes() == b"a\nb\n"
    with Terminal(*arguments, "-c", "2") as terminal:
        assert terminal.wait() == 0
        assert "records/s, 2 bytes" not in terminal.text and terminal.text.startswith("a\r\nb\r\n")


@pytest.mark.parametrize("form", [(), ("-J",)], ids=["values", "envelopes"])
def test_it_writes_records_as_they_come(send, arguments, form):
    process = start(*arguments, *form)
    for value in "a", "b":
        send(value)
        assert select.select([process.stdout], [], [], BOUND)[0]
        line = process.stdout.readline().decode()
        assert (json.loads(line)["value"] if form else line.rstrip("\n")) == value
    process.kill()
    process.communicate(timeout=BOUND)
