"""Where a consumer reads: seeks, pauses, offsets on brokers, and commits, which confluent-kafka reads too."""
from datetime import UTC, datetime

import confluent_kafka
import pytest
from consumers import batches, new_consumer, plain
from groups import PROTOCOLS
from helpers import properties

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer, Timestamp
from kafkapp import Offset
from kafkapp.config.application import librdkafka_is_patched

COUNT = 200


@pytest.fixture
def filled(broker, topic):
    """A topic with so many records in partition 1, whose values are their offsets, and 10 in partition 2."""
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [str(row) for row in range(COUNT)], partition=1)
        producer.send_batch(topic, [str(row) for row in range(10)], partition=2)
    return topic


def first(consumer):
    return next(record for batch in iter(lambda: consumer.poll(20, 1), None) for record in batch)


def is_unknown(raised):
    return raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION


@pytest.mark.parametrize("offset", [0, 7, COUNT - 1, Offset.Beginning])
def test_seek_right_after_assign(broker, filled, offset):
    with new_consumer(broker) as consumer:
        consumer.assign({(filled, 1): Offset.End})
        consumer.seek((filled, 1), offset)
        assert consumer.position((filled, 1)) == (None if offset is Offset.Beginning else offset)
        record = first(consumer)
        assert record.offset == max(offset, 0) and plain(record.value) == str(record.offset).encode()


def test_seek_drops_what_is_in_the_queue(broker, filled):
    with new_consumer(broker, filled, [1, 2]) as consumer:
        for offset in (150, 3, 77, 199, 0):
            consumer.seek((filled, 1), offset)
            while (record := first(consumer)).partition != 1:
                pass
            assert record.offset == offset and consumer.position((filled, 1)) == offset + 1


def test_seek_to_both_ends(broker, filled):
    with new_consumer(broker, filled, [1]) as consumer:
        consumer.seek_to_end()
        assert not consumer.poll(0.3)
        consumer.seek_to_beginning([(filled, 1)])
        assert [record.offset for batch in batches(consumer, COUNT) for record in batch] == list(range(COUNT))


@pytest.mark.skipif(not librdkafka_is_patched(), reason="librdkafka as others build it goes on at the end then (seeks-undone.patch)")
@pytest.mark.parametrize("first", ["seek_to_end", "assign"])
@pytest.mark.parametrize("offset", [5, Offset.Beginning])
def test_a_late_answer_of_where_the_end_is_undoes_no_seek(cluster, topic, first, offset):
    with KafkaSyncProducer(properties(cluster)) as producer:
        for _ in range(10):         # each is fetched by itself
            producer.send_batch(topic, [b"v"] * 10, partition=1)
    with new_consumer(cluster, topic, [1]) as consumer:
        while not consumer.poll(20, 1):
            pass
        cluster.set_rtt(None, 0.2)
        if first == "assign":
            consumer.assign({(topic, 1): Offset.End})
        else:
            consumer.seek_to_end()
        consumer.seek((topic, 1), offset)
        begin = max(offset, 0)
        assert [record.offset for batch in batches(consumer, 100 - begin) for record in batch] == list(range(begin, 100))


def test_seek_of_what_is_not_assigned(broker, filled):
    with new_consumer(broker, filled, [1]) as consumer:
        for call in (lambda: consumer.seek((filled, 2), 0), lambda: consumer.seek_to_end([(filled, 2)]), lambda: consumer.pause([(filled, 2)]),
                     lambda: consumer.resume([("other", 1)])):
            with pytest.raises(KafkaException) as raised:
                call()
            assert is_unknown(raised)
        for wrong, kind in ((-1, ValueError), (1.5, TypeError), (None, TypeError), (2**63, ValueError)):
            with pytest.raises(kind, match="^offset must be "):
                consumer.seek((filled, 1), wrong)


def test_pause_and_resume(broker, filled):
    with new_consumer(broker, filled, [1, 2]) as consumer:
        consumer.pause([(filled, 1)])
        assert {record.partition for batch in batches(consumer, 10) for record in batch} == {2}
        assert not consumer.poll_batch(0.2)
        consumer.resume()
        assert [record.offset for batch in batches(consumer, COUNT) for record in batch] == list(range(COUNT))


