"""Offsets of times, rows C28 and C29 of the C++ API's tests; the ends of partitions while a transaction is open."""
import confluent_kafka
import pytest
from consumers import batches, new_consumer, plain
from helpers import properties

from kafkapp import KafkaAsyncProducer, KafkaException, KafkaSyncProducer, Timestamp

THEN = 1_700_000_000_000
COUNT = 20


@pytest.fixture
def filled(kafka, make_topic):
    """A topic with two partitions; the first has so many records, a second apart."""
    name = make_topic(partitions=2)
    with KafkaSyncProducer(properties(kafka)) as producer:
        for row in range(COUNT):
            producer.send(name, b"%d" % row, partition=0, timestamp=THEN + 1000 * row)
    return name


def watermarks(kafka, topic, **more):
    """Of partition 0, as rd_kafka_query_watermark_offsets() has them."""
    theirs = confluent_kafka.Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "w", "log_level": 0,
                                       **{name.replace("_", "."): value for name, value in more.items()}})
    try:
        return theirs.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), 20)
    finally:
        theirs.close()


def test_c28_offsets_of_times(kafka, filled):
    with new_consumer(kafka) as consumer:
        for ms, offset in ((0, 0), (THEN, 0), (THEN + 1, 1), (THEN + 5000, 5), (THEN + 18_999, 19), (THEN + 19_000, 19)):
            assert consumer.offsets_for_times({(filled, 0): ms, (filled, 1): ms}, 20) == {(filled, 0): offset}
            assert consumer.offsets_for_times({(filled, 0): Timestamp(ms).datetime}, 20) == {(filled, 0): offset}
        assert consumer.offsets_for_times({(filled, 0): THEN + 19_001}, 20) == {}
        for unknown in ((filled, 5), (f"no-{filled}", 0)):
            with pytest.raises(KafkaException):
                consumer.offsets_for_times({unknown: THEN, (filled, 0): THEN}, 5)


def test_c29_reading_from_times(kafka, filled):
    """Each consumer begins at the time of what the one before has read last."""
    found, begin = [], Timestamp(THEN)
    while len(found) < COUNT:
        with new_consumer(kafka) as consumer:
            consumer.assign({(filled, 0): begin, (filled, 1): begin}, 20)
            assert consumer.position((filled, 1)) == 0 and consumer.lag(20)[filled, 0] == COUNT - len(found)
            batch = consumer.poll(20, 7)
            found += [plain(record.value) for record in batch]
            begin = Timestamp(batch[-1].timestamp.ms + 1)
            consumer.seek((filled, 0), Timestamp(THEN + 10_500), 20)
            assert [record.offset for one in batches(consumer, 9) for record in one] == list(range(11, COUNT))
    assert found == [b"%d" % row for row in range(COUNT)]


def test_ends_while_a_transaction_is_open(kafka, filled):
    producer = KafkaAsyncProducer(properties(kafka, {"transactional.id": f"id-{filled}"}))
    with producer:
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.send(filled, b"open", partition=0)
        producer.flush(30)
        for level, end in (("read_committed", COUNT), ("read_uncommitted", COUNT + 1)):
            with new_consumer(kafka, isolation_level=level) as consumer:
                assert consumer.end_offsets([(filled, 0)], 20) == {(filled, 0): end}
                assert consumer.beginning_offsets([(filled, 0)], 20) == {(filled, 0): 0}
                assert watermarks(kafka, filled, isolation_level=level) == (0, end)
                consumer.assign({(filled, 0): 5})
                assert consumer.lag(20) == {(filled, 0): end - 5}
        producer.abort_transaction(30)
