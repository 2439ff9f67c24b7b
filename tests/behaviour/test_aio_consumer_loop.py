"""kafkapp.aio.KafkaConsumer and its loop: bound to it, fair in it, closed in it, dropped in it, outliving it; forks."""
import asyncio
import gc
import os
import signal
import threading

import pytest
from aio_consumers import SECONDS, new_consumer, records, until_waiting
from helpers import NOWHERE, properties, refusal, run_in_loop, said_in_child, wait_for

from kafkapp import KafkaException, KafkaSyncProducer
from kafkapp.aio import KafkaConsumer, loop_bound, threads

QUIET = {"log_level": 0, "error_cb": lambda error: None}


@pytest.fixture
def filled(broker, topic):
    """A topic with 5000 records in its first partition."""
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"v"] * 5000, partition=0)
    return topic


def eventfds():
    """The descriptors of this process that are such."""
    return {name for name in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{name}").endswith("[eventfd]")}


# -- in its loop -------------------------------------------------------------------------------------------------------

def test_no_thread_is_ours_while_it_reads(broker, filled):
    async def go():
        before = threading.active_count()
        async with new_consumer(broker, filled) as consumer:
            assert len(await records(consumer, 5000)) == 5000
            waits = asyncio.ensure_future(consumer.poll_batch())
            await until_waiting(consumer)
            assert threading.active_count() == before
            consumer.wakeup()
            await waits

    run_in_loop(go())


@pytest.mark.parametrize("read", ["records", "batches"])
def test_with_a_full_queue_other_tasks_have_their_turn(broker, filled, read):
    async def go():
        ticks, done = 0, asyncio.Event()

        async def tick():
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0)

        async with new_consumer(broker, filled) as consumer:
            await records(consumer, 1)
            ticker = asyncio.ensure_future(tick())
            seen = []
            for _ in range(4):          # nothing else in these loops awaits
                await consumer.seek((filled, 0), 0)
                before = ticks
                if read == "records":
                    await consumer.poll_batch(SECONDS, max_records=1)
                    async for record in consumer:
                        if record.offset == 4999:
                            break
                else:
                    async for batch in consumer.batches(max_records=5):
                        if batch[-1].offset == 4999:
                            break
                seen.append(ticks - before)
            done.set()
            await ticker
            assert min(seen) > 0, seen

    run_in_loop(go())


def test_the_same_in_uvloop(broker, filled):
    uvloop = pytest.importorskip("uvloop")

    async def go():
        async with new_consumer(broker, filled) as consumer:
            assert [record.offset for record in await records(consumer, 5000)] == list(range(5000))
            assert "uvloop" in repr(asyncio.get_running_loop())
            await consumer.commit()
            assert await consumer.committed([(filled, 0)]) == {(filled, 0): 5000}
            assert not await consumer.poll_batch(0.01)

    uvloop.run(go())


def test_other_loops_and_other_threads_are_refused(broker, filled):
    kept = []

    async def first():
        kept.append(new_consumer(broker, filled))
        assert await kept[0].poll(SECONDS)
        with pytest.raises(RuntimeError, match="no event loop"):
            await asyncio.to_thread(kept[0].pause)

        def elsewhere():
            with pytest.raises(RuntimeError, match="another loop"):
                asyncio.run(kept[0].poll(0))

        await asyncio.to_thread(elsewhere)

    async def second():
        for call in kept[0].poll, kept[0].poll_batch, kept[0].commit, kept[0].close, aiter(kept[0]).__anext__:
            with pytest.raises(RuntimeError, match="another loop"):
                while True:         # a record that has been taken may be given
                    await call()

    run_in_loop(first())
    run_in_loop(second())
    with pytest.warns(ResourceWarning, match="never closed"):
        kept.clear()
        gc.collect()        # tracebacks hold it


def test_several_consumers_in_one_loop(broker, filled):
    async def go():
        async with new_consumer(broker, filled) as one, new_consumer(broker, filled) as other:
            both = await asyncio.gather(records(one, 5000), records(other, 5000))
            assert [len(found) for found in both] == [5000, 5000]

    run_in_loop(go())


# -- construction ------------------------------------------------------------------------------------------------------

def test_made_outside_it_belongs_to_the_loop_that_uses_it_first(broker, filled):
    consumer = KafkaConsumer(properties(broker))

    async def go():
        consumer.assign({(filled, 0): 0})
        assert len(await records(consumer, 5000)) == 5000
        await consumer.close()

    run_in_loop(go())


def test_init_twice_is_refused_and_changes_nothing(broker, filled):
    async def go():
        async with new_consumer(broker, filled) as consumer:
            with pytest.raises(RuntimeError, match="was called already"):
                consumer.__init__(properties(broker))
            assert len(await records(consumer, 10)) == 10

    run_in_loop(go())


