"""The modern C++ Kafka API's integration tests (parity.md, I1 to I17), with a real broker and another client as reader."""

import collections
import inspect
import subprocess
import sys
import threading

import pytest
from helpers import thread_names
from readback import read_messages

import kafkapp
from kafkapp import ErrorCode, EventsPollingOption, KafkaException, ProducerRecord, SendOption

DELIVERY = 30  # seconds that a record may take here at most


@pytest.fixture
def properties(kafka):
    """Properties with the cluster's address; more by keyword, underscores for dots."""

    def properties(**more):
        return {"bootstrap.servers": kafka.bootstrap_servers} | {name.replace("_", "."): v for name, v in more.items()}

    return properties


@pytest.fixture
def read(kafka):
    return lambda topic, **arguments: read_messages(kafka.bootstrap_servers, topic, **arguments)


class Reports:
    """A delivery callback that keeps each report with its thread."""

    def __init__(self):
        self.all = []
        self.threads = set()

    def __call__(self, metadata, error):
        self.all.append((metadata, error))
        self.threads.add(threading.get_ident())

    def codes(self):
        return [None if error is None else error.code for _, error in self.all]

    def ids(self):
        return [metadata.record_id for metadata, _ in self.all]


@pytest.mark.parametrize("acks", ["1", "all"])
def test_i1_i2_sync_sends_arrive_with_keys_and_values_in_order(acks, properties, topic, read):
    sent = [(b"k1", b"v1"), (b"k2", b"v2"), (b"k3", b"v3")]
    with kafkapp.KafkaSyncProducer(properties(acks=acks)) as producer:
        for number, (key, value) in enumerate(sent):
            metadata = producer.send(ProducerRecord(topic, 0, key, value), timeout=DELIVERY)
            assert (metadata.topic, metadata.partition, metadata.offset) == (topic, 0, number)
            assert (metadata.key_size, metadata.value_size) == (2, 2)
            assert metadata.persisted_status == kafkapp.PersistedStatus.Done
    assert [(m.key(), m.value()) for m in read(topic)] == sent


def test_i3_too_few_replicas_for_acks_all_fail_by_timeout(kafka_nodes, properties, make_topic, read):
    # A topic of one replica will not do any more: Kafka 4 asks for no more in-sync replicas than there are replicas.
    topic = make_topic(assignment=[[1, 2]], config={"min.insync.replicas": "2"})
    with kafka_nodes.paused([2]):
        kafka_nodes.wait_isr(topic, 0, {1})
        with kafkapp.KafkaSyncProducer(properties(acks="all", message_timeout_ms=1000)) as producer:
            for _ in range(2):
                with pytest.raises(KafkaException) as failure:
                    producer.send(ProducerRecord(topic, 0, b"k", b"v"), timeout=DELIVERY)
                assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
                assert isinstance(failure.value, TimeoutError)
    kafka_nodes.wait_in_sync(topic)
    assert read(topic) == []


def test_i4_a_request_timeout_of_1_ms_either_delivers_or_times_out(properties, topic, read):
    value, delivered, failed = b"v" * 100_000, 0, 0
    impatient = properties(acks="all", message_timeout_ms=500, request_timeout_ms=1)
    with kafkapp.KafkaSyncProducer(impatient) as producer:
        for _ in range(4):
            try:
                producer.send(ProducerRecord(topic, 0, b"k" * 100_000, value), timeout=DELIVERY)
                delivered += 1
            except KafkaException as failure:
                assert failure.error.code == ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
                failed += 1
    assert delivered + failed == 4
    messages = read(topic)
    assert len(messages) >= delivered
    assert all(m.value() == value for m in messages)


def test_i5_distinct_keys_spread_over_partitions(properties, make_topic, read):
    topic = make_topic(partitions=5)
    with kafkapp.KafkaSyncProducer(properties()) as producer:
        reported = {
            str(n): producer.send(ProducerRecord(topic, key=str(n), value=b"v"), timeout=DELIVERY).partition
            for n in range(20)
        }
    assert len(set(reported.values())) > 1
    assert {m.key().decode(): m.partition() for m in read(topic)} == reported


def test_i6_murmur2_sends_all_empty_keys_to_one_partition(properties, make_topic):
    topic = make_topic(partitions=5)
    with kafkapp.KafkaSyncProducer(properties(partitioner="murmur2")) as producer:
        places = {
            producer.send(ProducerRecord(topic, key=b"", value=b"v"), timeout=DELIVERY).partition for _ in range(20)
        }
    assert len(places) == 1


