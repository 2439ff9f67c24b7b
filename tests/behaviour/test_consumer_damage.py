"""Damaged answers to a consumer: an error, never a wrong record, and none that is passed over. With check.crcs, which is
off unless it is set.
"""
import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from consumers import new_consumer, plain, poll_batch_beside, polls, records
from helpers import Stopwatch, needs, properties, wait_for
from proxy import FETCH, Front

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer

LIST_OFFSETS = 2
VALUES = [b"%04d" % row * 20 for row in range(10)]      # one batch, at the end of the answer; all of this is within its checksum
BATCH = 941      # its size; there is little before it in the answer


@pytest.mark.parametrize("codec", ["none", pytest.param("gzip", marks=needs("gzip")), "snappy", "lz4"])
@pytest.mark.parametrize("at", [-8, -20, -40])
def test_a_flipped_bit_is_an_error(broker, topic, at, codec):
    """Which the poll raises in place of the batch's records; the next ones read them again, though librdkafka has lost the place."""
    with KafkaSyncProducer(properties(broker, compression_type=codec)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, topic, [0], check_crcs=True) as consumer:
        rules, found = [proxy.flip_response(at, api=FETCH) for proxy in front], []
        with pytest.raises(KafkaException) as raised:
            while True:
                found += consumer.poll(20)
        assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__BAD_MSG and f"{topic} [0]: " in str(raised.value)
        assert found == [] and consumer.position((topic, 0)) is None and any(rule.fired for rule in rules)
        found += consumer.poll(0)       # before it seeks back: empty
        while len(found) < len(VALUES):
            found += consumer.poll(20)
    assert [(record.offset, plain(record.value)) for record in found] == list(enumerate(VALUES))


def damage(front, how_often=1):
    return [proxy.flip_response(-20, how_often, api=FETCH) for proxy in front]


@pytest.mark.parametrize("start", ["assigned", "committed"])
def test_nothing_is_passed_over_or_read_twice(broker, topic, start):
    """Also where the first offset is within the damaged batch. With auto.offset.reset=latest, which skips all that is left once
    librdkafka asks for an offset that no broker has."""
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, check_crcs=True, group_id=topic) as consumer:
        consumer.commit_sync({(topic, 0): 3})
        damage(front)
        consumer.assign({(topic, 0): 3} if start == "assigned" else [(topic, 0)])
        with pytest.raises(KafkaException, match="the next poll reads it again"):
            while True:
                assert not consumer.poll(20)
        assert consumer.position((topic, 0)) == (3 if start == "assigned" else None)
        assert [record.offset for record in records(consumer, len(VALUES) - 3)] == list(range(3, len(VALUES)))


@pytest.mark.parametrize("reset", ["earliest", "latest"])
@pytest.mark.parametrize("late", ["the refusal", "the offset to reset to"])
def test_a_broker_that_answers_late_to_an_offset_that_it_has_not(broker, topic, late, reset):
    """Later than the consumer waits for that, before it seeks back: the answer comes to nothing, and all is read."""
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, check_crcs=True, auto_offset_reset=reset) as consumer:
        damage(front)
        for proxy in front:     # of FETCH the damaged answer is the first
            proxy.delay_responses(1.5, 2 if late == "the refusal" else 1, api=FETCH if late == "the refusal" else LIST_OFFSETS)
        consumer.assign({(topic, 0): 0})
        with pytest.raises(KafkaException, match="the next poll reads it again"):
            while True:
                assert not consumer.poll(20)
        assert [record.offset for record in records(consumer, len(VALUES))] == list(range(len(VALUES)))


def test_without_a_reset_the_error_says_that_a_new_consumer_is_needed(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, topic, [0], check_crcs=True, auto_offset_reset="error") as consumer:
        damage(front)
        with pytest.raises(KafkaException, match="auto.offset.reset=error librdkafka may not go on reading this partition; a new consumer does"):
            while True:
                assert not consumer.poll(20)


