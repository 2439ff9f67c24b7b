"""What `async for` of kafkapp.aio.KafkaConsumer has taken and not given yet: it is given, unless what has come takes it away."""
import asyncio

import pytest
from aio_consumers import SECONDS, new_consumer, records
from groups import PROTOCOLS, write
from helpers import run_in_loop

from kafkapp import ErrorCode, KafkaException, RebalanceEvent


@pytest.fixture
def filled(cluster, topic):
    """A topic with 500 records in each of its four partitions."""
    write(cluster, topic, [b"v"] * 500)
    return topic


def reads_again(consumer):
    return consumer._side.client.has_to_read_again()


async def begun(consumer):
    """Records by `async for`, to the first of a poll that has taken more than 1000 others, of several partitions."""
    found = []
    await asyncio.sleep(1)      # librdkafka has them all then
    async with asyncio.timeout(SECONDS):
        async for record in consumer:
            found.append((record.partition, record.offset))
            if consumer._side.cursor.left() > 1000:
                return found
            if len(found) == 2000:      # it had not: each poll has taken few
                found.clear()
                await consumer.seek_to_beginning()
                await asyncio.sleep(1)


async def the_rest(consumer, found, partitions):
    """All records of these partitions, each once."""
    wanted = [(partition, offset) for partition in partitions for offset in range(500)]
    missing = len(set(wanted).difference(found))
    if missing:
        found += [(record.partition, record.offset) for record in await records(consumer, missing)]
    assert sorted(place for place in found if place[0] in partitions) == wanted


def member(cluster, topic, **callbacks):
    return new_consumer(cluster, None, (), {
        "group.id": topic, "auto.offset.reset": "earliest", "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 200,
        "log_level": 0, "statistics.interval.ms": 50, **callbacks, **PROTOCOLS["cooperative"]})


def test_errors_and_statistics_leave_it(cluster, filled):
    """The error is raised when all of it is given."""
    statistics = []

    async def go():
        async with member(cluster, filled, stats_cb=statistics.append) as consumer:
            cluster.create_topic("denied")
            await consumer.subscribe([filled, "denied"], timeout=SECONDS)
            found = await begun(consumer)
            client, taken = consumer._side.client, consumer._side.cursor.left()
            before = client.rebalances()
            cluster.set_topic_error("denied", ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            async with asyncio.timeout(SECONDS):
                while client.rebalances() == before or len(statistics) < 4:     # one that takes nothing of `filled`
                    await asyncio.sleep(0.01)
            assert consumer._side.cursor.left() == taken and not reads_again(consumer)
            found += [(record.partition, record.offset) for record in await records(consumer, taken)]
            with pytest.raises(KafkaException, match="denied"):
                await records(consumer, 1)
            await the_rest(consumer, found, range(4))

    run_in_loop(go(), 60)


def test_a_rebalance_leaves_what_is_not_taken_away(cluster, filled):
    """And what it takes away comes no more; positions in on_rebalance are those of what was given."""
    async def go():
        positions = {}

        def on_rebalance(event, places):
            if event is not RebalanceEvent.Assigned:
                positions.update({place: one.in_rebalance.position(place) for place in one.assignment()})

        async with member(cluster, filled) as one, member(cluster, filled) as other:
            await one.subscribe([filled], on_rebalance, SECONDS)
            found = await begun(one)
            assert not reads_again(one)
            other.subscribe([filled])
            async with asyncio.timeout(40):
                while len(other.assignment()) < 2 or len(one.assignment()) != 2:
                    await other.poll(0.02, 1)
            assert not reads_again(one)
            kept = {place.partition for place in one.assignment()}
            given = {partition: max((offset + 1 for at, offset in found if at == partition), default=None)
                     for partition in range(4)}
            assert {place.partition: position or None for place, position in positions.items()} == given
            await the_rest(one, found, kept)
            assert {(partition, offset) for partition, offset in found if partition not in kept} == {
                (partition, offset) for partition in range(4) if partition not in kept
                for offset in range(given[partition] or 0)}

    run_in_loop(go(), 90)


@pytest.mark.parametrize("way", ["in_rebalance", "itself"])
def test_what_on_rebalance_pauses_is_read_again_when_it_goes_on(cluster, filled, way):
    async def go():
        def on_rebalance(event, places):
            if event is RebalanceEvent.Revoked and not one.closed:
                (one.in_rebalance if way == "in_rebalance" else one).pause(one.assignment().difference(places))

        async with member(cluster, filled) as one, member(cluster, filled) as other:
            await one.subscribe([filled], on_rebalance, SECONDS)
            found = await begun(one)
            other.subscribe([filled])
            async with asyncio.timeout(40):
                while len(other.assignment()) < 2 or len(one.assignment()) != 2:
                    await other.poll(0.02, 1)
            assert one._side.cursor.left() == 0 and reads_again(one)
            assert not await one.poll(0.2)
            one.resume()
            await the_rest(one, found, {place.partition for place in one.assignment()})

    run_in_loop(go(), 90)


@pytest.mark.parametrize("change", ["seek", "pause", "seek_to_end"])
def test_what_changes_for_one_partition_leaves_the_others(cluster, filled, change):
    async def go():
        async with new_consumer(cluster, filled) as consumer:
            found = await begun(consumer)
            place = (filled, found[-1][0])
            if change == "pause":
                consumer.pause([place])
            elif change == "seek":
                await consumer.seek(place, 490)
            else:
                await consumer.seek_to_end([place])
            others = set(range(4)).difference(place[1:])
            left = consumer._side.cursor.left()
            assert left >= 500
            assert reads_again(consumer) == (change == "pause")
            rest = 10 if change == "seek" else 0
            missing = 1500 - len([one for one in found if one[0] in others])
            found += [(record.partition, record.offset) for record in await records(consumer, missing + rest)]
            assert sorted(one for one in found if one[0] in others) == [
                (partition, offset) for partition in sorted(others) for offset in range(500)]
            assert not await consumer.poll(0.2)
            if change == "pause":
                consumer.resume()
                await the_rest(consumer, found, range(4))

    run_in_loop(go(), 60)


def test_what_two_partitions_in_turn_have_left_is_given_in_order(cluster, filled):
    """Each change leaves less of it, to the last."""
    async def go():
        async with new_consumer(cluster, filled) as consumer:
            found = await begun(consumer)
            for partition in range(3):
                await consumer.seek_to_end([(filled, partition)])
                record = await asyncio.wait_for(anext(aiter(consumer)), SECONDS)
                found.append((record.partition, record.offset))
                assert record.partition > partition
            await the_rest(consumer, found, {3})
            assert consumer.position((filled, 3)) == 500

    run_in_loop(go(), 60)