def test_a_pause_keeps_the_place(broker, filled):
    with new_consumer(broker, filled, [1]) as consumer:
        got = [first(consumer).offset for _ in range(3)]
        consumer.pause()
        assert not consumer.poll_batch(0.2)
        consumer.resume()
        assert [*got, *(record.offset for batch in batches(consumer, COUNT - 3) for record in batch)] == list(range(COUNT))


def test_what_was_not_paused_is_not_read_again(broker, filled):
    with new_consumer(broker, filled, [2]) as consumer:
        batches(consumer, 10)
        consumer.resume()
        assert not consumer.poll_batch(0.3)
        consumer.pause()
        consumer.pause()
        consumer.resume()
        assert not consumer.poll_batch(0.3)


def test_what_is_assigned_anew_is_not_paused(broker, filled):
    with new_consumer(broker, filled, [2]) as consumer:
        consumer.pause()
        consumer.assign({(filled, 2): 5})
        assert [record.offset for batch in batches(consumer, 5) for record in batch] == [5, 6, 7, 8, 9]


def test_a_seek_while_paused(broker, filled):
    with new_consumer(broker, filled, [1]) as consumer:
        consumer.pause()
        consumer.seek((filled, 1), 50)
        assert not consumer.poll_batch(0.2)
        consumer.resume()
        assert first(consumer).offset == 50


def test_offsets_on_brokers(broker, filled):
    with new_consumer(broker) as consumer:
        wanted = [(filled, 0), (filled, 1), (filled, 2)]
        assert consumer.beginning_offsets(wanted) == dict.fromkeys(wanted, 0)
        assert consumer.end_offsets(wanted) == {(filled, 0): 0, (filled, 1): COUNT, (filled, 2): 10}
        assert consumer.end_offsets([]) == {}
        with pytest.raises(KafkaException):
            consumer.end_offsets([(filled, 77)], 2)


