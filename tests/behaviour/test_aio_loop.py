"""kafkapp.aio and its loop: bound to it, closed in it, dropped in it, and outliving it."""
import asyncio
import os
import sys
import threading
import time
import weakref

import pytest
from helpers import NOWHERE, properties, run_in_loop, wait_for

from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer

QUIET = {"log_level": 0, "error_cb": lambda error: None}


def test_flush_and_close_that_run_out_of_time():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(10)]
        with pytest.raises(KafkaException, match=r"flush\(\) timed out: 10 records are still outstanding") as caught:
            await producer.flush(0.2)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
        begun = time.monotonic()
        await producer.close(0.2)
        assert time.monotonic() - begun < 3
        codes = {future.exception().error.code for future in futures}
        assert codes == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
        await producer.close()
        with pytest.raises(RuntimeError):
            producer.send(ProducerRecord("t"))

    run_in_loop(go())


def test_the_loop_goes_on_and_no_thread_is_ours(cluster, topic):
    async def go():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        threads = threading.active_count()
        ticker = asyncio.ensure_future(tick())
        cluster.set_rtt(1, 0.2)
        producer = KafkaProducer(properties(cluster, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, None, b"v"))
        assert threading.active_count() == threads
        ticker.cancel()
        assert ticks > 20
        await producer.close()

    run_in_loop(go())


def test_a_call_from_another_thread_is_refused(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            def elsewhere():
                with pytest.raises(RuntimeError, match="another loop"):
                    asyncio.run(producer.flush())
                return True

            assert await asyncio.get_running_loop().run_in_executor(None, elsewhere)

    run_in_loop(go())


def test_descriptors_are_released(cluster):
    def count():
        return len(os.listdir("/proc/self/fd"))

    async def go():
        async with KafkaProducer(properties(cluster)):
            pass

    run_in_loop(go())
    before = count()
    for _ in range(5):
        run_in_loop(go())
    wait_for(lambda: count() <= before + 2)


def test_a_producer_that_outlives_its_loop_warns_and_loses_no_report(monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET, message_timeout_ms=300, queue_buffering_max_messages=1))
        futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(2)]
        for future in futures:
            future.add_done_callback(lambda future: pytest.fail("its loop is closed"))
        return producer, futures

    producer, futures = asyncio.run(go())
    with pytest.warns(ResourceWarning, match="never closed"):
        del producer
    assert [future.exception().error.code for future in futures] == [
        ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]
    assert unraisable == []


def test_a_producer_dropped_in_its_loop_warns_reports_and_releases_its_descriptors(broker, topic):
    async def go():
        async def drop():
            producer = KafkaProducer(properties(broker, linger_ms=0))
            await producer.send(ProducerRecord(topic, 0, None, b"v"))
            return producer.send(ProducerRecord(topic, 0, None, b"w"))

        before = set(os.listdir("/proc/self/fd"))
        with pytest.warns(ResourceWarning, match="never closed"):
            future = await drop()
        assert (await future).offset == 1
        await asyncio.sleep(0)
        events = [fd for fd in set(os.listdir("/proc/self/fd")) - before
                  if os.path.realpath(f"/proc/self/fd/{fd}").endswith("[eventfd]")]
        assert events == []

    run_in_loop(go())


def test_a_producer_whose_last_reference_goes_in_a_callback(monkeypatch):
    """The loop keeps it alive while it dispatches: its __del__ must not run within."""
    unraisable, contexts, held, alive = [], [], [], []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def go():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        gone = loop.create_future()

        def drop(error):
            if held:
                reference = weakref.ref(held.pop(), lambda reference: loop.call_soon_threadsafe(gone.set_result, None))
                kept.append(reference)
                alive.append(reference() is not None)

        kept = []
        held.append(KafkaProducer(properties(NOWHERE, {"log_level": 0, "error_cb": drop}, message_timeout_ms=300)))
        future = held[0].send(ProducerRecord("t", 0, None, b"v"))
        with pytest.warns(ResourceWarning, match="never closed"):
            await asyncio.wait_for(gone, 20)
        with pytest.raises(KafkaException):
            await asyncio.wait_for(future, 20)

    run_in_loop(go())
    assert (alive, unraisable, contexts) == ([True], [], [])


