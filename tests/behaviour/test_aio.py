"""kafkapp.aio: futures resolved in the loop, exactly once, without threads or polling."""
import asyncio
import contextvars
import gc
import time
import types

import pytest
from helpers import NOWHERE, consume, properties, run_in_loop

from kafkapp import ErrorCode, Header, KafkaException, ProducerRecord, RecordMetadata, SendOption, Value
from kafkapp.aio import KafkaProducer, SendFuture

QUIET = {"log_level": 0, "error_cb": lambda error: None}


def test_awaiting_a_send_gives_the_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            metadata = await producer.send(ProducerRecord(topic, 1, b"key", b"value", "id"))
            assert isinstance(metadata, RecordMetadata)
            assert (metadata.partition, metadata.offset, metadata.record_id) == (1, 0, "id")
            assert len(producer) == 0

    run_in_loop(go())
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

    run_in_loop(go())
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
                producer.send(b"no record")
            assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 0

    run_in_loop(go())


def test_a_full_queue_makes_records_wait_in_order(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=5, linger_ms=0)) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"%d" % number, number)) for number in range(100)]
            assert len(producer) == 100
            outcomes = await asyncio.gather(*futures)
            assert [outcome.offset for outcome in outcomes] == list(range(100))

    run_in_loop(go())
    assert [message.value() for message in consume(cluster, topic, 100)] == [b"%d" % n for n in range(100)]


def test_flush_ends_lingering_and_waits_for_what_was_sent_before(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, linger_ms=60000)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            begun = time.monotonic()
            await producer.flush(10)
            assert time.monotonic() - begun < 3
            assert future.done() and len(producer) == 0

    run_in_loop(go())


def test_a_cancelled_send_is_sent_all_the_same(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert (await producer.send(ProducerRecord(topic, 0, None, b"w"))).offset == 1

    run_in_loop(go())


def test_batches_and_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            batch = await producer.send_batch(topic, [b"a", b"b", None], partition=0)
            assert batch.done and list(batch.offsets) == [0, 1, 2]
            assert (await producer.send_batch(topic, [])).done
            metadata = await producer.fetch_broker_metadata(topic)
            assert metadata.topic == topic and 0 in metadata.partitions
            assert producer.get_property("linger.ms") == "5" and producer.client_id and producer.name

    run_in_loop(go())


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

    run_in_loop(go())
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
                producer.send(b"no record")
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

    run_in_loop(go())


def test_flush_waits_for_what_waits_and_not_for_what_comes_later(cluster, topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            await producer.send(ProducerRecord(topic, 0, None, b"v"))
            cluster.set_rtt(1, 0.02)
            futures = [producer.send(ProducerRecord(topic, 0, None, b"v")) for _ in range(15)]
            stop = False

            async def more():
                while not stop:
                    producer.send(ProducerRecord(topic, 0, None, b"more"))
                    await asyncio.sleep(0.005)

            sender = asyncio.ensure_future(more())
            await asyncio.wait_for(producer.flush(10), 10)
            assert all(future.done() for future in futures)
            assert len(producer) > 0
            cluster.set_rtt(1, 0)
            stop = True
            await sender

    run_in_loop(go())


def test_purge_also_fails_what_waits_for_room():
    async def go():
        async with KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2)) as producer:
            futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(5)]
            producer.purge()
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
            assert {outcome.error.code for outcome in outcomes} == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
            assert len(producer) == 0

    run_in_loop(go())


def test_only_errors_does_not_keep_successes_from_those_who_await_them(broker, topic):
    async def go():
        async with KafkaProducer(properties(broker, delivery_report_only_error=True)) as producer:
            assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 0

    run_in_loop(go(), 5)


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

    run_in_loop(go())


def test_generators_that_are_coroutines_yield_from_it(broker, topic):
    """As from asyncio's own: by __iter__, not by __await__."""
    @types.coroutine
    def wait(future):
        return (yield from future)

    async def go():
        async with KafkaProducer(properties(broker)) as producer:
            assert (await wait(producer.send(ProducerRecord(topic, 0, None, b"v")))).offset == 0
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            await producer.flush()
            with pytest.raises(StopIteration) as stopped:
                next(iter(future))              # done: it waits for nothing
            assert stopped.value.value is future.result()

    run_in_loop(go())


def test_exceptions_that_nobody_handles_go_to_the_loop(broker, topic):
    async def go():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        async with KafkaProducer(properties(broker)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            seen = []
            future.add_done_callback(lambda future: 1 / 0)
            future.add_done_callback(seen.append)
            await future
            await asyncio.sleep(0)
            assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] and seen == [future]
            contexts.clear()
            producer.send(ProducerRecord("", 0, None, b"v"))            # dropped: test_unretrieved_failures.py
            gc.collect()
            assert contexts == []

    run_in_loop(go())


def test_more_reports_than_fit_into_a_round_are_all_dispatched(broker, topic):
    async def go():
        async with KafkaProducer(properties(broker)) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"v")) for _ in range(50_000)]
            producer._loop_side.client.end_lingering_for(1)         # the loop stands still: librdkafka writes to the descriptor only once
            outcomes = await asyncio.wait_for(asyncio.gather(*futures), 10)
            assert outcomes[-1].offset == 49_999

    run_in_loop(go())
