"""Consumers for tests: assigned from the beginning, and read until a number of records has come."""
import time

from helpers import properties

from kafkapp import KafkaConsumer, Offset


def new_consumer(cluster, topic=None, partitions=range(4), /, *more, kind=KafkaConsumer, **named):
    """A consumer; with a topic it has these partitions of it, from their beginning."""
    consumer = kind(properties(cluster, {"fetch.wait.max.ms": 20}, *more, **named))
    if topic is not None:
        consumer.assign({(topic, partition): Offset.Beginning for partition in partitions})
    return consumer


def batches(consumer, count, timeout=30, **how):
    """Batches with so many records in all, of poll_batch()."""
    found, end = [], time.monotonic() + timeout
    while sum(map(len, found)) < count:
        assert time.monotonic() < end, f"{sum(map(len, found))} of {count} records in {timeout} s"
        found.append(consumer.poll_batch(1, **how))
    assert sum(map(len, found)) == count
    return [batch for batch in found if batch]


def one_batch(consumer, count, **how):
    """So many records from the beginning of what is assigned, in one batch: they may come in parts, and are read again then."""
    while len(batch := consumer.poll_batch(20, max_records=count, **how)) < count:
        consumer.seek_to_beginning()
    return batch


def polls(consumer):
    """Whether another thread is inside a poll; that one polls by poll_batch_beside()."""
    try:
        consumer.poll_batch(0)
    except RuntimeError as error:
        assert "only one may poll at a time" in str(error)
        return True
    return False


def poll_batch_beside(consumer, *timeout):
    """poll_batch(), again where polls() in another thread was first."""
    while True:
        try:
            return consumer.poll_batch(*timeout)
        except RuntimeError as error:
            if "only one may poll at a time" not in str(error):
                raise


def records(consumer, count, timeout=30):
    """So many records, with headers."""
    return [record for batch in batches(consumer, count, timeout, headers=True) for record in batch]


def fields(record):
    """What a record says, of ours or of confluent-kafka's, to be compared."""
    if callable(record.topic):
        return (record.topic(), record.partition(), record.offset(), record.key(), record.value(),
                [(name, value) for name, value in record.headers() or []], record.timestamp()[1], record.timestamp()[0])
    return (record.topic, record.partition, record.offset, plain(record.key), plain(record.value),
            [(header.key, plain(header.value)) for header in record.headers], record.timestamp.ms, record.timestamp.type)


def plain(view):
    return None if view.data is None else bytes(view)
