"""Round trips: bytes, keys, headers, timestamps, partitions and order of each way to send, read by another client."""
import asyncio
import time
from datetime import UTC, datetime

import pytest
from helpers import Reports, consume, properties

from kafkapp import (
    EventsPollingOption,
    Header,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    Key,
    NullKey,
    NullValue,
    ProducerRecord,
    SendOption,
    Value,
)

pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")     # kafka-python


def send_all(producer, records, option):
    reports = Reports()
    for record in records:
        producer.send(record, reports, option)
    producer.flush(20)
    assert reports.codes == [None] * len(records)


def by_send(broker, records, option=SendOption.NoCopyRecordValue):
    with KafkaAsyncProducer(properties(broker)) as producer:
        send_all(producer, records, option)


def by_send_copying(broker, records):
    by_send(broker, records, SendOption.ToCopyRecordValue)


def by_send_manual(broker, records):
    with KafkaAsyncProducer(properties(broker), EventsPollingOption.Manual) as producer:
        send_all(producer, records, SendOption.NoCopyRecordValue)


def by_try_send(broker, records):
    with KafkaAsyncProducer(properties(broker)) as producer:
        for number, record in enumerate(records):
            option = SendOption.NoCopyRecordValue if number % 2 else SendOption.ToCopyRecordValue
            assert producer.try_send(record, None, option) is None


def by_sync_send(broker, records):
    with KafkaSyncProducer(properties(broker)) as producer:
        for record in records:
            producer.send(record, 20)


def by_send_batch(broker, records, Producer=KafkaAsyncProducer):
    with Producer(properties(broker)) as producer:
        for record in records:
            batch = producer.send_batch(record.topic, [record.value], keys=[record.key], partition=record.partition,
                                        headers=record.headers, timestamps=record.timestamp)
            assert batch.wait(20) and batch.accepted == 1 and not list(batch.failures())


def by_sync_send_batch(broker, records):
    by_send_batch(broker, records, KafkaSyncProducer)


def by_aio(broker, records):
    from kafkapp import aio

    async def work():
        async with aio.KafkaProducer(properties(broker)) as producer:
            for record in records:
                await producer.send(record)

    asyncio.run(asyncio.wait_for(work(), 30))


PATHS = [by_send, by_send_copying, by_send_manual, by_try_send, by_sync_send, by_send_batch, by_sync_send_batch, by_aio]
each_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)

BODIES = {
    "bytes": (b"value", b"value"),
    "every byte": (bytes(range(256)), bytes(range(256))),
    "null": (None, None),
    "null value": (NullValue, None),
    "null view": (Value(None), None),
    "empty": (b"", b""),
    "empty view": (Value(b""), b""),
    "empty str": ("", b""),
    "str": ("plain", b"plain"),
    "str beyond ASCII": ("žluťoučký 🐎", "žluťoučký 🐎".encode()),
    "str with NUL": ("a\0b", b"a\0b"),
    "bytearray": (bytearray(b"array"), b"array"),
    "memoryview": (memoryview(b"0123456789")[2:5], b"234"),
    "view": (Value(b"view"), b"view"),
    "above the copy limit": (bytes(range(256)) * 300, bytes(range(256)) * 300),
}


@each_path
def test_values_arrive_byte_for_byte_with_null_and_empty_apart(broker, topic, path):
    path(broker, [ProducerRecord(topic, 0, b"k", value) for value, _ in BODIES.values()])
    messages = consume(broker, topic, len(BODIES))
    assert dict(zip(BODIES, (message.value() for message in messages), strict=True)) == \
        {name: expected for name, (_, expected) in BODIES.items()}


@each_path
def test_keys_arrive_byte_for_byte_with_null_and_empty_apart(broker, topic, path):
    bodies = {**BODIES, "null value": (NullKey, None), "null view": (Key(None), None), "empty view": (Key(b""), b""),
              "view": (Key(b"view"), b"view")}
    path(broker, [ProducerRecord(topic, 0, key, b"v") for key, _ in bodies.values()])
    messages = consume(broker, topic, len(bodies))
    assert dict(zip(bodies, (message.key() for message in messages), strict=True)) == \
        {name: expected for name, (_, expected) in bodies.items()}


