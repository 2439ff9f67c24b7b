"""The asyncio front: futures that are resolved in the loop, exactly once, with no thread and no polling."""
import asyncio
import contextvars
import gc
import os
import sys
import threading
import time

import pytest
from conftest import wait_for
from support import NOWHERE, consume, properties, run_python

from kafkapp import ErrorCode, Header, KafkaException, ProducerRecord, RecordMetadata, SendOption, Value
from kafkapp.aio import KafkaProducer, SendFuture

QUIET = {"log_level": 0, "error_cb": lambda error: None}


def run(coroutine, seconds=20):
    async def bounded():
        return await asyncio.wait_for(coroutine, seconds)

    return asyncio.run(bounded(), debug=True)       # which tells of calls from a wrong thread


def test_awaiting_a_send_gives_the_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            metadata = await producer.send(ProducerRecord(topic, 1, b"key", b"value", "id"))
            assert isinstance(metadata, RecordMetadata)
            assert (metadata.partition, metadata.offset, metadata.record_id) == (1, 0, "id")
            assert len(producer) == 0

    run(go())
    assert [(message.key(), message.value()) for message in consume(cluster, topic, 1)] == [(b"key", b"value")]


def test_sends_are_in_order_and_each_has_its_own_outcome(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            record = ProducerRecord(topic, 0)
            futures = []
            for number in range(2000):
                record.value, record.id = b"%d" % number, number    # the same record, changed at once
                futures.append(producer.send(record))
            outcomes = await asyncio.gather(*futures)
            assert [outcome.record_id for outcome in outcomes] == list(range(2000))
            assert [outcome.offset for outcome in outcomes] == list(range(2000))

    run(go())
    assert [message.value() for message in consume(cluster, topic, 2000)] == [b"%d" % n for n in range(2000)]


def test_a_failure_is_raised_by_the_await(cluster, topic):
    async def go():
        cluster.push_request_errors("Produce", ErrorCode.RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS)
        async with KafkaProducer(properties(cluster, linger_ms=0)) as producer:
            with pytest.raises(KafkaException) as caught:
                await producer.send(ProducerRecord(topic, 0, None, b"v"))
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS
            with pytest.raises(KafkaException) as caught:
                await producer.send(ProducerRecord(topic, 0, None, b"v" * 2_000_000))
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            with pytest.raises(TypeError):
                producer.send("no record")
            assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 0

    run(go())


def test_a_full_queue_makes_records_wait_in_order(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=5, linger_ms=0)) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"%d" % number, number)) for number in range(100)]
            assert len(producer) == 100
            outcomes = await asyncio.gather(*futures)
            assert [outcome.offset for outcome in outcomes] == list(range(100))

    run(go())
    assert [message.value() for message in consume(cluster, topic, 100)] == [b"%d" % n for n in range(100)]


def test_flush_ends_lingering_and_waits_for_what_was_sent_before(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, linger_ms=60000)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            begun = time.monotonic()
            await producer.flush(10)
            assert time.monotonic() - begun < 3
            assert future.done() and len(producer) == 0

    run(go())


def test_flush_and_close_that_run_out_of_time():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(10)]
        with pytest.raises(KafkaException) as caught:
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

    run(go())