def test_i6_an_unknown_partitioner_raises_at_construction(properties):
    with pytest.raises(KafkaException) as failure:
        kafkapp.KafkaSyncProducer(properties(partitioner="invalid"))
    assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG


@pytest.mark.parametrize(
    ("key", "partitioner", "spread"),
    [
        (None, "consistent_random", True),
        (b"", "consistent_random", True),
        (None, "murmur2_random", True),
        (None, "fnv1a_random", True),
        (b"", "murmur2_random", False),
        (b"", "fnv1a_random", False),
        (None, "consistent", False),
        (b"", "consistent", False),
    ],
)
def test_i7_null_and_empty_are_distinguished_by_partitioners_and_readers(
    key, partitioner, spread, properties, make_topic, read
):
    topic = make_topic(partitions=5)
    choice = properties(partitioner=partitioner, sticky_partitioning_linger_ms=0)
    with kafkapp.KafkaSyncProducer(choice) as producer:
        places = {producer.send(ProducerRecord(topic, None, key, key), timeout=DELIVERY).partition for _ in range(15)}
    assert (len(places) > 1) == spread
    messages = read(topic)
    assert [(m.key(), m.value()) for m in messages] == [(key, key)] * 15


THREADS = inspect.getsource(thread_names) + """
import os, sys, threading, time
import kafkapp

def threads():
    return sorted(name for name in thread_names().values() if name.startswith("rdk:"))

servers, kind, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
before = threading.active_count()
assert threads() == []
producer = getattr(kafkapp, kind)({"bootstrap.servers": servers})
try:
    producer.fetch_broker_metadata("no-such-topic", 10)     # each broker has said its name by then
except kafkapp.KafkaException:
    pass
def steady():      # the thread of an address that was asked first ends once the broker there has one of its own
    time.sleep(0.3)
    return threads() == names
deadline = time.monotonic() + 20
while True:         # until it names itself a thread has the name of the one that started it: rdk:main
    names = threads()
    if time.monotonic() > deadline or len(names) == wanted and names.count("rdk:main") == 1 and steady():
        break
    time.sleep(0.05)
print(len(names), names.count("rdk:main"))
producer.close()
del producer
deadline = time.monotonic() + 10
while threads() and time.monotonic() < deadline:
    time.sleep(0.05)
print(len(threads()), threading.active_count() - before)
"""


@pytest.mark.parametrize("kind", ["KafkaSyncProducer", "KafkaAsyncProducer"])
def test_i8_threads_are_two_more_than_brokers_and_none_afterwards(kind, kafka_nodes):
    wanted = len(kafka_nodes.nodes) + 2  # the main thread, one a broker, and the internal broker's
    command = [sys.executable, "-c", THREADS, kafka_nodes.bootstrap_servers, kind, str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(wanted), "1", "0", "0"]


def test_i9_callbacks_have_run_when_the_producer_is_closed(properties, topic):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties()) as producer:
        for number in (1, 2, 3):
            producer.send(ProducerRecord(topic, 0, b"k", b"v", id=number), reports)
    assert reports.ids() == [1, 2, 3]
    assert reports.codes() == [None] * 3
    assert {(metadata.topic, metadata.partition) for metadata, _ in reports.all} == {(topic, 0)}


def test_i10_manual_callbacks_run_on_the_thread_that_polls(properties, topic):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(), EventsPollingOption.Manual) as producer:
        for number in range(3):
            producer.send(ProducerRecord(topic, 0, b"k", b"v", id=number), reports)
        served = 0

        def poll():
            nonlocal served
            while served < 3:
                served += producer.poll_events(DELIVERY)

        poller = threading.Thread(target=poll)
        poller.start()
        poller.join(DELIVERY)
        assert not poller.is_alive()
        assert reports.threads == {poller.ident}
    assert reports.ids() == [0, 1, 2]


def test_i11_a_full_queue_refuses_and_a_refused_record_is_never_reported(properties, topic, read):
    reports = Reports()
    one = properties(queue_buffering_max_messages=1)
    with kafkapp.KafkaAsyncProducer(one, EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, 0, b"k", b"first"), reports)
        with pytest.raises(BufferError) as failure:
            producer.send(ProducerRecord(topic, 0, b"k", b"second"), reports)
        assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
        error = producer.try_send(ProducerRecord(topic, 0, b"k", b"third"), reports)
        assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
        assert producer.poll_events(DELIVERY) == 1
    assert reports.codes() == [None]
    assert reports.threads == {threading.get_ident()}
    assert [m.value() for m in read(topic)] == [b"first"]