def test_without_init_every_call_says_so():
    class WithoutInit(KafkaConsumer):
        def __init__(self):
            pass

    async def go():
        consumer = WithoutInit()
        for call in (consumer.poll, consumer.poll_batch, consumer.assignment, consumer.pause, consumer.commit,
                     consumer.close, consumer.wakeup, lambda: consumer.name, lambda: aiter(consumer)):
            with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
                outcome = call()
                if asyncio.iscoroutine(outcome):
                    await outcome
        assert "without" in repr(consumer)

    run_in_loop(go())


def test_a_loop_that_cannot_watch_descriptors_is_refused():
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *args):
            raise NotImplementedError

    async def go(consumer):
        before = eventfds()
        for _ in range(3):
            with pytest.raises(RuntimeError, match=r"KafkaConsumer needs an event loop with add_reader\(\)"):
                await consumer.poll()
        assert eventfds() == before

    consumer = KafkaConsumer(properties(NOWHERE, QUIET))
    loop = Loop()
    loop.run_until_complete(go(consumer))
    loop.close()
    with pytest.warns(ResourceWarning, match="never closed"):
        del consumer


def test_without_threads(broker, filled, monkeypatch):
    def refuse(function):
        raise RuntimeError("can't start new thread")

    async def go():
        consumer = new_consumer(broker, filled)
        monkeypatch.setattr(threads, "start_thread", refuse)
        assert len(await records(consumer, 100)) == 100
        with pytest.raises(KafkaException, match="no thread"):
            await consumer.end_offsets([(filled, 0)])
        await asyncio.wait_for(consumer.close(), SECONDS)
        assert consumer.closed and "closed" in repr(consumer)

    run_in_loop(go())


def test_a_poll_looks_again_when_a_call_that_was_cancelled_has_ended(broker, topic):
    """A poll finds nothing while another thread seeks, which goes on when its task is cancelled; nothing is signalled again."""
    async def go():
        ended = threading.Event()
        async with new_consumer(broker, topic) as consumer:
            call = asyncio.ensure_future(consumer._side.call(asyncio.get_running_loop(), ended.wait, SECONDS))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))
            poll = asyncio.ensure_future(consumer.poll())
            await until_waiting(consumer)
            waits, = consumer._side.waiting
            ended.set()
            await asyncio.wait_for(waits, SECONDS)
            poll.cancel()

    run_in_loop(go())


def test_what_a_rebalance_has_a_poll_discard_is_read_again_at_once(broker, filled):
    """It comes while a poll takes records, which finds nothing then; librdkafka has no signal for these a second time."""
    async def go():
        async with new_consumer(broker, filled) as consumer:
            side, given = consumer._side, []

            def take():
                batch = side.consumer.poll(0, 5000)
                if batch and not given:
                    given.append(side.cursor.begin(batch))
                    side.cursor.give_back()
                    return side.client.empty_batch()
                return batch

            batch = await asyncio.wait_for(side.poll(side.bind(consumer), take, None), SECONDS)
            assert (given[0].offset, batch[0].offset) == (0, 1)

    run_in_loop(go())


def test_a_record_that_comes_before_the_descriptor_is_read_wakes_again(broker, topic):
    """The poll that was woken has found none; what has come since is signalled by what is read then."""
    async def go():
        takes = []

        def take():
            takes.append(len(takes))
            return side.client.empty_batch() if len(takes) == 2 else side.consumer.poll(0)

        async with new_consumer(broker, topic) as consumer:
            side = consumer._side
            poll = asyncio.ensure_future(side.poll(asyncio.get_running_loop(), take, None))
            await until_waiting(consumer)
            with KafkaSyncProducer(properties(broker)) as producer:
                producer.send(topic, "v", partition=0)
            assert len(await asyncio.wait_for(poll, SECONDS)) == 1 and len(takes) >= 3

    run_in_loop(go(), 60)


def test_a_seek_that_waits_for_brokers_does_not_hold_its_loop_up(cluster, topic):
    """What the loop calls meanwhile has its turn, and polls wait for the end of the seek."""
    async def go():
        cluster.broker_down(1)
        async with KafkaConsumer(properties(cluster, QUIET)) as consumer:
            consumer.assign([(topic, 0)])
            for timeout in SECONDS, None:
                seeking = asyncio.ensure_future(consumer.seek((topic, 0), 5, timeout))
                assert not await consumer.poll(0.1)
                consumer.pause()
                consumer.resume()
                consumer.assign([(topic, 0)])
                assert not seeking.done()
                seeking.cancel()
                await asyncio.wait((seeking,))
                assert seeking.cancelled()
            with pytest.raises(KafkaException):
                await consumer.seek((topic, 0), 5, 0.2)

    run_in_loop(go(), 60)


# -- its end -----------------------------------------------------------------------------------------------------------

