"""A poll that ends in an exception has returned nothing: its records come again, each once; positions have not moved."""
import signal

import pytest
from consumers import batches, new_consumer
from helpers import properties, run_python

from kafkapp import KafkaSyncProducer, Offset
from kafkapp.consumer import consumed_columns, topic_partition

COUNT = 300


@pytest.fixture
def filled(broker, topic):
    """Two partitions with records that say their offset; the second has ten."""
    with KafkaSyncProducer(properties(broker)) as producer:
        for partition, count in ((1, COUNT), (2, 10)):
            producer.send_batch(topic, [b"%d" % number for number in range(count)], partition=partition)
    return topic


class Interrupted(BaseException):
    pass


def interrupt(*_):
    raise Interrupted


@pytest.fixture
def interrupting(monkeypatch):
    """Have the next poll that has records interrupted by a signal after it has taken them from librdkafka."""
    def interrupted(*place):
        monkeypatch.setattr(consumed_columns, "TopicPartition", topic_partition.TopicPartition)
        signal.raise_signal(signal.SIGUSR1)
        return topic_partition.TopicPartition(*place)

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield lambda: monkeypatch.setattr(consumed_columns, "TopicPartition", interrupted)
    signal.signal(signal.SIGUSR1, before)


def interrupted_poll(consumer, interrupting, **how):
    """A poll that has taken records and raises."""
    interrupting()
    with pytest.raises(Interrupted):
        consumer.poll_batch(20, **how)


def read(consumer, count):
    return sorted((record.partition, record.offset) for batch in batches(consumer, count) for record in batch)


def test_what_an_interrupted_poll_has_taken_comes_again(broker, filled, interrupting):
    with new_consumer(broker, filled, [1, 2]) as consumer:
        for most in (1, 7, 1000):
            interrupted_poll(consumer, interrupting, max_records=most)
            assert consumer.position((filled, 1)) is None and consumer.position((filled, 2)) is None
        assert read(consumer, COUNT + 10) == [(1, offset) for offset in range(COUNT)] + [(2, offset) for offset in range(10)]
        assert consumer.position((filled, 1)) == COUNT and not consumer.poll_batch(0.1)


def test_after_others_were_returned(broker, filled, interrupting):
    with new_consumer(broker, filled, [1]) as consumer:
        found = []
        while len(found) < COUNT:
            found += [record.offset for record in consumer.poll_batch(20, max_records=50)]
            assert consumer.position((filled, 1)) == len(found)
            if len(found) < COUNT:
                interrupted_poll(consumer, interrupting, max_records=20)
                assert consumer.position((filled, 1)) == len(found)
    assert found == list(range(COUNT))


def test_a_seek_or_an_assignment_says_where_to_go_on_instead(broker, filled, interrupting):
    with new_consumer(broker, filled, [1, 2]) as consumer:
        interrupted_poll(consumer, interrupting)
        consumer.seek((filled, 1), COUNT - 5)
        consumer.seek_to_end([(filled, 2)])
        assert read(consumer, 5) == [(1, offset) for offset in range(COUNT - 5, COUNT)]
        consumer.seek_to_beginning()
        interrupted_poll(consumer, interrupting)
        consumer.assign({(filled, 2): 8, (filled, 1): Offset.End})
        assert read(consumer, 2) == [(2, 8), (2, 9)] and not consumer.poll_batch(0.1)


def test_a_handler_that_seeks_says_where_to_go_on(broker, filled, interrupting):
    """The poll around it returns what it has; the position is the handler's."""
    with new_consumer(broker, filled, [1]) as consumer:
        signal.signal(signal.SIGUSR1, lambda *_: consumer.seek((filled, 1), COUNT - 5))
        interrupting()
        batch = consumer.poll_batch(20)
        assert batch[0].offset == 0 and consumer.position((filled, 1)) == COUNT - 5
        assert read(consumer, 5) == [(1, offset) for offset in range(COUNT - 5, COUNT)]


@pytest.mark.parametrize(("start", "begin"), [(3, 3), (Offset.Beginning, 0), (COUNT - 5, COUNT - 5), (Offset.End, COUNT)])
def test_also_when_it_raises_then(broker, filled, interrupting, start, begin):
    def seek(*_):
        consumer.seek((filled, 1), start)
        raise Interrupted

    with new_consumer(broker, filled, [1]) as consumer:
        assert consumer.poll_batch(20, max_records=20)
        signal.signal(signal.SIGUSR1, seek)
        interrupted_poll(consumer, interrupting, max_records=20)
        assert read(consumer, COUNT - begin) == [(1, offset) for offset in range(begin, COUNT)]
        assert not consumer.poll_batch(0.1)


MEMORY = """
import _testcapi, gc, sys
from kafkapp import KafkaConsumer, KafkaSyncProducer, Offset
from kafkapp.testing import MockCluster

cluster = MockCluster()
cluster.create_topic("t", 2)
with KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
    for partition in (0, 1):
        producer.send_batch("t", [b"value"] * 400, partition=partition)
consumer = KafkaConsumer({"bootstrap.servers": cluster.bootstrap_servers, "fetch.wait.max.ms": 20,
                          "enable.partition.eof": True})
consumer.assign({("t", 0): Offset.Beginning, ("t", 1): Offset.Beginning})
gc.disable()

def poll(failing, last):
    # A batch; None: it found no memory. The next one seeks back, by a thread of Python's: its allocations do not fail.
    _testcapi.set_nomemory(failing, last)
    try:
        return consumer.poll(20, 5)
    except MemoryError:
        return None
    finally:
        _testcapi.remove_mem_hooks()

found, failures, failing = [[], []], 0, 0
while sum(map(len, found)) < 800:
    before = [consumer.position(("t", partition)) for partition in (0, 1)]
    batch = poll(failing % 40, 0 if failing % 80 < 40 else failing % 40 + 1)
    if batch is None:
        failures += 1
        assert before == [consumer.position(("t", partition)) for partition in (0, 1)], failing
        batch = consumer.poll(20, 5)
    for record in batch:
        found[record.partition].append(record.offset)
    failing += 1
assert found == [list(range(400))] * 2, [[a for a, b in enumerate(one) if a != b][:3] for one in found]
assert failures > 10, failures
for failing in range(15):                       # nor the end of a partition
    consumer.seek(("t", 0), 400)
    batch = poll(failing, failing + 1)
    while batch is None or ("t", 0) not in batch.eofs:
        batch = consumer.poll(20)
        assert batch.eofs and not batch
consumer.close()
print("good", failures, failing)
"""


def test_a_poll_that_finds_no_memory_loses_nothing():
    pytest.importorskip("_testcapi")
    assert run_python(MEMORY, timeout=60).startswith("good")