def test_i12_a_batch_too_large_for_the_broker_fails_with_its_code(properties, topic, read):
    reports = Reports()
    large = properties(batch_size=2_000_000, message_max_bytes=2_000_000, linger_ms=100)
    with kafkapp.KafkaAsyncProducer(large) as producer:
        for number in range(2000):
            producer.send(ProducerRecord(topic, 0, b"k", b"v" * 2000, id=number), reports)
    codes = collections.Counter(reports.codes())
    assert sum(codes.values()) == 2000
    assert codes.keys() <= {None, ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE}
    assert codes[ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE] > 0
    assert len(read(topic)) == codes[None]


def test_i13_copied_values_are_the_callers_again_after_the_send(properties, topic, read):
    reports = Reports()
    value = bytearray(b"value-000")
    with kafkapp.KafkaAsyncProducer(properties(linger_ms=100)) as producer:
        for number in range(100):
            value[:] = f"value-{number:03}".encode()
            producer.send(ProducerRecord(topic, 0, None, value), reports, SendOption.ToCopyRecordValue)
        value[:] = b"*" * len(value)
    assert reports.codes() == [None] * 100
    assert [m.value() for m in read(topic)] == [f"value-{number:03}".encode() for number in range(100)]


def test_i14_headers_keep_order_duplicates_and_binary_values(properties, topic, read):
    number = (1234567890).to_bytes(8, "little")
    headers = [("k1", number), ("k2", b"\0\xff"), ("k1", b"again"), ("null", None), ("empty", b"")]
    with kafkapp.KafkaSyncProducer(properties()) as producer:
        producer.send(ProducerRecord(topic, 0, b"k", b"v", headers=headers), timeout=DELIVERY)
        producer.send(ProducerRecord(topic, 0, b"k", b"v"), timeout=DELIVERY)
    first, second = read(topic)
    assert first.headers() == headers
    assert not second.headers()


def test_i15_metadata_names_the_topics_partitions_and_their_brokers(kafka, properties, make_topic):
    topic = make_topic(partitions=5)
    with kafkapp.KafkaSyncProducer(properties()) as producer:
        metadata = producer.fetch_broker_metadata(topic)
    assert metadata.topic == topic
    assert len(metadata.partitions) == 5
    assert len(metadata.nodes) == len(kafka.brokers())


def test_i16_sync_and_async_sends_in_turn_keep_their_order(properties, topic, read):
    reports = Reports()
    with kafkapp.KafkaSyncProducer(properties()) as sync, kafkapp.KafkaAsyncProducer(properties()) as asynchronous:
        for number in range(20):
            sync.send(ProducerRecord(topic, 0, b"sync", str(number)), timeout=DELIVERY)
            asynchronous.send(ProducerRecord(topic, 0, b"async", str(number)), reports)
            asynchronous.flush(DELIVERY)
    assert reports.codes() == [None] * 20
    assert [(m.key(), int(m.value())) for m in read(topic)] == [
        (key, number) for number in range(20) for key in (b"sync", b"async")
    ]


def test_i17_after_a_fatal_error_a_new_producer_resends_and_nothing_is_missing(properties, topic, read):
    # With enable.gapless.guarantee a record that the broker refuses for good, here a too large one, is a fatal error.
    gapless = properties(
        enable_idempotence=True, enable_gapless_guarantee=True, message_max_bytes=2_000_000, linger_ms=0
    )
    reports = Reports()
    to_send, sends, fatal = collections.deque(range(30)), 0, 0
    while to_send:
        with kafkapp.KafkaAsyncProducer(gapless) as producer:
            for _ in range(10):
                number = to_send.popleft()
                producer.send(ProducerRecord(topic, 0, None, str(number), id=number), reports)
                sends += 1
            producer.flush(DELIVERY)
            if to_send:
                producer.send(ProducerRecord(topic, 0, None, b"x" * 1_500_000, id=1000 + fatal), reports)
                sends += 1
                producer.flush(DELIVERY)
                assert reports.all[-1][1] is not None
                with pytest.raises(KafkaException) as failure:
                    producer.send(ProducerRecord(topic, 0, None, b"9999", id=9999), reports)
                assert failure.value.error.is_fatal
                fatal += 1
    assert fatal == 2
    assert reports.ids() == [*range(10), 1000, *range(10, 20), 1001, *range(20, 30)]
    assert reports.codes().count(None) == 30
    assert [int(m.value()) for m in read(topic)] == list(range(30))
