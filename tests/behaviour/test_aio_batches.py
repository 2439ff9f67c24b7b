"""send_batch of kafkapp.aio: waits for room in the loop, in order with what else is sent, and loses nothing when it is cancelled."""
import asyncio
import gc
import threading

import pytest
from helpers import NOWHERE, consume, held_for_records, properties, run_in_loop, wait_for

from kafkapp import ActionWhileQueueIsFull, ErrorCode, ProducerRecord, SendOption
from kafkapp.aio import KafkaProducer

QUIET = {"log_level": 0, "error_cb": lambda error: None}
FULL, PURGED, TIMED_OUT = (getattr(ErrorCode, f"RD_KAFKA_RESP_ERR_{name}") for name in ("_QUEUE_FULL", "_PURGE_QUEUE", "_MSG_TIMED_OUT"))
NO_BLOCK = ActionWhileQueueIsFull.NoBlock


def numbers(count, prefix=b""):
    return [prefix + b"%d" % number for number in range(count)]


def codes(batch):
    return [error.code for _, error in batch.failures()]


@pytest.fixture
def narrow(cluster):
    return properties(cluster, queue_buffering_max_messages=100, linger_ms=0)


@pytest.fixture
def stuck():
    """The queue takes ten records, and never gives one up."""
    return properties(NOWHERE, QUIET, queue_buffering_max_messages=10)


def test_all_records_are_sent_however_small_the_queue(cluster, topic, narrow):
    async def go():
        threads = threading.active_count()
        async with KafkaProducer(narrow) as producer:
            future = producer.send_batch(topic, numbers(5000), partition=0)
            assert len(producer) == 5000 and not future.done()
            batch = await future
            assert threading.active_count() == threads          # no thread waits for it
            assert (batch.accepted, batch.next_index, batch.done, batch.failures()) == (5000, 5000, True, [])
            assert list(batch.offsets) == list(range(5000))
            assert len(producer) == 0

    run_in_loop(go())
    assert [message.value() for message in consume(cluster, topic, 5000)] == numbers(5000)