def test_a_cancelled_send_is_sent_all_the_same(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert (await producer.send(ProducerRecord(topic, 0, None, b"w"))).offset == 1

    run(go())


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

    run(go())


def test_batches_and_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            batch = await producer.send_batch(topic, [b"a", b"b", None], partition=0)
            assert batch.done and list(batch.offsets) == [0, 1, 2]
            assert (await producer.send_batch(topic, [])).done
            metadata = await producer.fetch_broker_metadata(topic)
            assert metadata.topic == topic and 0 in metadata.partitions
            assert producer.get_property("linger.ms") == "5" and producer.client_id and producer.name

    run(go())


def test_another_thread_is_told(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            def elsewhere():
                with pytest.raises(RuntimeError, match="another loop"):
                    asyncio.run(producer.flush())
                return True

            assert await asyncio.get_running_loop().run_in_executor(None, elsewhere)

    run(go())


def test_descriptors_are_given_back(cluster):
    def count():
        return len(os.listdir("/proc/self/fd"))

    async def go():
        async with KafkaProducer(properties(cluster)):
            pass

    run(go())
    before = count()
    for _ in range(5):
        run(go())
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


def test_a_producer_dropped_in_its_loop_warns_reports_and_gives_its_descriptors_back(broker, topic):
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

    run(go())


def test_what_came_before_the_loop_is_served(broker, topic):
    """librdkafka writes to the descriptor for the first thing in an empty queue, so not once something is in there."""
    producer = KafkaProducer(properties(broker, linger_ms=0))
    producer._producer.send(ProducerRecord(topic, 0, None, b"v"))       # stands for logs and errors
    wait_for(producer._producer._pending)

    async def go():
        assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 1
        await producer.close()

    run(go(), 5)


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

    run(first())
    run(second())
    assert len(kept[0]) == 0
    with pytest.warns(ResourceWarning, match="never closed"):
        kept.clear()


@pytest.fixture
def narrow(cluster):
    return properties(cluster, queue_buffering_max_messages=1, linger_ms=0)


def test_what_waits_is_sent_as_it_was_and_also_when_cancelled(cluster, topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            first = producer.send(ProducerRecord(topic, 0, None, b"first"))
            key, value, header = bytearray(b"key"), bytearray(b"value"), bytearray(b"header")
            record = ProducerRecord(topic, 0, Value(key), value, "id", headers=[("a", header), Header("b", None)],
                                    timestamp=1_600_000_000_000)
            copied = producer.send(record, SendOption.ToCopyRecordValue)
            held = producer.send(record)
            record.key = record.value = record.headers = record.id = None
            key[:], header[:] = b"XXX", b"YYYYYY"
            with pytest.raises(BufferError):
                value.append(0)                 # held where it is
            value[:] = b"VALUE"
            cancelled = producer.send(ProducerRecord(topic, 0, None, b"cancelled"))
            cancelled.cancel("why")
            null = producer.send(ProducerRecord(topic, 0, Value(None), Value(None)))
            outcomes = await asyncio.gather(first, copied, held, cancelled, null, return_exceptions=True)
            assert [getattr(outcome, "offset", None) for outcome in outcomes] == [0, 1, 2, None, 4]
            assert [outcomes[1].record_id, outcomes[4].record_id] == ["id", None]
            assert isinstance(outcomes[3], asyncio.CancelledError)
            value.append(0)

    run(go())
    messages = consume(cluster, topic, 5)
    assert [message.value() for message in messages] == [b"first", b"value", b"VALUE", b"cancelled", None]
    assert [message.key() for message in messages] == [None, b"key", b"key", None, None]
    assert messages[1].headers() == messages[2].headers() == [("a", b"header"), ("b", None)]
    assert messages[1].timestamp()[1] == 1_600_000_000_000


def test_what_cannot_be_sent_does_not_hold_up_what_waits(cluster, topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            good = ProducerRecord(topic, 0, None, b"v")
            futures = [producer.send(good), producer.send(good)]
            with pytest.raises(TypeError):
                producer.send("no record")
            with pytest.raises(TypeError):
                producer.send(good, "no option")
            large = producer.send(ProducerRecord(topic, 0, None, b"v" * 2_000_000))
            nameless = producer.send(ProducerRecord("", 0, None, b"v"))
            bad = ProducerRecord(topic, 0, None, b"v", headers=[("a", b"b")])
            bad.headers.append("no header")
            with pytest.raises(TypeError):
                producer.send(bad)
            futures.append(producer.send(good))
            assert [outcome.offset for outcome in await asyncio.gather(*futures)] == [0, 1, 2]
            assert large.exception().error.code == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            assert nameless.exception().error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG

    run(go())


def test_flush_waits_for_what_waits_and_not_for_what_comes_later(cluster, topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"v")) for _ in range(20)]
            stop = False

            async def more():
                while not stop:
                    producer.send(ProducerRecord(topic, 0, None, b"more"))
                    await asyncio.sleep(0)

            sender = asyncio.ensure_future(more())
            await asyncio.wait_for(producer.flush(10), 10)
            assert all(future.done() for future in futures)
            assert len(producer) > 0
            stop = True
            await sender

    run(go())


def test_purge_gives_up_what_waits_too():
    async def go():
        async with KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2)) as producer:
            futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(5)]
            producer.purge()
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
            assert {outcome.error.code for outcome in outcomes} == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
            assert len(producer) == 0

    run(go())


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

    run(go())


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

    run(go())


def test_only_errors_does_not_keep_successes_from_those_who_await_them(broker, topic):
    async def go():
        async with KafkaProducer(properties(broker, delivery_report_only_error=True)) as producer:
            assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 0

    run(go(), 5)


def test_the_future_goes_where_asyncios_own_go(broker, topic):
    async def go():
        loop = asyncio.get_running_loop()
        async with KafkaProducer(properties(broker)) as producer:
            def send():
                return producer.send(ProducerRecord(topic, 0, None, b"v"))

            assert asyncio.isfuture(send()) and isinstance(send(), SendFuture) and send().get_loop() is loop
            assert (await asyncio.wait_for(send(), 5)).offset == 3
            assert (await asyncio.shield(send())).offset == 4
            done, pending = await asyncio.wait([send(), send()])
            assert {future.result().offset for future in done} == {5, 6} and not pending
            assert [(await each).offset for each in asyncio.as_completed([send(), send()])] == [7, 8]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send(), 0)

            task = asyncio.ensure_future(wait(send()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            future = send()
            for call in future.result, future.exception:
                with pytest.raises(asyncio.InvalidStateError):
                    call()
            variable, seen = contextvars.ContextVar("variable"), []
            variable.set("one")
            future.add_done_callback(lambda future: seen.append(variable.get()))
            variable.set("two")
            future.add_done_callback(lambda future: seen.append(variable.get()))
            future.add_done_callback(seen.append)
            assert future.remove_done_callback(seen.append) == 1
            assert (await future).offset == 11
            future.add_done_callback(seen.append)
            assert seen == ["one", "two"]               # as with asyncio's own: never at once
            await asyncio.sleep(0)
            assert seen == ["one", "two", future] and not future.cancel()
            await producer.flush()

    async def wait(future):
        return await future

    run(go())


def test_exceptions_that_nobody_handles_go_to_the_loop(broker, topic):
    async def go():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with KafkaProducer(properties(broker)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            seen = []
            future.add_done_callback(lambda future: 1 / 0)
            future.add_done_callback(seen.append)
            await future
            await asyncio.sleep(0)
            assert [type(context["exception"]) for context in told] == [ZeroDivisionError] and seen == [future]
            told.clear()
            producer.send(ProducerRecord("", 0, None, b"v"))            # dropped
            gc.collect()
            assert [context["exception"].error.code for context in told] == [ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG]
            told.clear()
            seen = producer.send(ProducerRecord("", 0, None, b"v"))
            assert isinstance(seen.exception(), ValueError)
            del seen
            gc.collect()
            assert told == []

    run(go())


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


def test_kafkapp_alone_does_not_import_asyncio():
    assert run_python("import kafkapp, sys; print('asyncio' in sys.modules)").strip() == "False"