def test_what_stays_damaged_stays_an_error_until_a_seek(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer, Front(broker.bootstrap_servers) as front:
        producer.send_batch(topic, VALUES, partition=0)
        with new_consumer(front, topic, [0], check_crcs=True) as consumer:
            rules = damage(front, None)
            for _ in range(3):
                with pytest.raises(KafkaException) as raised:
                    while True:
                        assert not consumer.poll(20)
                assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__BAD_MSG
            for proxy, rule in zip(front, rules, strict=True):
                proxy.remove(rule)
            consumer.seek((topic, 0), 4)
            assert [record.offset for record in records(consumer, len(VALUES) - 4)] == list(range(4, len(VALUES)))


@pytest.mark.parametrize("reset", ["earliest", "latest"])
@pytest.mark.parametrize("count", [2, 3])
def test_each_of_two_damaged_partitions_is_an_error_and_is_read_again(broker, topic, count, reset):
    """Of one answer, whose records and errors librdkafka gives at once: before them are records, with a third partition."""
    found, errors, sent = [], [], 0
    with (KafkaSyncProducer(properties(broker)) as producer, Front(broker.bootstrap_servers) as front,
          new_consumer(front, topic, range(count), check_crcs=True, fetch_wait_max_ms=500, auto_offset_reset=reset) as consumer):
        assert not consumer.poll(0.1)       # from now on a fetch waits, and the next one has the records of all
        rules = [proxy.flip_response((-BATCH // 2, -BATCH * 3 // 2), api=FETCH, least=count * BATCH) for proxy in front]
        while not any(rule.fired for rule in rules):
            for partition in range(count):
                producer.send_batch(topic, VALUES, partition=partition)
            sent += len(VALUES)
            time.sleep(1)       # the answer has come
            while len(found) < count * sent:
                try:
                    found += [(record.partition, record.offset) for record in consumer.poll(20)]
                except KafkaException as error:
                    errors.append(str(error))
    for partition in range(count):
        assert [offset for number, offset in found if number == partition] == list(range(sent))
    # Behind one batch that is damaged librdkafka may find another one that it does not know, in the same partition.
    places = [re.search(r"\| (\S+ \[\d\]): ", error)[1] for error in errors]
    damaged = [place for place, error in zip(places, errors, strict=True) if "Bad message format" in error]
    assert len(damaged) == len(set(damaged)) == len(set(places)) == 2, errors
    assert all("the next poll reads it again" in error for error in errors)


def test_an_assignment_after_damage_is_read_from_where_it_begins(broker, topic):
    """Although librdkafka's answer to the offset that no broker has is still to come."""
    with KafkaSyncProducer(properties(broker)) as producer, Front(broker.bootstrap_servers) as front:
        producer.send_batch(topic, VALUES, partition=0)
        with new_consumer(front, topic, [0], check_crcs=True) as consumer:
            damage(front)
            with pytest.raises(KafkaException, match="the next poll reads it again"):
                while True:
                    assert not consumer.poll(20)
            consumer.assign({(topic, 0): 2})
            assert [record.offset for record in records(consumer, len(VALUES) - 2)] == list(range(2, len(VALUES)))


@pytest.mark.parametrize("call", ["wakeup", "close"])
def test_a_poll_that_waits_to_read_again_can_be_ended(broker, topic, call):
    with KafkaSyncProducer(properties(broker)) as producer, Front(broker.bootstrap_servers) as front:
        for partition in range(4):      # one is at the end of the answer
            producer.send_batch(topic, VALUES, partition=partition)
        with new_consumer(front, check_crcs=True, auto_offset_reset="earliest") as consumer, ThreadPoolExecutor() as threads:
            damage(front)
            consumer.subscribe([topic])
            with pytest.raises(KafkaException, match="the next poll reads it again"):
                while True:
                    consumer.poll(20)
            poll = threads.submit(poll_batch_beside, consumer, 20)
            wait_for(lambda: polls(consumer))
            with Stopwatch() as watch:
                getattr(consumer, call)()
                error = poll.exception(20)
            assert watch.seconds < 1.5 and (not poll.result() if call == "wakeup" else str(error) == "the consumer is closed")


@pytest.mark.parametrize("at", [-8, -20, -40])
@pytest.mark.parametrize("codec", [pytest.param("gzip", marks=needs("gzip")), "lz4"])
def test_what_cannot_be_unpacked_is_an_error_without_checksums(broker, topic, at, codec):
    """Or it is the right records: where the bit changes nothing."""
    with KafkaSyncProducer(properties(broker, compression_type=codec)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, topic, [0]) as consumer:
        rules, found = [proxy.flip_response(at, api=FETCH) for proxy in front], []
        try:
            while len(found) < len(VALUES):
                found += consumer.poll(20)
        except KafkaException as error:
            assert f"{topic} [0]: " in str(error)
        assert any(rule.fired for rule in rules) and len(found) in (0, len(VALUES))


@pytest.mark.parametrize("where", [1, 2])
def test_each_end_of_a_partition_is_said_beside_damage(cluster, topic, where):
    """Also those of empty partitions that come right behind the damaged batch."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, VALUES, partition=where)
    with Front(cluster.bootstrap_servers) as front, new_consumer(front, check_crcs=True, enable_partition_eof=True) as consumer:
        rules = [proxy.flip_response(lambda frame: frame.index(VALUES[9]), api=FETCH, least=BATCH) for proxy in front]
        consumer.assign({(topic, partition): 0 for partition in range(4)})
        wait_for(lambda: any(rule.fired for rule in rules))
        time.sleep(0.5)     # the ends are in the queue behind it
        ends, until = {}, time.monotonic() + 30
        while len(ends) < 4:
            assert time.monotonic() < until, ends
            with contextlib.suppress(KafkaException):
                ends |= consumer.poll_batch(1).eofs
        assert ends == {(topic, partition): len(VALUES) * (partition == where) for partition in range(4)}