HEADERS = [
    ([("k1", b"v1"), ("k2", b"v2"), ("k1", b"v3")], [("k1", b"v1"), ("k2", b"v2"), ("k1", b"v3")]),
    ([Header("z", b"\0\xff"), Header("a", None), Header("e", b"")], [("z", b"\0\xff"), ("a", None), ("e", b"")]),
    ({"b": b"1", "a": memoryview(b"2")}, [("b", b"1"), ("a", b"2")]),
    ([("ž", bytearray(b"x")), ("", b"empty name")], [("ž", b"x"), ("", b"empty name")]),
    ([("s", "täxt"), Header("e", "")], [("s", "täxt".encode()), ("e", b"")]),
    ([("same", b"%d" % number) for number in range(50)], [("same", b"%d" % number) for number in range(50)]),
    ([], None),
    (None, None),
]


@each_path
def test_headers_keep_their_order_and_their_duplicates(broker, topic, path):
    path(broker, [ProducerRecord(topic, 0, None, b"v", headers=given) for given, _ in HEADERS])
    messages = consume(broker, topic, len(HEADERS))
    assert [message.headers() for message in messages] == [expected for _, expected in HEADERS]


@each_path
def test_timestamps_are_the_records_own_or_the_time_of_the_send(broker, topic, path):
    moment = datetime(2020, 2, 29, 12, 30, 15, 123000, tzinfo=UTC)
    given = [1, 1_600_000_000_123, moment, 4_102_444_800_000]
    before = int(time.time() * 1000)
    path(broker, [*(ProducerRecord(topic, 0, None, b"v", timestamp=stamp) for stamp in given),
                   ProducerRecord(topic, 0, None, b"v")])
    after = int(time.time() * 1000)
    stamps = [message.timestamp() for message in consume(broker, topic, 5)]
    assert {kind for kind, _ in stamps} == {1}                      # CreateTime
    assert [stamp for _, stamp in stamps[:4]] == [1, 1_600_000_000_123, 1_582_979_415_123, 4_102_444_800_000]
    assert before <= stamps[4][1] <= after


@each_path
def test_partitions_are_the_records_own_and_order_is_kept(broker, topic, path):
    path(broker, [ProducerRecord(topic, number % 4, None, b"%d" % number) for number in range(40)])
    messages = consume(broker, topic, 40)
    for partition in range(4):
        mine = [message.value() for message in messages if message.partition() == partition]
        assert mine == [b"%d" % number for number in range(partition, 40, 4)]


def test_kafka_python_reads_the_same(broker, topic):
    from kafka import KafkaConsumer, TopicPartition

    by_send(broker, [ProducerRecord(topic, 1, key, value, headers=headers, timestamp=1_600_000_000_000)
                      for key, value, headers in ((b"k", b"v", [("h", b"1"), ("h", b"2")]), (None, b"", None),
                                                  (b"", None, None))])
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest",
                             consumer_timeout_ms=10000, api_version=(2, 3))
    try:
        consumer.assign([TopicPartition(topic, 1)])
        got = [next(consumer) for _ in range(3)]
    finally:
        consumer.close()
    assert [(record.key, record.value) for record in got] == [(b"k", b"v"), (None, b""), (b"", None)]
    assert list(got[0].headers) == [("h", b"1"), ("h", b"2")]
    assert {record.timestamp for record in got} == {1_600_000_000_000}


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compression_changes_nothing(broker, topic, compression):
    values = [b"%d " % number * 100 for number in range(50)]
    try:
        producer = KafkaAsyncProducer(properties(broker, {"compression.type": compression}))
    except KafkaException as error:
        pytest.skip(f"this librdkafka is built without {compression}: {error}")
    with producer:
        for value in values:
            producer.send(ProducerRecord(topic, 0, value=value))
    assert [message.value() for message in consume(broker, topic, 50)] == values


def test_the_offset_of_the_metadata_is_where_the_record_is(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        written = {}
        for number in range(20):
            metadata = producer.send(ProducerRecord(topic, key=b"%d" % number, value=b"%d" % number))
            written[metadata.partition, metadata.offset] = b"%d" % number
    assert {(message.partition(), message.offset()): message.value()
            for message in consume(broker, topic, 20)} == written
