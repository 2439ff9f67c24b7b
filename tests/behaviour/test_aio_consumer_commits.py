"""Commits of kafkapp.aio.KafkaConsumer: asked for, in their time, and by itself of what was given."""
import asyncio
import threading

import pytest
from aio_consumers import SECONDS, new_consumer, records
from helpers import properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer
from kafkapp import KafkaConsumer as Consumer


def write(cluster, topic, count):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * count, partition=0)


def committed_by(cluster, topic, group):
    with Consumer(properties(cluster, group_id=group)) as consumer:
        return consumer.committed([(topic, 0)]).get((topic, 0))


def test_commits_at_once_and_their_time(cluster, topic):
    write(cluster, topic, 100)

    async def go():
        async with new_consumer(cluster, topic, group_id=topic) as consumer:
            found = await records(consumer, 100)
            threads = threading.active_count()
            await asyncio.gather(*(consumer.commit(record) for record in found[:50]))
            assert threading.active_count() == threads
            assert await consumer.committed([(topic, 0)]) == {(topic, 0): 50}
            cluster.broker_down(1)
            with pytest.raises(KafkaException, match=r"commit\(\) has had no answer in time") as caught:
                await consumer.commit(timeout=0.2)
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
            with pytest.raises(KafkaException, match=r"commit\(\) has waited in vain for commits before it") as caught:
                await consumer.commit(timeout=0.1)
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
            waits = asyncio.ensure_future(consumer.commit(found[70]))
            await asyncio.sleep(0)
            waits.cancel()                                      # goes on
            last = asyncio.ensure_future(consumer.commit(found[80]))
            await asyncio.sleep(0)
            cluster.broker_up(1)
            await asyncio.wait_for(last, SECONDS)
            assert await consumer.committed([(topic, 0)]) == {(topic, 0): 81}

    run_in_loop(go(), 40)


def test_no_commit_before_it_undoes_one(cluster, topic):
    """librdkafka sends one again that the broker was not ready for: here the one that the second poll has begun."""
    write(cluster, topic, 100)

    async def go():
        async with new_consumer(cluster, topic, group_id=topic, enable_auto_commit=True) as consumer:
            await consumer.committed([(topic, 0)])      # the group's broker is known
            assert len(await consumer.poll(SECONDS, 1)) == 1
            cluster.push_request_errors("OffsetCommit", ErrorCode.RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS)
            assert await consumer.poll(SECONDS)
            end = consumer.position((topic, 0))
            assert consumer._side.client.has_commits()
            commits = [asyncio.ensure_future(consumer.commit(what)) for what in ({(topic, 0): end + 1}, None)]
            await asyncio.wait_for(asyncio.wait(commits), SECONDS)
            assert [commit.exception() for commit in commits] == [None, None]
            assert not consumer._side.client.has_commits()
            assert await consumer.committed([(topic, 0)]) == {(topic, 0): end}

    run_in_loop(go())


def test_a_commit_that_is_refused_says_why(cluster, topic):
    async def go():
        async with new_consumer(cluster, topic) as consumer:
            cluster.push_request_errors("OffsetCommit", ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
            with pytest.raises(KafkaException) as caught:
                await consumer.commit({(topic, 0): 1})
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED

    run_in_loop(go())


def test_a_commit_is_answered_before_close_returns(cluster, topic):
    write(cluster, topic, 1)

    async def go():
        consumer = new_consumer(cluster, topic)
        await records(consumer, 1)
        await consumer.commit()
        cluster.broker_down(1)
        waits = asyncio.ensure_future(consumer.commit({(topic, 0): 0}))
        later = asyncio.ensure_future(consumer.commit({(topic, 0): 1}))     # waits for that one
        await asyncio.sleep(0)
        await consumer.close(0.1)
        await asyncio.wait_for(asyncio.wait((waits, later)), SECONDS)
        for commit in waits, later:
            assert commit.exception().error.code in (ErrorCode.RD_KAFKA_RESP_ERR__DESTROY,
                                                     ErrorCode.RD_KAFKA_RESP_ERR__WAIT_COORD)

    run_in_loop(go())


def test_auto_commit_is_of_what_was_given_of_partitions_that_are_assigned_no_more(broker, topic):
    write(broker, topic, 3000)

    async def go():
        async with new_consumer(broker, topic, group_id=topic, enable_auto_commit=True) as consumer:
            async for record in consumer:
                if record.offset == 9:
                    break
            consumer.assign([(topic, 1)])
            assert not await consumer.poll(0)

    run_in_loop(go())
    assert committed_by(broker, topic, topic) == 10


@pytest.mark.parametrize("end", ["close", "raises"])
def test_auto_commit_is_of_what_was_given(broker, topic, end):
    """At the end too, but for what the last poll has given to code that has raised."""
    write(broker, topic, 3000)

    async def go():
        async with new_consumer(broker, topic, group_id=topic, enable_auto_commit=True) as consumer:
            take = consumer._side.take_records

            def noted():
                batch = take()
                begins.extend([record.offset for record in batch[:1]])
                return batch

            consumer._side.take_records = noted     # more than once where brokers give few records at a time
            batch = await consumer.poll(SECONDS, 100)
            ends.append(batch[-1].offset + 1)
            async for record in consumer:
                ends.append(record.offset + 1)
                if len(ends) == 12:
                    break
            if end == "raises":
                raise LookupError

    begins, ends = [], []
    try:
        run_in_loop(go())
    except LookupError:
        assert end == "raises"
    assert committed_by(broker, topic, topic) == (ends[-1] if end == "close" else begins[-1])
