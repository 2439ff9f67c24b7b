"""The quick start's questions, each answer as a test; and each error of its tables, provoked.

docs/guide/sending.md and errors.md answer the same.
"""
import inspect
import json
import threading

import pytest
from helpers import HELD, LIBRDKAFKA, NOWHERE, Reports, Stopwatch, consume, properties, run_python, thread_names

from kafkapp import (
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    PersistedStatus,
    ProducerRecord,
)
from kafkapp.testing import MockCluster

SHORT = {"message.timeout.ms": 300}
MAKERS = {
    "auto": KafkaAsyncProducer,
    "manual": lambda made: KafkaAsyncProducer(made, EventsPollingOption.Manual),
    "sync": KafkaSyncProducer,
}


def outcome(kind, made, record):
    """Send one record and return the error that it met, wherever that came up, and the metadata if there is one."""
    reports = Reports()
    with MAKERS[kind](made) as producer:
        try:
            if kind == "sync":
                return producer.send(record), None
            producer.send(record, reports)
            producer.flush(10)
        except KafkaException as raised:
            assert len(reports) == 0, "a refused record must not call back"
            return None, raised.error
    [(metadata, error)] = reports.calls
    return metadata, error


each_kind = pytest.mark.parametrize("kind", MAKERS)


# -- What happens when an acknowledgement times out? -----------------------------------------------


@each_kind
def test_a_broker_that_is_away_ends_in_a_message_timeout(topic, kind):
    with Stopwatch() as watch:
        metadata, error = outcome(kind, properties(NOWHERE, SHORT), ProducerRecord(topic, 0, b"k", b"v", 7))
    assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
    assert 0.29 < watch.seconds < 4
    if kind != "sync":
        assert metadata.record_id == 7 and metadata.persisted_status is PersistedStatus.Not


@each_kind
def test_an_acknowledgement_that_never_comes_ends_in_a_message_timeout(topic, kind):
    with MockCluster() as cluster:
        cluster.create_topic(topic)
        cluster.push_request_errors("Produce", *[ErrorCode.RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS] * 100)
        _, error = outcome(kind, properties(cluster, SHORT, retry_backoff_ms=20), ProducerRecord(topic, 0))
    assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT


def test_the_timeout_of_a_synchronous_send_is_a_python_timeout_error(topic):
    with KafkaSyncProducer(properties(NOWHERE, SHORT)) as producer, pytest.raises(TimeoutError) as caught:
        producer.send(ProducerRecord(topic, value=b"v"))
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT


def test_a_broker_that_comes_back_in_time_gets_every_record(topic):
    reports = Reports()
    with MockCluster() as cluster:
        cluster.create_topic(topic)
        made = properties(cluster, {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50})
        with KafkaAsyncProducer(made) as producer:
            producer.send(ProducerRecord(topic, 0, value=b"0", id=0), reports)
            producer.flush(10)
            cluster.broker_down(1)
            for number in range(1, 10):
                producer.send(ProducerRecord(topic, 0, value=b"%d" % number, id=number), reports)
            with pytest.raises(TimeoutError):
                producer.flush(0.2)
            cluster.broker_up(1)
            producer.flush(10)
        assert reports.ids == list(range(10)) and reports.codes == [None] * 10
        assert [message.value() for message in consume(cluster, topic, 10)] == [b"%d" % n for n in range(10)]


# -- What happens when the queue is full? ----------------------------------------------------------


def test_a_full_queue_by_bytes_counts_as_well(broker, topic):
    made = properties(broker, HELD, queue_buffering_max_kbytes=10)
    with KafkaAsyncProducer(made, EventsPollingOption.Manual) as producer:
        accepted = 0
        with pytest.raises(BufferError) as caught:
            for _ in range(20):
                producer.send(ProducerRecord(topic, 0, value=bytes(1000)))
                accepted += 1
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
        assert 9 <= accepted <= 11 and len(producer) == accepted


def test_a_full_queue_blocks_auto_until_the_callback_of_an_earlier_record_has_returned(broker, topic):
    seen = []
    leave = threading.Event()

    def callback(metadata, error):
        assert leave.wait(10)
        seen.append("called back")

    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=1)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"1"), callback)
        threading.Timer(0.3, leave.set).start()
        with Stopwatch() as watch:
            producer.send(ProducerRecord(topic, 0, value=b"2"))
        seen.append("sent")
    assert watch.seconds >= 0.2
    assert seen == ["called back", "sent"]


def test_a_full_queue_raises_in_manual_and_polling_makes_room(broker, topic):
    reports = Reports()
    made = properties(broker, queue_buffering_max_messages=1)
    with KafkaAsyncProducer(made, EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"1"), reports)
        with pytest.raises(BufferError):
            producer.send(ProducerRecord(topic, 0, value=b"2"), reports)
        while not reports:
            producer.poll_events(1)
        producer.send(ProducerRecord(topic, 0, value=b"3"), reports)
    assert [message.value() for message in consume(broker, topic, 2)] == [b"1", b"3"]


