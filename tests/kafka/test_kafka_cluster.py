"""The cluster helper: it starts, restarts after every way of being stopped, and leaves no java process behind."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from kafka_admin import wait_until
from kafka_cluster import process_state

SUPPORT = pathlib.Path(__file__).parent.parent / "support"

CONFTEST = f"import sys\nsys.path.insert(0, {str(SUPPORT)!r})\nfrom kafka_fixtures import *\n"
RUN = """
import sys

def test_it(kafka_factory):
    cluster = kafka_factory(1)
    print("PIDS", cluster.nodes[1].pid, cluster.folder, file=sys.__stdout__, flush=True)
    with open({fifo!r}) as fifo:
        assert fifo.read() == "well"
"""


def gone(pid):
    return process_state(pid) in "ZX"


def inner_pytest(folder, *options):
    """The command of another pytest, of the tests in a folder."""
    (folder / "conftest.py").write_text(CONFTEST)
    return [sys.executable, "-m", "pytest", "-q", *options, "-p", "no:cacheprovider", f"--basetemp={folder}/base", str(folder)]


@pytest.fixture
def inner_run(tmp_path):
    """Another pytest with a one-node cluster of its own, stopped while its test waits."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "test_inner.py").write_text(RUN.format(fifo=str(fifo)))
    process = subprocess.Popen(
        inner_pytest(tmp_path, "-s"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    while not (found := re.search(r"PIDS (\d+) (.*)\n", said)):
        line = process.stdout.readline()
        assert line, f"the inner run ended: {said}"
        said += line
    process.node_pid, process.folder, process.fifo = int(found[1]), pathlib.Path(found[2]), fifo
    assert not gone(process.node_pid)
    yield process
    if process.poll() is None:
        process.kill()
    process.stdout.close()
    process.wait(10)


def test_ctrl_c_leaves_no_process_and_no_data(inner_run):
    os.killpg(inner_run.pid, signal.SIGINT)  # as a terminal does: to the whole group of the foreground
    inner_run.communicate(timeout=30)
    assert inner_run.returncode == 2
    assert gone(inner_run.node_pid)
    assert not list(inner_run.folder.glob("node-*/data"))


def test_a_killed_run_leaves_no_process(inner_run):
    inner_run.kill()
    inner_run.wait(10)
    wait_until(lambda: gone(inner_run.node_pid), 10, "the node's end")


def test_logs_are_kept_and_shown_when_a_test_fails(inner_run):
    inner_run.fifo.write_text("badly")
    said = inner_run.communicate(timeout=30)[0]
    assert gone(inner_run.node_pid)
    log = inner_run.folder / "node-1" / "server.log"
    assert f"log kept in {log}" in said
    assert "Kafka Server started" in log.read_text()
    assert not list(inner_run.folder.glob("node-*/data"))


@pytest.mark.parametrize("required", [False, True])
def test_without_java_the_run_says_what_it_left_out(tmp_path, required):
    (tmp_path / "test_inner.py").write_text(RUN.format(fifo=""))
    environment = {name: text for name, text in os.environ.items() if name not in ("CI", "KAFKAPP_TEST_REQUIRE_KAFKA")}
    environment |= {"PATH": "", "JAVA_HOME": ""} | ({"CI": "true"} if required else {})
    done = subprocess.run(
        inner_pytest(tmp_path), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    if required:
        assert done.returncode == 1
        assert "a real Kafka is required here, but no java found" in done.stdout
    else:
        assert done.returncode == 0
        assert "real Kafka: LEFT OUT (no java found" in done.stdout


def test_a_leader_is_where_the_assignment_put_it(kafka_nodes, make_topic):
    topic = make_topic(assignment=[[3, 1], [2, 3], [1, 2]])
    assert [kafka_nodes.leader(topic, partition) for partition in range(3)] == [3, 2, 1]


def test_a_paused_node_answers_nothing_and_comes_back(kafka_nodes):
    with kafka_nodes.paused():
        assert [process_state(node.pid) for node in kafka_nodes.nodes.values()] == ["T"] * 3
        assert kafka_nodes.brokers() == set()
    kafka_nodes.wait_ready(timeout=30)


def test_a_killed_leader_is_followed_by_another_and_heals(kafka_nodes, make_topic):
    topic = make_topic(assignment=[[2, 3, 1]])
    before = kafka_nodes.nodes[2].pid
    kafka_nodes.nodes[2].kill()
    assert gone(before)
    assert kafka_nodes.leader(topic, other_than=2) in (1, 3)
    kafka_nodes.heal()
    assert kafka_nodes.nodes[2].pid != before
    assert [set(found.isrs) for found in kafka_nodes.partitions(topic, 0)] == [{1, 2, 3}] * 3


def test_a_slowed_node_is_slow_and_not_gone(kafka_nodes, make_topic):
    node = kafka_nodes.nodes[2]
    with node.slowed(share=0.1):
        states = set()
        deadline = time.monotonic() + 5
        while len(states) < 2 and time.monotonic() < deadline:
            states.add(process_state(node.pid) == "T")
        assert states == {True, False}
        assert kafka_nodes.leader(make_topic(assignment=[[2]])) == 2


def test_an_existing_cluster_is_used_and_none_of_its_nodes_touched(kafka_nodes, tmp_path):
    (tmp_path / "test_inner.py").write_text(
        "def test_topic(kafka, topic):\n    assert kafka.leader(topic) in (1, 2, 3)\n    assert kafka.nodes == {}\n"
        "def test_nodes(kafka_nodes):\n    assert False, 'must be skipped'\n"
    )
    environment = os.environ | {"KAFKAPP_TEST_BOOTSTRAP": kafka_nodes.bootstrap_servers}
    done = subprocess.run(
        inner_pytest(tmp_path), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "1 passed, 1 skipped" in done.stdout
    assert "log kept" not in done.stdout