def test_batches_and_records_keep_their_order(cluster, topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            futures = [producer.send_batch(topic, numbers(500, b"a"), partition=0), producer.send(ProducerRecord(topic, 0, value=b"b")),
                       producer.send_batch(topic, numbers(500, b"c"), partition=0), producer.send(ProducerRecord(topic, 0, value=b"d"))]
            assert len(producer) == 1002
            await asyncio.gather(*futures)

    run_in_loop(go())
    expected = [*numbers(500, b"a"), b"b", *numbers(500, b"c"), b"d"]
    assert [message.value() for message in consume(cluster, topic, 1002)] == expected


def test_columns_wait_with_their_batch(cluster, topic, narrow):
    from array import array

    async def go():
        async with KafkaProducer(narrow) as producer:
            stamps = array("q", range(1_600_000_000_000, 1_600_000_000_300))
            partitions = array("i", [number % 2 for number in range(300)])
            future = producer.send_batch(topic, numbers(300), keys=numbers(300, b"k"), partition=partitions, timestamps=stamps,
                                         headers=[("h", b"v")])
            with pytest.raises(BufferError):
                stamps.append(0)        # held
            await future
            stamps.append(0)
            partitions.append(0)

    run_in_loop(go())
    messages = consume(cluster, topic, 300)
    assert {message.key(): message.value() for message in messages} == dict(zip(numbers(300, b"k"), numbers(300), strict=True))
    assert {message.timestamp()[1] for message in messages} == set(range(1_600_000_000_000, 1_600_000_000_300))
    assert all(message.headers() == [("h", b"v")] for message in messages)


def test_what_can_never_be_sent_is_refused_alone(topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            values = numbers(300)
            values[150] = values[299] = bytes(2_000_000)
            batch = await producer.send_batch(topic, values)
            assert [(index, error.code) for index, error in batch.failures()] == [
                (index, ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) for index in (150, 299)]
            assert (await producer.send_batch(topic, [bytes(2_000_000)] * 300)).accepted == 0
            assert (await producer.send_batch(topic, numbers(300))).failures() == []

    run_in_loop(go())


@pytest.mark.parametrize("timeout", [0.05, 0])
def test_after_the_timeout_the_rest_is_refused(stuck, timeout):
    async def go():
        async with KafkaProducer(stuck | {"message.timeout.ms": 1500}) as producer:
            first = producer.send_batch("t", numbers(25), timeout=timeout)
            behind = producer.send_batch("t", numbers(25), timeout=timeout)
            later = producer.send(ProducerRecord("t", value=b"later"))
            batch = await behind
            assert batch.done and batch.accepted == 0 and codes(batch) == [FULL] * 25
            assert not first.done() and len(producer) == 11
            batch = await first
            assert (batch.accepted, batch.next_index) == (10, 10) and codes(batch) == [TIMED_OUT] * 10 + [FULL] * 15
            await asyncio.wait([later])

    run_in_loop(go(), 30)


def test_a_fatal_error_fails_what_waits(cluster, topic):
    """All that was accepted is reported when the rest is refused: no report completes the batch."""
    async def go():
        async with KafkaProducer(properties(cluster, QUIET, queue_buffering_max_messages=10, linger_ms=0,
                                            enable_idempotence=True, max_in_flight=1)) as producer:
            await producer.send(ProducerRecord(topic, 0, value=b"v"))
            cluster.push_request_errors("Produce", ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER)
            batch = await producer.send_batch(topic, numbers(1000), partition=0)
            assert batch.done and len(batch.failures()) == 1000 and batch.failures()[-1][1].is_fatal

    run_in_loop(go())


def test_with_no_block_what_finds_no_room_is_refused_at_once(stuck):
    async def go():
        producer = KafkaProducer(stuck)
        future = producer.send_batch("t", numbers(25), action=NO_BLOCK)
        assert len(producer) == 10
        full = await producer.send_batch("t", numbers(5), action=NO_BLOCK)
        assert full.accepted == 0 and codes(full) == [FULL] * 5
        producer.purge()
        batch = await future
        assert (batch.accepted, batch.next_index) == (10, 10) and codes(batch) == [PURGED] * 10 + [FULL] * 15
        await producer.close()

    run_in_loop(go())


def test_what_is_no_action_is_refused(stuck):
    async def go():
        producer = KafkaProducer(stuck)
        for arguments in {"action": "block"}, {"action": True}, {"timeout": -1}, {"timeout": "1"}, {"partition": -5}, {"callback": print}:
            with pytest.raises((TypeError, ValueError)):
                producer.send_batch("t", numbers(25), **arguments)
        assert len(producer) == 0 and not held_for_records(producer._producer)
        await producer.close()

    run_in_loop(go())


@pytest.mark.parametrize("end", ["purge", "close"])
def test_the_end_fails_what_waits(stuck, end):
    async def go():
        producer = KafkaProducer(stuck)
        futures = [producer.send_batch("t", numbers(25), option=option) for option in SendOption]
        producer.purge() if end == "purge" else await producer.close(0)
        for future, accepted in zip(futures, (10, 0), strict=True):
            batch = await future
            assert batch.done and batch.accepted == accepted and codes(batch) == [PURGED] * 25
        assert len(producer) == 0
        await producer.close()

    run_in_loop(go())


@pytest.mark.parametrize("wait", ["flush", "close"])
def test_cancelled_it_is_sent_all_the_same(cluster, topic, narrow, wait):
    async def go():
        async with KafkaProducer(narrow) as producer:
            task = asyncio.ensure_future(asyncio.wait_for(producer.send_batch(topic, numbers(1000), partition=0), 60))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(producer.send_batch(topic, numbers(1000, b"b"), partition=0), 0)
            if wait == "flush":
                await producer.flush()
                assert len(producer) == 0

    run_in_loop(go())
    assert [message.value() for message in consume(cluster, topic, 2000)] == numbers(1000) + numbers(1000, b"b")


def test_its_timeout_outlives_a_cancelled_future(stuck):
    async def go():
        producer = KafkaProducer(stuck)
        producer.send_batch("t", numbers(25), timeout=0.05).cancel()
        assert len(producer) == 25
        while len(producer) > 10:
            await asyncio.sleep(0.01)
        await producer.close(0)

    run_in_loop(go())


def test_flush_waits_for_all_of_a_batch_that_waits(topic, narrow):
    async def go():
        async with KafkaProducer(narrow) as producer:
            future = producer.send_batch(topic, numbers(1000))
            await producer.flush(10)
            assert future.done() and len(producer) == 0

    run_in_loop(go())


def test_dropped_with_a_batch_that_waits_it_ends(stuck):
    async def go():
        producer = KafkaProducer(stuck | {"message.timeout.ms": 100})
        future = producer.send_batch("t", numbers(25))
        with pytest.warns(ResourceWarning, match="never closed"):
            del producer
            gc.collect()
        batch = await future
        assert codes(batch) == [TIMED_OUT] * 10 + [PURGED] * 15

    run_in_loop(go())


def test_it_ends_where_only_errors_are_reported(broker, topic):
    """delivery.report.only.error is about callbacks; the future is no callback of the user's."""
    async def go():
        async with KafkaProducer(properties(broker, delivery_report_only_error=True)) as producer:
            batch = await asyncio.wait_for(producer.send_batch(topic, numbers(10)), 30)
            assert batch.done and batch.accepted == 10 and not batch.failures()

    run_in_loop(go(), 60)


def test_one_that_does_not_wait_does_not_overtake_those_that_do(stuck):
    async def go():
        producer = KafkaProducer(stuck | {"queue.buffering.max.messages": 1000, "queue.buffering.max.kbytes": 1})
        first = producer.send_batch("t", [b"v" * 900, b"v" * 900])
        behind = await producer.send_batch("t", [b"small"], action=NO_BLOCK)
        assert not first.done() and behind.accepted == 0 and codes(behind) == [FULL]
        producer.purge()
        assert codes(await first) == [PURGED] * 2
        await producer.close(0)

    run_in_loop(go(), 30)


def test_a_second_close_that_times_out_says_what_it_purged(stuck, caplog):
    async def go():
        producer = KafkaProducer(stuck)
        future = producer.send_batch("t", numbers(5))
        close = asyncio.ensure_future(producer.close())
        await asyncio.sleep(0)
        await producer.close(0.1)
        await close
        assert codes(await future) == [PURGED] * 5

    run_in_loop(go(), 30)
    wait_for(lambda: [line for line in caplog.messages if "close() timed out, and 5 records" in line])


@pytest.mark.parametrize("form", ["list", "Arrow"])
def test_headers_of_each_record_wait_for_room_with_it(cluster, topic, narrow, form):
    rows = [None if number % 3 == 0 else [("n", b"%d" % number)] for number in range(1000)]
    headers = rows
    if form == "Arrow":
        pa = pytest.importorskip("pyarrow")
        headers = pa.array(rows, pa.map_(pa.string(), pa.binary()))

    async def go():
        async with KafkaProducer(narrow) as producer:
            batch = await producer.send_batch(topic, numbers(1000), partition=0, headers=headers)
            assert (batch.accepted, batch.failures()) == (1000, [])

    run_in_loop(go())
    assert [(record.value, list(record.headers)) for record in cluster.records(topic)] == [
        (b"%d" % number, row or []) for number, row in enumerate(rows)]