# -- Are topics created automatically? -------------------------------------------------------------


@each_kind
def test_a_topic_that_is_not_there_is_created_where_the_cluster_allows_it(broker, topic, kind):
    metadata, error = outcome(kind, properties(broker), ProducerRecord(f"{topic}-new", value=b"v"))
    assert error is None and metadata.topic == f"{topic}-new"
    assert [message.value() for message in consume(broker, f"{topic}-new", 1)] == [b"v"]


PATIENCE = {"topic.metadata.propagation.max.ms": 100}       # how long a topic may take to be seen


def check_unknown(kind, made, topic):
    """The first record waits, fails with the broker's error, and from then on the topic is known to be unknown."""
    reports = Reports()
    with MAKERS[kind](made) as producer:
        record = ProducerRecord(topic, value=b"v", id=1)
        if kind == "sync":
            with pytest.raises(KafkaException) as caught:
                producer.send(record)
            first = caught.value.error
        else:
            producer.send(record, reports)
            producer.flush(10)
            [(metadata, first)] = reports.calls
            assert (metadata.topic, metadata.record_id) == (topic, 1)
        with Stopwatch() as watch, pytest.raises(KafkaException) as caught:
            producer.send(record, *([] if kind == "sync" else [reports]))
        assert watch.seconds < 0.2
    assert first.code == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
    assert len(reports) == (0 if kind == "sync" else 1)


@each_kind
def test_a_topic_that_the_cluster_does_not_create_is_unknown(broker, topic, kind):
    broker.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    check_unknown(kind, properties(broker, PATIENCE), topic)


@pytest.mark.skipif(LIBRDKAFKA < (2, 4),
                    reason="the mock cluster of this librdkafka creates topics that a client does not ask it to create")
@each_kind
def test_a_topic_that_the_producer_does_not_want_created_is_unknown(broker, topic, kind):
    made = properties(broker, PATIENCE, {"allow.auto.create.topics": False, "log_cb": lambda *args: None})
    check_unknown(kind, made, f"{topic}-absent")


# -- How many threads does a producer start? -------------------------------------------------------

THREADS = inspect.getsource(thread_names) + """
import json, sys, threading, time
from kafkapp import *

kind, bootstrap, topic, expected = sys.argv[1:]

def names():
    return [*thread_names().values()]

def once_started(count, named):
    # That many threads, of which that many have named themselves, which each does a moment after its start: until then
    # it has the name of the thread that started it.
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = names()
        known = sum(name.startswith("rdk:broker") or "me" in name for name in found) + (found.count("rdk:main") == 1)
        if (len(found), known) == (count, named):
            break
        time.sleep(0.01)
    return found

before, python_before = names(), len(threading.enumerate())
made = {"bootstrap.servers": bootstrap, "client.id": "me"}
producer = (KafkaSyncProducer(made) if kind == "sync" else KafkaAsyncProducer(made, EventsPollingOption[kind]))
producer.send(ProducerRecord(topic, value=b"v"))
producer.flush(10)
while_open = once_started(len(before) + int(expected), int(expected))
ours = [(thread.name, thread.daemon) for thread in threading.enumerate()[python_before:]]
producer.close()
after = once_started(len(before), 0)
left = len(threading.enumerate()) - python_before
for name in before:
    while_open.remove(name)
print(json.dumps({"before": before, "open": while_open, "ours": ours, "after": after, "left": left,
                  "name": producer.name}))
"""


@pytest.mark.parametrize("kind", ["sync", "Manual", "Auto"])
@pytest.mark.parametrize("brokers", [1, 3])
def test_a_producer_starts_a_thread_for_each_broker_and_two_and_one_of_ours(topic, kind, brokers):
    with MockCluster(brokers=brokers) as cluster:
        seen = json.loads(run_python(THREADS, kind, cluster.bootstrap_servers, topic, brokers + 3))
    started = seen["open"]
    assert len(started) == brokers + 3, started
    assert len([name for name in started if name.startswith("rdk:broker")]) == brokers + 1
    assert started.count("rdk:main") == 1
    others = [name for name in started if not name.startswith("rdk:")]
    assert len(others) == 1 and "me" in others[0], "it is named for ps and top, too"
    if kind == "Manual":
        assert seen["ours"] == [], "it never enters Python"
    else:
        [(name, daemon)] = seen["ours"]
        assert "me" in name and daemon
    assert sorted(seen["after"]) == sorted(seen["before"]), "close() ends them all"
    assert seen["left"] == 0


# -- Which thread runs the callbacks? --------------------------------------------------------------