def test_closing_ends_a_poll_that_waits_and_all_that_comes_later(broker, topic):
    async def go():
        consumer = new_consumer(broker, topic)
        waits = asyncio.ensure_future(consumer.poll_batch())
        await until_waiting(consumer)
        assert await asyncio.gather(*(consumer.close() for _ in range(2))) == [None, None]
        with pytest.raises(RuntimeError, match="the consumer is closed"):
            await waits
        for call in consumer.poll, consumer.poll_batch, consumer.commit, consumer.pause, consumer.wakeup:
            with pytest.raises(RuntimeError, match="the consumer is closed"):
                outcome = call()
                if asyncio.iscoroutine(outcome):
                    await outcome
        await consumer.close()
        assert consumer.closed

    run_in_loop(go())


def test_records_outlive_it(broker, filled):
    async def go():
        async with new_consumer(broker, filled) as consumer:
            return await records(consumer, 100)

    assert [bytes(record.value) for record in run_in_loop(go())] == [b"v"] * 100


def test_a_close_that_is_cancelled_goes_on(broker, filled):
    async def go():
        consumer = new_consumer(broker, filled)
        await records(consumer, 1)
        closing = asyncio.ensure_future(consumer.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait((closing,))
        assert closing.cancelled() and consumer.closed
        await asyncio.wait_for(consumer.close(), SECONDS)
        assert consumer._side.client.is_closed()

    run_in_loop(go())


def test_descriptors_are_released(broker, filled):
    async def go():
        async with new_consumer(broker, filled) as consumer:
            await records(consumer, 10)

    run_in_loop(go())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run_in_loop(go())
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)


def test_a_consumer_dropped_in_its_loop_warns_and_is_closed(broker, filled):
    async def go():
        async def drop():
            consumer = new_consumer(broker, filled)
            await records(consumer, 10)
            return consumer._side.client

        before = eventfds()
        with pytest.warns(ResourceWarning, match="never closed"):
            client = await drop()
        async with asyncio.timeout(SECONDS):
            while not client.is_closed() or eventfds() - before:
                await asyncio.sleep(0.01)

    run_in_loop(go())


def test_an_iterator_keeps_its_consumer(broker, filled):
    async def go():
        consumer = new_consumer(broker, filled)
        iterator = aiter(consumer)
        batches = consumer.batches()
        close = consumer.close
        del consumer
        gc.collect()
        assert (await asyncio.wait_for(anext(iterator), SECONDS)).offset == 0
        assert (await asyncio.wait_for(anext(batches), SECONDS))[0].offset == 1
        await close()

    run_in_loop(go())


def test_a_consumer_that_outlives_its_loop_warns(broker, filled):
    async def go():
        consumer = new_consumer(broker, filled)
        await records(consumer, 10)
        return consumer

    before = eventfds()
    consumer = asyncio.run(go())
    with pytest.warns(ResourceWarning, match="never closed"):
        del consumer
    assert eventfds() <= before


def test_a_consumer_that_is_dropped_does_not_hold_up_its_loop(broker, filled, monkeypatch):
    ended = threading.Event()

    async def go():
        consumer = new_consumer(broker, filled)
        monkeypatch.setattr(loop_bound, "start_thread", lambda function: threading.Thread(
            target=lambda: (ended.wait(SECONDS), function())).start())
        client = consumer._side.client
        with pytest.warns(ResourceWarning):
            del consumer                    # returns though its end is held up
        assert not client.is_closed()
        ended.set()
        async with asyncio.timeout(SECONDS):
            while not client.is_closed():
                await asyncio.sleep(0.01)

    run_in_loop(go())


def test_a_child_is_told_that_it_has_none(broker, filled):
    async def go():
        async with new_consumer(broker, filled) as consumer:
            assert len(await records(consumer, 10)) == 10
            said = said_in_child(lambda: refusal(consumer.poll(0).send, None))
            assert said == "this consumer was created in another process: create one after the fork"
            assert len(await records(consumer, 4990)) == 4990

    run_in_loop(go())


def test_ctrl_c_ends_a_loop_that_waits(broker, topic):
    async def go():
        async with new_consumer(broker, topic) as consumer:
            waits = asyncio.ensure_future(consumer.poll_batch())
            await until_waiting(consumer)
            os.kill(os.getpid(), signal.SIGINT)
            await waits

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(go())


def test_a_signal_ends_a_loop_by_wakeup(broker, filled):
    async def go():
        loop = asyncio.get_running_loop()
        async with new_consumer(broker, filled) as consumer:
            loop.add_signal_handler(signal.SIGTERM, consumer.wakeup)
            try:
                count = 0
                async for _ in consumer:
                    count += 1
                    if count == 5000:
                        os.kill(os.getpid(), signal.SIGTERM)
                return count
            finally:
                loop.remove_signal_handler(signal.SIGTERM)

    assert run_in_loop(go()) == 5000
