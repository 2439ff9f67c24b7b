"""`kafkapp produce -L`: brokers, topics, partitions and leaders, word for word as kcat, where that is installed."""
import json
import shutil
import signal
import socket
import subprocess

import pytest
from command_line import BOUND, finish, run, start

from kafkapp import ErrorCode
from kafkapp.testing import MockCluster


@pytest.fixture
def cluster():
    with MockCluster(3) as cluster:
        yield cluster


def test_an_empty_cluster_has_brokers(cluster):
    result = run("produce", "-L", "-b", cluster.bootstrap_servers)
    assert (result.returncode, result.stderr) == (0, "")
    head, count, *brokers, topics = result.stdout.splitlines()
    assert head.startswith("Metadata for all topics (from broker ") and (count, topics) == (" 3 brokers:", " 0 topics:")
    assert sorted(brokers) == [f"  broker {number} at {address}" for number, address in enumerate(cluster.bootstrap_servers.split(","), 1)]


def test_topics_and_leaders(cluster):
    cluster.create_topic("orders", 2, 3)
    cluster.create_topic("audit", 1, 1)
    cluster.set_leader("orders", 1, 2)
    said = run("produce", "-L", "-b", cluster.bootstrap_servers, "-t", "orders").stdout
    assert "Metadata for orders (from broker " in said and ' 1 topics:\n  topic "orders" with 2 partitions:\n' in said
    assert "    partition 1, leader 2, replicas: " in said and "audit" not in said
    result = run("produce", "-L", "--json", "-b", cluster.bootstrap_servers)
    found = json.loads(result.stdout)
    assert found["query"] == {"topic": "*"} and sorted(one["id"] for one in found["brokers"]) == [1, 2, 3]
    assert {one["topic"]: len(one["partitions"]) for one in found["topics"]} == {"orders": 2, "audit": 1}
    [orders] = [one for one in found["topics"] if one["topic"] == "orders"]
    assert orders["partitions"][1]["leader"] == 2 and len(orders["partitions"][1]["replicas"]) == 3


def test_a_topics_error(cluster):
    cluster.create_topic("orders", 1)
    cluster.set_topic_error("orders", ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
    assert 'topic "orders" with 1 partitions: Broker: Topic authorization failed\n' in run("produce", "-L", "-b", cluster.bootstrap_servers).stdout


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat")
def test_it_is_kcats(cluster):
    for number in range(3):
        cluster.create_topic(f"topic-{number}", number + 1, number + 1)
    kcats = subprocess.run(["kcat", "-L", "-b", cluster.bootstrap_servers], capture_output=True, text=True, timeout=BOUND, check=True).stdout
    ours = run("produce", "-L", "-b", cluster.bootstrap_servers).stdout
    assert sorted(ours.replace(" (controller)", "").splitlines()[1:]) == sorted(kcats.replace(" (controller)", "").splitlines()[1:])


def test_what_is_not_there_is_an_error_and_is_not_created(cluster):
    result = run("produce", "-L", "-b", cluster.bootstrap_servers, "-t", "missing", "--json")
    assert result.returncode == 2 and json.loads(result.stdout)["error"] == "topic missing is not there"
    assert " 0 topics:" in run("produce", "-L", "-b", cluster.bootstrap_servers).stdout


def test_no_brokers(monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert "no brokers: " in run("produce", "-L").stderr
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{one.getsockname()[1]}"
        result = run("produce", "-L", "-b", nobody, "--timeout", "0.5")
        assert result.returncode == 2 and f"no broker reachable at {nobody} within 0.5 s: " in result.stderr and "Connection refused" in result.stderr
        process = start("produce", "-L", "-b", nobody, "--timeout", "60", "--json")
        assert b"Connection refused" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        status, out, err = finish(process)
        assert status == 130 and json.loads(out)["interrupted"] and "Traceback" not in err


def test_of_an_embedded_cluster():
    assert " 1 brokers:\n" in run("produce", "-L", "--embedded").stdout