def test_a_callback_that_raises_holds_up_no_future(broker, topic):
    """Its exception is for the loop's handler; the futures of the same dispatch are done all the same."""
    contexts = []

    def fail(*report):
        raise LookupError("in a callback")

    async def go():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context["exception"]))
        producer = KafkaProducer(properties(broker, linger_ms=50))
        future = producer.send(ProducerRecord(topic, 0, None, b"v"))
        producer._producer.send(ProducerRecord(topic, 0, None, b"v"), fail)     # in place of logs and errors
        assert (await asyncio.wait_for(future, 20)).offset == 0
        await producer.close()

    run_in_loop(go())
    assert [type(exception) for exception in contexts] == [LookupError]


def test_reports_from_before_the_loop_are_dispatched(broker, topic):
    """librdkafka writes to the descriptor for the first thing in an empty queue, so not once something is in there."""
    producer = KafkaProducer(properties(broker, linger_ms=0))
    producer._producer.send(ProducerRecord(topic, 0, None, b"v"))       # in place of logs and errors
    wait_for(producer._loop_side.client.has_events)

    async def go():
        assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 1
        await producer.close()

    run_in_loop(go(), 5)


def test_other_loops_and_other_threads_are_refused(broker, topic):
    record = ProducerRecord(topic, 0, None, b"v")
    kept = []

    async def first():
        kept.append(KafkaProducer(properties(broker)))
        await kept[0].send(record)
        with pytest.raises(RuntimeError, match="no event loop"):
            await asyncio.to_thread(kept[0].send, record)

    async def second():
        for call in kept[0].send, kept[0].flush, kept[0].close, kept[0].fetch_broker_metadata:
            with pytest.raises(RuntimeError, match="another loop"):
                await call(*([record] if call == kept[0].send else ["t"] if call == kept[0].fetch_broker_metadata else []))
        with pytest.raises(RuntimeError, match="another loop"):
            kept[0].send_batch(topic, [b"v"])

    run_in_loop(first())
    run_in_loop(second())
    assert len(kept[0]) == 0
    with pytest.warns(ResourceWarning, match="never closed"):
        kept.clear()


def test_closing_twice_and_sending_meanwhile(cluster, topic):
    async def go():
        producer = KafkaProducer(properties(cluster, linger_ms=60000))
        future = producer.send(ProducerRecord(topic, 0, None, b"v"))
        closing = [asyncio.ensure_future(producer.close()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="closed"):
            producer.send(ProducerRecord(topic, 0, None, b"v"))
        assert await asyncio.gather(*closing) == [None, None]
        assert future.result().offset == 0
        assert producer.client_id in repr(producer) or producer.name in repr(producer)

    run_in_loop(go())


def test_a_cancelled_close_leaves_the_producer_open(cluster, topic):
    async def go():
        producer = KafkaProducer(properties(cluster, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, None, b"v"))
        cluster.broker_down(1)
        future = producer.send(ProducerRecord(topic, 0, None, b"v"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(producer.close(), 0.2)
        later = producer.send(ProducerRecord(topic, 0, None, b"w"))
        cluster.broker_up(1)
        await producer.close()
        assert [future.result().offset, later.result().offset] == [1, 2]

    run_in_loop(go())


def test_the_same_in_uvloop(broker, topic):
    uvloop = pytest.importorskip("uvloop")

    async def go():
        async with KafkaProducer(properties(broker, queue_buffering_max_messages=100)) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"v")) for _ in range(1000)]
            outcomes = await asyncio.wait_for(asyncio.gather(*futures), 20)
            assert [outcome.offset for outcome in outcomes] == list(range(1000))
            assert "uvloop" in repr(asyncio.get_running_loop())
            producer.send(ProducerRecord(topic, 0, None, b"v"))
            await producer.flush(10)
            assert len(producer) == 0

    uvloop.run(go())
