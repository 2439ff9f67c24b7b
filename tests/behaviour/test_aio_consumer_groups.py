"""kafkapp.aio.KafkaConsumer as a member of a group: rebalances run in the loop, and a task that takes its time stays a member."""
import asyncio
import threading

import pytest
from aio_consumers import SECONDS, records
from groups import CLASSIC, PROTOCOLS
from helpers import properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer, RebalanceEvent
from kafkapp.aio import KafkaConsumer

ASSIGNED, REVOKED = RebalanceEvent.Assigned, RebalanceEvent.Revoked


@pytest.fixture
def filled(cluster, topic):
    """A topic with 100 records in each of its four partitions."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * 100, partition=partition)
    return topic


def member(cluster, topic, protocol="eager", *more, **named):
    return KafkaConsumer(properties(cluster, {"group.id": topic, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20,
                                              "enable.auto.commit": False, **PROTOCOLS[protocol]}, *more, **named))


async def poll_until(condition, *consumers):
    async with asyncio.timeout(40):
        while not condition():
            for consumer in consumers:
                await consumer.poll(0.02)


def test_it_leaves_its_group_with_a_full_queue(cluster, topic):
    """Behind records that nobody takes, librdkafka signals nothing."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v" * 50] * 20_000, partition=0)

    async def go():
        async with member(cluster, topic) as consumer:
            await consumer.subscribe([topic], timeout=SECONDS)
            assert len(await consumer.poll(SECONDS, 1)) == 1
            await asyncio.wait_for(consumer.unsubscribe(None), SECONDS)
            assert not consumer.assignment()

    run_in_loop(go())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rebalances_run_in_the_loop(cluster, filled, protocol):
    """Of two members; each event is reported once, in the loop's thread, and at the end too."""
    async def go():
        told = {"one": [], "other": []}

        def teller(name):
            def on_rebalance(event, partitions):
                assert threading.get_ident() == here and asyncio.get_running_loop() is loop
                told[name].append((event, sorted(partitions)))
            return on_rebalance

        here, loop = threading.get_ident(), asyncio.get_running_loop()
        one, other = member(cluster, filled, protocol), member(cluster, filled, protocol)
        await one.subscribe([filled], teller("one"), timeout=SECONDS)
        assert one.assignment() == {(filled, partition) for partition in range(4)}
        assert one.subscription() == {filled} and one.group_metadata().group_id == filled
        assert len(await records(one, 400)) == 400
        other.subscribe([filled], teller("other"))              # and does not wait
        await poll_until(lambda: len(one.assignment()) == len(other.assignment()) == 2, one, other)
        assert not one.assignment() & other.assignment()
        await other.close()
        await poll_until(lambda: len(one.assignment()) == 4, one)
        await one.close()
        for events in told.values():
            given = [place for event, places in events if event is ASSIGNED for place in places]
            taken = [place for event, places in events if event is not ASSIGNED for place in places]
            assert sorted(given) == sorted(taken) and events[-1][0] is REVOKED

    run_in_loop(go(), 90)


def test_offsets_are_committed_in_on_rebalance_before_partitions_go(cluster, filled):
    async def go():
        def on_rebalance(event, partitions):
            events.append(event)
            if event is ASSIGNED:
                one.in_rebalance.seek((filled, 3), 90)
            else:
                one.in_rebalance.commit_sync()

        events, one = [], member(cluster, filled)
        with pytest.raises(RuntimeError, match="in_rebalance is for on_rebalance"):
            _ = one.in_rebalance
        await one.subscribe([filled], on_rebalance, SECONDS)
        found = await records(one, 250)
        given = {record.partition: record.offset + 1 for record in found}
        assert min(record.offset for record in found if record.partition == 3) == 90
        await one.close()
        assert events == [ASSIGNED, REVOKED]
        async with member(cluster, filled) as other:
            committed = await other.committed([(filled, partition) for partition in range(4)])
            assert {place.partition: offset for place, offset in committed.items()} == {3: 90, **given}

    run_in_loop(go(), 60)


def test_what_on_rebalance_raises_is_raised_by_the_poll(cluster, filled):
    async def go():
        def on_rebalance(event, partitions):
            if event is ASSIGNED:
                raise LookupError("in on_rebalance")

        async with member(cluster, filled) as consumer:
            consumer.subscribe([filled], on_rebalance)
            with pytest.raises(LookupError, match="in on_rebalance"):
                await asyncio.wait_for(consumer.poll(), SECONDS)
            assert len(await records(consumer, 400)) == 400

    run_in_loop(go(), 60)


def test_what_it_raises_while_closing_is_raised_by_close(cluster, filled):
    async def go():
        def on_rebalance(event, partitions):
            if event is REVOKED:
                raise LookupError("in on_rebalance")

        consumer = member(cluster, filled)
        await consumer.subscribe([filled], on_rebalance, SECONDS)
        with pytest.raises(LookupError, match="in on_rebalance"):
            await asyncio.wait_for(consumer.close(), SECONDS)
        assert consumer._side.client.is_closed()

    run_in_loop(go(), 60)


def test_bad_arguments_are_refused_at_the_call(cluster, filled):
    async def coroutine(event, partitions):
        pass

    async def go():
        async with member(cluster, filled) as consumer:
            for topics, on_rebalance, error, text in (([filled], coroutine, TypeError, "plain function"),
                                                      ([filled], 5, TypeError, "callable"),
                                                      (filled, None, TypeError, "topics"), ([], None, ValueError, "empty")):
                with pytest.raises(error, match=text):
                    consumer.subscribe(topics, on_rebalance)
            assert consumer.subscription() == set()
            consumer.assign([(filled, 0)])
            with pytest.raises(KafkaException) as caught:
                consumer.subscribe([filled])
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__FAIL

    run_in_loop(go())


def test_subscribing_that_runs_out_of_time_stands(cluster, filled):
    async def go():
        async with member(cluster, filled) as consumer:
            cluster.broker_down(1)
            with pytest.raises(KafkaException) as caught:
                await consumer.subscribe([filled], timeout=0.2)
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
            cluster.broker_up(1)
            assert len(await records(consumer, 400)) == 400

    run_in_loop(go(), 60)


def test_unsubscribing_gives_partitions_up(cluster, filled):
    async def go():
        events = []
        async with member(cluster, filled) as consumer:
            await consumer.subscribe([filled], lambda event, partitions: events.append(event), SECONDS)
            await consumer.unsubscribe(SECONDS)
            assert consumer.assignment() == set() and consumer.subscription() == set() and events == [ASSIGNED, REVOKED]
            consumer.assign({(filled, 0): 0})
            assert len(await records(consumer, 100)) == 100

    run_in_loop(go(), 60)


def test_a_task_that_takes_longer_than_max_poll_interval_stays_a_member(cluster, filled):
    """While its loop runs."""
    async def go():
        events = []
        async with member(cluster, filled, "eager", CLASSIC | {"max.poll.interval.ms": 3000}) as consumer:
            await consumer.subscribe([filled], lambda event, partitions: events.append(event), SECONDS)
            async for _ in consumer:
                await asyncio.sleep(5)
                break
            await records(consumer, 399)
            assert not await consumer.poll(0.2)
            assert events == [ASSIGNED] and len(consumer.assignment()) == 4

    run_in_loop(go(), 60)
