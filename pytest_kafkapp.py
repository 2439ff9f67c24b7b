"""pytest's plugin: the fixtures kafka_cluster, kafka_producer and kafka_consumer. docs/guide/testing.md has examples.

It stands beside the package, and imports it only when a test asks for a fixture: pytest loads plugins in every run.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kafkapp import Batch, Error, KafkaAsyncProducer, KafkaConsumer, KafkaSyncProducer, RecordMetadata
    from kafkapp.testing import MockCluster

SCOPES: dict[str, Any] = {"function": pytest.Function, "class": pytest.Class, "module": pytest.Module,
                          "package": pytest.Package, "session": pytest.Session}
MARKERS = """\
kafka_cluster(brokers=1, topics=()): what kafka_cluster has. topics: names, or a dict of names and partitions.
kafka_producer(properties={}, sync=False, allow_undelivered=False): what kafka_producer is made of. sync: a \
KafkaSyncProducer; allow_undelivered: records that are not delivered do not fail the test.
kafka_consumer(*topics, properties={}): what kafka_consumer subscribes to, and is made of."""
PARTITIONS = 4
CLOSE_SECONDS = 15
LINES = 10          # that a failed test shows
LONGEST = 100       # bytes of a key or value in them


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("kafka_cluster_brokers", "brokers of the fixture kafka_cluster", default="1")
    parser.addini("kafka_cluster_topics", "its topics: NAME or NAME:PARTITIONS, one a line", type="linelist")
    parser.addini("kafka_cluster_scope", f"its scope: {', '.join(SCOPES)}", default="function")


def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS.splitlines():
        config.addinivalue_line("markers", line)


def scope_of_cluster(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.getini("kafka_cluster_scope")
    if scope not in SCOPES:
        raise pytest.UsageError(f"kafka_cluster_scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    return scope


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("kafka_cluster")
    scope = item.config.getini("kafka_cluster_scope")
    if marker is None or scope == "function":
        return
    owner = item.getparent(SCOPES[scope]) or item.getparent(pytest.Module)
    if owner is None or owner.get_closest_marker("kafka_cluster") is not marker:
        pytest.fail(f"@pytest.mark.kafka_cluster of one test has no effect with kafka_cluster_scope = {scope}, where "
                    "tests share a cluster: take the marker away, or mark the class or module", pytrace=False)


def arguments_of(node: Any, name: str, read: Callable[..., Any]) -> Any:
    """What `read` makes of the arguments of the node's marker."""
    marker = node.get_closest_marker(name)
    try:
        return read(*marker.args, **marker.kwargs) if marker else read()
    except TypeError as exc:
        pytest.fail(f"@pytest.mark.{name}: {str(exc).replace(read.__name__, name)}", pytrace=False)


# -- kafka_cluster -----------------------------------------------------------------------------------------------------

def partitions_of(topics: Sequence[str] | Mapping[str, int]) -> dict[str, int]:
    if isinstance(topics, str):
        raise TypeError(f"topics must be names or a dict of names and partitions, not {topics!r}: use [{topics!r}]")
    return dict(topics) if isinstance(topics, Mapping) else dict.fromkeys(topics, PARTITIONS)


def listed_brokers(text: str) -> int:
    if not text.strip().isdecimal():
        raise pytest.UsageError(f"kafka_cluster_brokers must be a number, not {text!r}")
    return int(text)


def listed_topics(lines: list[str]) -> dict[str, int]:
    found = {}
    for line in lines:
        name, _, partitions = line.partition(":")
        if partitions and not partitions.strip().isdecimal():
            raise pytest.UsageError(f"kafka_cluster_topics: {line!r} must be NAME or NAME:PARTITIONS")
        found[name.strip()] = int(partitions or PARTITIONS)
    return found


@pytest.fixture(scope=scope_of_cluster)
def kafka_cluster(request: pytest.FixtureRequest) -> Iterator[MockCluster]:
    """A kafkapp.testing.MockCluster: an embedded Kafka cluster of this test's own. Clients: bootstrap_servers."""
    from kafkapp.testing import MockCluster

    def read(brokers: int | None = None, topics: Sequence[str] | Mapping[str, int] | None = None) -> tuple[int, Any]:
        ini = request.config.getini
        return (listed_brokers(ini("kafka_cluster_brokers")) if brokers is None else brokers,
                listed_topics(ini("kafka_cluster_topics")) if topics is None else partitions_of(topics))

    brokers, topics = arguments_of(request.node, "kafka_cluster", read)
    with MockCluster(brokers) as cluster:
        for name, partitions in topics.items():
            cluster.create_topic(name, partitions)
        yield cluster


# -- kafka_producer ----------------------------------------------------------------------------------------------------

