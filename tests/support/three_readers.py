"""A topic as three independent clients read it: confluent-kafka, kafka-python, aiokafka; and the raw log.

All three give the same tuples, so that tests can compare them with what was sent, and each other.
"""
import asyncio
import struct
from typing import NamedTuple

from readback import read_messages

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")     # by their number in a batch's attributes
LOG_APPEND_TIME = 8                                     # likewise


class Read(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list
    timestamp: int
    appended: bool          # whether the timestamp is the broker's


def by_confluent_kafka(bootstrap, topic):
    return [Read(m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1], m.timestamp()[0] == 2)
            for m in read_messages(bootstrap, topic, fence=False)]


def by_kafka_python(bootstrap, topic, timeout=30):
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, check_crcs=True,
                             consumer_timeout_ms=timeout * 1000)
    try:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        count, found = sum(consumer.end_offsets(places).values()), []
        while len(found) < count:
            found.append(next(consumer))
    finally:
        consumer.close()
    return normal(found)


def by_aiokafka(bootstrap, topic, timeout=30):
    from aiokafka import AIOKafkaConsumer

    async def read():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", check_crcs=True)
        await consumer.start()      # without a group: it has all partitions
        try:
            count, found = sum((await consumer.end_offsets(consumer.assignment())).values()), []
            while len(found) < count:
                found.append(await consumer.getone())
        finally:
            await consumer.stop()
        return found

    return normal(asyncio.run(asyncio.wait_for(read(), timeout)))


def normal(records):
    return sorted((Read(r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp, r.timestamp_type == 1)
                   for r in records), key=lambda read: read[:2])


READERS = {"confluent-kafka": by_confluent_kafka, "kafka-python": by_kafka_python, "aiokafka": by_aiokafka}


def batches(node, topic, partition):
    """(codec, whether it is the broker's time, count of records) of each batch in a node's log, from its files."""
    found = []
    for path in sorted((node.folder / "data" / f"{topic}-{partition}").glob("*.log")):
        data, place = path.read_bytes(), 0
        while place + 61 <= len(data):
            length, = struct.unpack_from(">i", data, place + 8)
            attributes, = struct.unpack_from(">h", data, place + 21)
            count, = struct.unpack_from(">i", data, place + 57)
            if length <= 0:
                break
            found.append((CODECS[attributes & 7], bool(attributes & LOG_APPEND_TIME), count))
            place += 12 + length
    return found
