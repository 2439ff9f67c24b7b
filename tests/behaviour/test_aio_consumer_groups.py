"""kafkapp.aio.KafkaConsumer as a member of a group: rebalances run in the loop, and a task that takes its time stays a member."""
import asyncio
import random
import threading
import time
from contextlib import suppress

import pytest
from aio_consumers import SECONDS, records
from groups import CLASSIC, PROTOCOLS, write
from helpers import properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer, RebalanceEvent
from kafkapp import KafkaConsumer as Consumer
from kafkapp.aio import KafkaConsumer

ASSIGNED, REVOKED = RebalanceEvent.Assigned, RebalanceEvent.Revoked


@pytest.fixture
def filled(cluster, topic):
    """A topic with 100 records in each of its four partitions."""
    write(cluster, topic, [b"v"] * 100)
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


def test_polls_raise_what_was_reported_while_subscribe_waited(cluster, filled):
    cluster.create_topic("denied")
    cluster.set_topic_error("denied", ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)

    async def go():
        async with member(cluster, filled) as consumer:
            await consumer.subscribe([filled, "denied"], timeout=SECONDS)
            with pytest.raises(KafkaException, match="denied") as caught:
                await poll_until(lambda: False, consumer)
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED

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


# -- between polls -----------------------------------------------------------------------------------------------------

def places(batch):
    return [(record.partition, record.offset) for record in batch]


async def join_and_leave(other, topic, found):
    """Read two partitions as another member, and leave with all of it committed."""
    async with other, asyncio.timeout(40):
        other.subscribe([topic])
        while len(other.assignment()) < 2:
            found += places(await other.poll(0.02, 1))
        found += places(await other.poll(SECONDS, 20))
        await other.commit()


@pytest.mark.parametrize(("protocol", "read"), [*((protocol, "records") for protocol in PROTOCOLS), ("eager", "poll")])
def test_other_members_join_and_leave_while_a_task_awaits(cluster, filled, protocol, read):
    """Nobody polls meanwhile; records wait, in librdkafka's queue or to be given by `async for`. None is lost, none comes twice."""
    async def go():
        events, found = [], []
        interval = {} if protocol == "KIP-848" else {"max.poll.interval.ms": 3000}
        async with member(cluster, filled, protocol, interval) as one:
            await one.subscribe([filled], lambda event, partitions: events.append((event, len(partitions))), SECONDS)
            if read == "records":
                found += places(await records(one, 50))
            else:
                found += places(await one.poll(SECONDS, 50))
            await one.commit()
            await join_and_leave(member(cluster, filled, protocol), filled, found)
            async with asyncio.timeout(40):
                while len(one.assignment()) < 4:        # and still nobody polls
                    await asyncio.sleep(0.01)
            taken = sum(count for event, count in events if event is not ASSIGNED)
            assert taken and not any(event is RebalanceEvent.Lost for event, _ in events)
            found += places(await records(one, 400 - len(found)))
            assert sorted(found) == [(partition, offset) for partition in range(4) for offset in range(100)]

    run_in_loop(go(), 120)


def test_what_on_rebalance_raises_between_polls_the_next_one_raises(cluster, filled):
    async def go():
        called = asyncio.Event()

        def on_rebalance(event, partitions):
            called.set()
            if event is ASSIGNED:
                raise LookupError("between polls")

        async with member(cluster, filled) as consumer:
            consumer.subscribe([filled], on_rebalance)
            await asyncio.wait_for(called.wait(), SECONDS)
            with pytest.raises(LookupError, match="between polls"):
                await consumer.poll(SECONDS)
            assert len(await records(consumer, 400)) == 400

    run_in_loop(go(), 60)


def test_an_exit_in_on_rebalance_ends_the_loop_at_once(cluster, filled):
    def on_rebalance(event, partitions):
        if event is ASSIGNED:
            raise SystemExit(17)

    async def go():
        async with member(cluster, filled) as consumer:
            consumer.subscribe([filled], on_rebalance)
            await asyncio.sleep(SECONDS)

    with pytest.raises(SystemExit):
        asyncio.run(go())