def theirs(broker, group, places):
    """The group's offsets as confluent-kafka reads them."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 0})
    try:
        return {(one.topic, one.partition): one.offset for one in consumer.committed([confluent_kafka.TopicPartition(*place) for place in places], 10)}
    finally:
        consumer.close()


def test_commits(broker, filled):
    places = [(filled, 1), (filled, 2)]
    with new_consumer(broker, filled, [1, 2], group_id=f"g-{filled}") as consumer:
        consumer.commit_sync(timeout=20)                  # nothing was read: nothing is committed
        assert consumer.committed(places) == {}
        batch = consumer.poll_batch(20, max_records=5)
        consumer.commit_sync(batch, 20)
        assert consumer.committed(places) == batch.ends
        while not (found := [record for record in consumer.poll(20) if record.partition == 1]):
            pass
        consumer.commit_sync(found[0], 20)
        assert consumer.committed(places)[filled, 1] == found[0].offset + 1
        consumer.commit_sync({(filled, 1): 33, (filled, 2): 4}, 20)
        assert theirs(broker, consumer.group_id, places) == {(filled, 1): 33, (filled, 2): 4} == consumer.committed(places)
        consumer.seek((filled, 2), 6)
        consumer.seek((filled, 1), 44)
        consumer.commit_sync(timeout=20)
        assert theirs(broker, consumer.group_id, places) == {(filled, 1): 44, (filled, 2): 6}
    with new_consumer(broker, group_id=f"g-{filled}") as again:
        again.assign([(filled, 1)])
        assert first(again).offset == 44
        for wrong, kind in (({("t", 0): -1}, ValueError), ({("t", 0): None}, TypeError), ({"t": 0}, TypeError), (5, TypeError)):
            with pytest.raises(kind):
                again.commit_sync(wrong)


def test_lag(broker, filled):
    places = [(filled, 0), (filled, 1), (filled, 2)]
    with new_consumer(broker, group_id=f"lag-{filled}") as consumer:
        assert consumer.lag() == {}
        consumer.commit_sync({(filled, 2): 4}, 20)
        consumer.assign(places)
        assert consumer.lag(20) == {(filled, 2): 6}           # the others begin at their ends: auto.offset.reset
        consumer.assign({(filled, 1): 50, (filled, 2): Offset.Beginning, (filled, 0): Offset.End})
        assert consumer.lag(20) == {(filled, 1): COUNT - 50, (filled, 2): 10}
        consumer.seek((filled, 2), Offset.End)
        assert consumer.lag(20) == {(filled, 1): COUNT - 50}
        consumer.seek_to_beginning([(filled, 1), (filled, 2)])
        batch = consumer.poll_batch(20, max_records=3)
        expected = {(filled, 1): COUNT, (filled, 2): 10}
        for place, end in batch.ends.items():
            expected[place] -= end
        assert consumer.lag(20) == expected
        batches(consumer, COUNT + 10 - len(batch))
        assert consumer.lag(20) == dict.fromkeys([(filled, 1), (filled, 2)], 0)
        consumer.assign({(filled, 77): 5, (filled, 1): 0})
        with pytest.raises(KafkaException, match=r"lag\(\) failed"):
            consumer.lag(2)
    with new_consumer(broker, group_id=f"none-{filled}", auto_offset_reset="earliest") as consumer:
        consumer.assign(places)
        assert consumer.lag(20) == {(filled, 0): 0, (filled, 1): COUNT, (filled, 2): 10}


def test_a_position_behind_the_end_is_no_lag(broker, filled):
    with new_consumer(broker, filled, [1]) as consumer:
        consumer.pause()
        consumer.seek((filled, 1), COUNT + 1000)
        assert consumer.lag(20) == {(filled, 1): 0}


def test_what_was_assigned_before_does_not_count(broker, filled):
    """Neither a pause nor a start: what is assigned again begins anew."""
    with new_consumer(broker, filled, [1], list(PROTOCOLS.values())[-1]) as consumer:
        consumer.pause()
        consumer.assign({(filled, 1): 5})
        assert consumer.poll_batch(20)[0].offset == 5
        consumer.pause()
        consumer.seek_to_beginning()
        consumer.unsubscribe()
        consumer.subscribe([filled], timeout=30)
        assert consumer.lag(20) == {}       # they begin at their ends: auto.offset.reset
        consumer.pause()
        consumer.seek_to_beginning()
        assert consumer.lag(20)[filled, 1] == COUNT
        consumer.unsubscribe()
        consumer.subscribe([filled], timeout=30)
        assert consumer.lag(20) == {}


def test_an_unknown_partition_is_no_offset(broker, filled):
    with new_consumer(broker) as consumer:
        for call in (consumer.end_offsets, consumer.beginning_offsets):
            with pytest.raises(KafkaException) as raised:
                call([(filled, 1), (filled, 77)], 20)
            assert is_unknown(raised)
        with pytest.raises(KafkaException):
            consumer.offsets_for_times({(filled, 1): 5, (filled, 77): 5}, 20)


@pytest.mark.parametrize("time", [Timestamp(2**41), datetime(2039, 9, 7, tzinfo=UTC)], ids=["Timestamp", "datetime"])
def test_a_time_that_no_record_has_is_the_end(broker, filled, time):
    """The embedded cluster has no times: it answers as if no record had one. A real Kafka: tests/kafka."""
    with new_consumer(broker) as consumer:
        assert consumer.offsets_for_times({(filled, 1): time, (filled, 2): 2**41}) == {}
        consumer.assign({(filled, 1): time, (filled, 2): 8})
        assert consumer.position((filled, 1)) == COUNT and consumer.position((filled, 2)) == 8
        consumer.seek((filled, 2), time)
        assert consumer.position((filled, 2)) == 10
        with KafkaSyncProducer(properties(broker)) as producer:
            producer.send(filled, b"later", partition=1)
        assert first(consumer).offset == COUNT


def test_metadata(broker, filled):
    with new_consumer(broker) as consumer:
        found = consumer.fetch_broker_metadata(filled, 20)
        assert found.topic == filled and sorted(found.partitions) == [0, 1, 2, 3]
        assert consumer.list_topics(20)[filled] == 4