def test_callbacks_run_on_the_background_thread_in_auto_and_on_the_polling_one_in_manual(broker, topic):
    auto, manual = Reports(), Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, value=b"v"), auto)
    with KafkaAsyncProducer(properties(broker), EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, value=b"v"), manual)
        while not manual:
            producer.poll_events(1)
    assert auto.threads != [threading.get_ident()]
    assert manual.threads == [threading.get_ident()]


# -- Local errors ----------------------------------------------------------------------------------


@each_kind
def test_unknown_partition_of_a_topic_that_is_not_known_yet(broker, topic, kind):
    record = ProducerRecord(topic, 99, value=b"v", headers=[("h", b"v")])
    metadata, error = outcome(kind, properties(broker), record)
    assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    if metadata is not None:        # None: the broker answered before send() had enqueued, and send() raised
        assert metadata.partition == 99


@each_kind
def test_unknown_partition_of_a_topic_that_is_known_is_refused_at_once(broker, topic, kind):
    reports = Reports()
    with MAKERS[kind](properties(broker)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        arguments = [] if kind == "sync" else [reports]
        with pytest.raises(KafkaException) as caught:
            producer.send(ProducerRecord(topic, 99, value=b"v", headers=[("h", b"v")]), *arguments)
        assert len(producer) == 0
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    assert len(reports) == 0


LOCAL = [
    ("no topic", lambda topic: ProducerRecord("", value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG"),
    ("a topic of 513", lambda topic: ProducerRecord("t" * 513, value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG"),
    ("too large", lambda topic: ProducerRecord(topic, value=bytes(1_000_001)), "RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE"),
]


@each_kind
@pytest.mark.parametrize("make, name", [case[1:] for case in LOCAL], ids=[case[0] for case in LOCAL])
def test_local_errors_are_raised_by_send(broker, topic, kind, make, name):
    metadata, error = outcome(kind, properties(broker), make(topic))
    assert metadata is None and error.code == ErrorCode[name]


def test_a_topic_of_512_is_not_refused(topic):
    producer = KafkaAsyncProducer(properties(NOWHERE))
    producer.send(ProducerRecord("t" * 512, value=b"v"))
    assert len(producer) == 1
    producer.close(0)


def test_the_limit_of_a_message_can_be_raised(broker, topic):
    with KafkaSyncProducer(properties(broker, message_max_bytes=3_000_000)) as producer:
        assert producer.send(ProducerRecord(topic, value=bytes(2_000_000))).value_size == 2_000_000


# -- Broker errors ---------------------------------------------------------------------------------

BROKER = ["CORRUPT_MESSAGE" if "RD_KAFKA_RESP_ERR_CORRUPT_MESSAGE" in ErrorCode.__members__ else "INVALID_MSG",
          "MSG_SIZE_TOO_LARGE", "INVALID_REQUIRED_ACKS", "UNSUPPORTED_FOR_MESSAGE_FORMAT", "RECORD_LIST_TOO_LARGE",
          "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED",
          "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "REQUEST_TIMED_OUT", "POLICY_VIOLATION"]


@pytest.fixture(scope="module")
def faulty():
    """A cluster that these tests share, each of which uses up the errors that it has injected."""
    with MockCluster() as cluster:
        yield cluster


@pytest.mark.parametrize("name", BROKER)
def test_an_error_of_the_broker_reaches_callbacks_and_synchronous_senders_alike(faulty, topic, name):
    code = ErrorCode[f"RD_KAFKA_RESP_ERR_{name}"]
    made = properties(faulty, {"message.send.max.retries": 0})
    reports = Reports()
    with KafkaAsyncProducer(made) as producer, KafkaSyncProducer(made) as sync:
        producer.send(ProducerRecord(topic, 0, value=b"warm"))
        sync.send(ProducerRecord(topic, 0, value=b"warm"))
        producer.flush(10)
        faulty.push_request_errors("Produce", code)
        producer.send(ProducerRecord(topic, 0, b"k", b"v", 7), reports)
        producer.flush(10)
        faulty.push_request_errors("Produce", code)
        with pytest.raises(KafkaException) as caught:
            sync.send(ProducerRecord(topic, 0, value=b"v"))
    [(metadata, error)] = reports.calls
    assert error.code == caught.value.error.code == code
    assert error.message and metadata.record_id == 7 and metadata.offset is None


def test_an_error_that_may_pass_is_retried_and_the_record_arrives(faulty, topic):
    codes = [ErrorCode.RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, ErrorCode.RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
             ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
             ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT]
    with KafkaSyncProducer(properties(faulty, retry_backoff_ms=20)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"warm"))
        faulty.push_request_errors("Produce", *codes)
        assert producer.send(ProducerRecord(topic, 0, value=b"v"), 10).offset == 1
