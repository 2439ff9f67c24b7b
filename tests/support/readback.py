"""Reads a whole topic with another client library, from the first offset to the end at the time of the call.

Uses confluent-kafka and kafka-python; returns the ledger's LogRecord, or the client's own type.
A reader sees a partition only as far as all its replicas have it. So a fence is written first, acknowledged by all of
them: what stands before it, a late duplicate too, is then seen. Fences are left out of what is returned.
"""

import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from ledger import LogRecord

FENCE = b"readback-fence"


def write_fences(bootstrap_servers, topic, partitions, timeout=60):
    """Append a fence to each partition; every replica's log holds it when this returns."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "log_level": 0})
    failures = []
    for partition in partitions:
        producer.produce(topic, b"", FENCE, partition, on_delivery=lambda error, _: error and failures.append(error))
    if producer.flush(timeout) or failures:
        raise AssertionError(f"no fence could be written to {topic} in {timeout} s: {failures}")


def read_messages(bootstrap_servers, topic, **how):
    """All messages of the topic as confluent-kafka's own objects, by partition, each as it came. Arguments as of read_polls()."""
    return [message for _, message in read_polls(bootstrap_servers, topic, **how)]


def read_polls(bootstrap_servers, topic, *, committed=False, fence=True, timeout=60):
    """(the number of the poll, message) of all messages of the topic.

    The checksums of the batches are checked; `committed` leaves out what transactions did not commit. Without `fence`
    nothing is written, for topics that take no records, or whose readers an open transaction holds up.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "readback",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    deadline = time.monotonic() + timeout
    try:
        partitions = consumer.list_topics(topic, timeout=timeout).topics[topic].partitions
        if fence:
            write_fences(bootstrap_servers, topic, partitions, timeout)
        open_ends = set(partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found, poll = [], 0
        while open_ends:
            poll += 1
            if time.monotonic() > deadline:
                raise AssertionError(f"read-back of {topic}: no end of partitions {sorted(open_ends)} in {timeout} s")
            for message in consumer.consume(5000, timeout=0.1):
                error = message.error()
                if error is None:
                    if message.key() != FENCE:
                        found.append((poll, message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_ends.discard(message.partition())
                elif not error.retriable() and error.code() not in PASSING:
                    raise AssertionError(f"read-back of {topic}: {error}")
        return sorted(found, key=lambda pair: pair[1].partition())  # within one as they came: the ledger looks at that
    finally:
        consumer.close()


PASSING = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError.NOT_LEADER_FOR_PARTITION}


def read_log(bootstrap_servers, topic, *, committed=False, fence=True, timeout=60):
    """The topic as the ledger wants it."""
    polls = read_polls(bootstrap_servers, topic, committed=committed, fence=fence, timeout=timeout)
    return [LogRecord(m.partition(), m.offset(), m.value(), m.key(), poll=poll) for poll, m in polls]


def read_log_with_kafka_python(bootstrap_servers, topic, *, timeout=60):
    """The same by kafka-python, which shares no code with librdkafka: the second opinion."""
    from kafka import KafkaConsumer
    from kafka import TopicPartition as Partition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers.split(","), enable_auto_commit=False, check_crcs=True)
    deadline = time.monotonic() + timeout
    try:
        partitions = [Partition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        write_fences(bootstrap_servers, topic, [partition.partition for partition in partitions], timeout)
        ends = consumer.end_offsets(partitions)
        consumer.seek_to_beginning(*partitions)
        found, poll = [], 0
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            poll += 1
            if time.monotonic() > deadline:
                raise AssertionError(f"kafka-python did not reach the end of {topic} in {timeout} s")
            for records in consumer.poll(timeout_ms=200).values():
                found.extend(LogRecord(r.partition, r.offset, r.value, r.key, "kafka-python", poll)
                             for r in records if r.key != FENCE)
        return sorted(found, key=lambda record: record.partition)
    finally:
        consumer.close()