@pytest.fixture
def kafka_producer(request: pytest.FixtureRequest,
                   kafka_cluster: MockCluster) -> Iterator[KafkaAsyncProducer | KafkaSyncProducer]:
    """A KafkaAsyncProducer for kafka_cluster. Closed after the test, which fails when a record was not delivered."""

    def read(properties: Mapping[str, Any] | None = None, *, sync: bool = False,
             allow_undelivered: bool = False) -> tuple[dict[str, Any], bool, bool]:
        if not isinstance(properties, Mapping | None):
            raise TypeError(f"properties must be a dict, not {properties!r}")
        return dict(properties or {}), sync, allow_undelivered

    properties, sync, allowed = arguments_of(request.node, "kafka_producer", read)
    made = {"bootstrap.servers": kafka_cluster.bootstrap_servers, "message.timeout.ms": 10_000, **properties}
    producer = watched_producers()[sync](made)
    yield producer
    producer.close(CLOSE_SECONDS)
    if producer.undelivered and not allowed:
        pytest.fail(failure_of(producer.undelivered), pytrace=False)


@pytest.fixture
def kafka_consumer(request: pytest.FixtureRequest, kafka_cluster: MockCluster) -> Iterator[KafkaConsumer]:
    """A KafkaConsumer for kafka_cluster that reads from the beginning of each partition. Closed after the test."""
    from kafkapp import KafkaConsumer

    def read(*topics: str, properties: Mapping[str, Any] | None = None) -> tuple[list[str], dict[str, Any]]:
        if not isinstance(properties, Mapping | None):
            raise TypeError(f"properties must be a dict, not {properties!r}")
        return list(topics), dict(properties or {})

    topics, properties = arguments_of(request.node, "kafka_consumer", read)
    made = {"bootstrap.servers": kafka_cluster.bootstrap_servers, "auto.offset.reset": "earliest", **properties}
    with KafkaConsumer(made) as consumer:
        if topics:
            consumer.subscribe(topics)
        yield consumer


def failure_of(undelivered: list[str]) -> str:
    rest = [f"  and {len(undelivered) - LINES} more"] if len(undelivered) > LINES else []
    return "\n".join([f"{len(undelivered)} of the records that kafka_producer sent were not delivered:",
                      *(f"  {line}" for line in undelivered[:LINES]), *rest,
                      "If that is what the test is about: @pytest.mark.kafka_producer(allow_undelivered=True)"])


def described(topic: Any, key: Any, value: Any) -> str:
    return f"{topic}: key {shortened(key)}, value {shortened(value)}"


def shortened(data: Any) -> str:
    if isinstance(data, (bytes, str)) and len(data) > LONGEST:
        return f"{data[:LONGEST]!r}... of {len(data)}"
    return repr(data)


@cache
def watched_producers() -> tuple[Any, Any]:
    """The two producers, as they are, but for `undelivered`: a line for each record that was accepted and failed."""
    from kafkapp import KafkaAsyncProducer, KafkaSyncProducer

    class Watched:
        def __init__(self, properties: Mapping[str, Any]) -> None:
            self.undelivered: list[str] = []
            super().__init__(properties)  # type: ignore[call-arg]

        def watch_batch(self, batch: Batch) -> None:
            self.undelivered += [f"{batch.topic}: row {row} of a batch: {error}" for row, error in batch.failures()]

        def send_batch(self, topic: str, values: Any, *, callback: Callable[[Batch], object] | None = None,
                       **named: Any) -> Batch:
            def report(batch: Batch) -> None:
                self.watch_batch(batch)
                if callback is not None:
                    callback(batch)

            watching = report if callback is None or callable(callback) else callback
            batch: Batch = super().send_batch(topic, values, callback=watching, **named)  # type: ignore[misc]
            if not batch.accepted:
                self.watch_batch(batch)     # without an accepted record there is no callback
            return batch

    class WatchedAsyncProducer(Watched, KafkaAsyncProducer):
        def watched(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            """The arguments of a call that sends, with a callback that watches in front of its own."""
            sent = given[0] if given else named.get("record", named.get("topic"))
            topic_call = isinstance(sent, str)
            callback = named.get("callback") if topic_call or len(given) < 2 else given[1]
            if callback is not None and not callable(callback):
                return given, named         # the call will raise
            if topic_call:
                text = described(sent, named.get("key"), given[1] if len(given) > 1 else named.get("value"))
            else:
                text = described(*(getattr(sent, name, None) for name in ("topic", "key", "value")))

            def report(metadata: RecordMetadata, error: Error | None) -> None:
                if error:
                    self.undelivered.append(f"{text}: {error}")
                if callback is not None:
                    callback(metadata, error)

            if topic_call or len(given) < 2:
                return given, {**named, "callback": report}
            return (sent, report, *given[2:]), named

        def send(self, *given: Any, **named: Any) -> None:
            given, named = self.watched(given, named)
            super().send(*given, **named)

        def try_send(self, *given: Any, **named: Any) -> Error | None:
            given, named = self.watched(given, named)
            return super().try_send(*given, **named)

        def send_future(self, *given: Any, **named: Any) -> Any:
            future = super().send_future(*given, **named)
            topic = given[0] if given else named.get("record", named.get("topic"))

            def watch(done: Any) -> None:
                _, failure = done._peek()       # it stays for the test to retrieve
                if failure:
                    self.undelivered.append(f"{topic}: {failure}")

            future.add_done_callback(watch)
            return future

    class WatchedSyncProducer(Watched, KafkaSyncProducer):
        pass

    return WatchedAsyncProducer, WatchedSyncProducer