@pytest.mark.parametrize("protocol", ["eager", "cooperative"])
def test_cancelled_at_any_moment_in_a_group_it_loses_nothing(cluster, topic, protocol):
    """Polls, `async for`, commits and subscriptions, while another member comes and goes: each record is given once, but for
    those that were not committed when its partition went."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * 1000, partition=partition)
    chance, everything = random.Random(topic), {(partition, offset) for partition in range(4) for offset in range(1000)}

    async def go():
        found, gone = [], 0

        def on_rebalance(event, partitions):
            nonlocal gone
            if event is not ASSIGNED:
                gone += len(partitions)

        async def reads(consumer):
            if chance.random() < 0.5:
                async for record in consumer:
                    found.append((record.partition, record.offset))
                    if len(found) % 20 == 0:
                        await asyncio.sleep(0)
            while True:
                found.extend(places(await consumer.poll(None, 20)))
                if chance.random() < 0.2:
                    with suppress(KafkaException):      # the group rebalances
                        await consumer.commit()

        async def subscribes(consumer):
            await consumer.subscribe([topic], on_rebalance)

        async def visits(others):
            with suppress(KafkaException):      # its session was over before it could commit: `one` reads all of it
                await join_and_leave(member(cluster, topic, protocol), topic, others)

        async with member(cluster, topic, protocol) as one:
            one.subscribe([topic], on_rebalance)
            others, end = [], time.monotonic() + 60
            visit = asyncio.ensure_future(visits(others))
            while not visit.done() or len({*found, *others}) < 4000:
                assert time.monotonic() < end, (topic, visit, one.assignment(), sorted(everything - {*found, *others})[:20])
                if visit.done():
                    visit.result()
                task = asyncio.ensure_future(reads(one) if chance.random() < 0.8 else subscribes(one))
                await asyncio.wait((task,), timeout=chance.choice((0, 0, 0.001, 0.01)))
                task.cancel()
                await asyncio.wait((task,))
                assert task.cancelled() or not task.exception()
            visit.result()
            assert {*found, *others} == everything
            assert gone or len(found) == len({*found})

    run_in_loop(go(), 120)


def test_dropped_between_polls_it_gives_its_partitions_up(cluster, filled):
    """With records that nobody has read, in librdkafka's queue and to be given by `async for`."""
    async def go():
        one = member(cluster, filled)
        await one.subscribe([filled], timeout=SECONDS)
        assert len(await one.poll(SECONDS, 10)) and len(await records(one, 10)) == 10
        async with member(cluster, filled) as other:
            other.subscribe([filled])
            await poll_until(lambda: len(other.assignment()) == 2, other)
            assert len(await records(one, 10)) == 10
            with pytest.warns(ResourceWarning, match="never closed"):
                del one
            await poll_until(lambda: len(other.assignment()) == 4, other)

    run_in_loop(go(), 120)


# -- subscribed to others ----------------------------------------------------------------------------------------------

@pytest.fixture
def second(cluster, filled):
    """Another topic."""
    name = f"{filled}-second"
    cluster.create_topic(name, 2)
    return name


def changing_topics(filled, second):
    """Names and patterns; the last ones change nothing that is assigned, and KIP-848 has no rebalance for these."""
    return [filled], [second], [filled, second], [filled], ["^" + second], [second], ["^" + second], [second, "^" + second]


@pytest.mark.parametrize("protocol", [protocol for protocol in PROTOCOLS if protocol != "eager"])
def test_subscribing_to_others_waits_for_these(cluster, filled, second, protocol):
    async def go():
        async with member(cluster, filled, protocol) as consumer:
            for topics in changing_topics(filled, second):
                await consumer.subscribe(topics, timeout=SECONDS)
                assert {place.topic for place in consumer.assignment()} == {topic.lstrip("^") for topic in topics}
                await asyncio.wait_for(consumer.subscribe(topics), SECONDS)     # the same again: there is nothing to wait for

    run_in_loop(go(), 120)


def test_the_synchronous_one_waits_for_these_too(cluster, filled, second):
    with Consumer(properties(cluster, PROTOCOLS[list(PROTOCOLS)[-1]], group_id=filled)) as consumer:
        for topics in changing_topics(filled, second):
            consumer.subscribe(topics, timeout=SECONDS)
            assert {place.topic for place in consumer.assignment()} == {topic.lstrip("^") for topic in topics}
            consumer.subscribe(topics, timeout=SECONDS)


def test_partitions_that_are_assigned_again_and_again_are_read(cluster, filled):
    """By hand, and by a group in between: their records come in a queue of their own each time."""
    async def go():
        async with member(cluster, filled) as consumer:
            for turn in range(20):
                if turn % 10 == 5:
                    await consumer.unsubscribe(SECONDS)
                    await consumer.subscribe([filled], timeout=SECONDS)
                    assert len(await records(consumer, 400)) == 400
                    await consumer.unsubscribe(SECONDS)
                consumer.assign({(filled, partition): 0 for partition in range(4)})
                assert len(await records(consumer, 400)) == 400

    run_in_loop(go(), 120)
