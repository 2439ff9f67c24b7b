"""Fixtures for a real Kafka: one three-node cluster for a whole run, temporary topics, proxies, a ledger.

kafka/conftest.py imports these names, and any other conftest may.
KAFKAPP_TEST_BOOTSTRAP=host:port,... uses an existing cluster, which no test will stop. Where Kafka cannot run, its tests are
skipped and the summary says so; with CI or KAFKAPP_TEST_REQUIRE_KAFKA set, they fail.
"""

import os

import pytest
from kafka_admin import ClusterAdmin
from kafka_cluster import KafkaCluster
from kafka_jars import KafkaUnavailable, may_not_be_left_out
from ledger import Ledger
from proxy import ProxySet
from readback import read_log

_left_out = pytest.StashKey()
_logs = pytest.StashKey()


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter, config):
    """Say what a glance at the dots would miss: that the real Kafka was left out, or where its logs are."""
    reason = config.stash.get(_left_out, None)
    if reason:
        terminalreporter.write_line(f"real Kafka: LEFT OUT ({reason})", yellow=True)
    for log in config.stash.get(_logs, []):
        terminalreporter.write_line(f"real Kafka: log kept in {log}")


@pytest.fixture(scope="session")
def kafka_factory(request, tmp_path_factory):
    """Starts a cluster with KafkaCluster's arguments; it is stopped at the end of the run, or by its own stop()."""
    started = []
    failed_before = request.session.testsfailed

    def start(nodes=1, **arguments):
        # In pytest's own folder: what a run that was killed leaves behind is removed by the runs after it.
        folder = tmp_path_factory.mktemp(f"kafka-{nodes}-nodes", numbered=True)
        try:
            cluster = KafkaCluster(nodes, folder=folder, **arguments)
        except KafkaUnavailable as missing:
            if may_not_be_left_out():
                pytest.fail(f"a real Kafka is required here, but {missing}", pytrace=False)
            request.config.stash[_left_out] = str(missing)
            pytest.skip(f"real Kafka: {missing}")
        started.append(cluster)
        return cluster.start()

    yield start
    for cluster in started:
        if request.session.testsfailed > failed_before:
            request.config.stash.setdefault(_logs, []).extend(cluster.logs())
        cluster.stop(keep_logs=True)


@pytest.fixture(scope="session")
def kafka(request, kafka_factory):
    """The cluster of this run: three nodes of ours, or the one that KAFKAPP_TEST_BOOTSTRAP names."""
    existing = os.environ.get("KAFKAPP_TEST_BOOTSTRAP")
    if existing:
        return ClusterAdmin(existing)
    return kafka_factory(3)


@pytest.fixture
def kafka_nodes(kafka):
    """The cluster, for tests that stop its nodes: skipped when it is not ours. make_topic brings them all back."""
    if not kafka.nodes:
        pytest.skip("the nodes of KAFKAPP_TEST_BOOTSTRAP are not ours to stop")
    yield kafka
    kafka.heal()


@pytest.fixture
def make_topic(kafka):
    """Creates topics by create_topic's arguments and deletes them after the test."""
    made = []

    def make(**arguments):
        made.append(kafka.create_topic(**arguments))
        return made[-1]

    yield make
    if kafka.nodes:
        kafka.heal()
    for name in made:
        if all(name in view.topics for view in kafka.views()):
            kafka.delete_topic(name)


@pytest.fixture
def topic(make_topic):
    """A fresh topic of one partition, replicated as the cluster can."""
    return make_topic()


@pytest.fixture
def proxies(kafka_nodes):
    """A misbehaving proxy before each node: clients enter by `proxies.bootstrap_servers`."""
    with ProxySet(kafka_nodes) as proxies:
        yield proxies


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def verdict_of(kafka, ledger):
    """Reads the topic back and gives the ledger's verdict on it."""

    def verdict(topic, **arguments):
        return ledger.verdict(read_log(kafka.bootstrap_servers, topic), **arguments)

    return verdict
