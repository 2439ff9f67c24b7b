"""kafkapp.aio: try_send, whose callback runs in the loop, and wait_for_room, with a queue that is full."""
import asyncio
import threading

import pytest
from helpers import NOWHERE, properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, ProducerRecord, SendOption
from kafkapp.aio import KafkaProducer
from kafkapp.aio import producer as front

QUIET = {"log_level": 0, "error_cb": lambda error: None}
FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
SECONDS = 10


class Reports(list):
    """A callback."""

    def __call__(self, metadata, error):
        self.append((metadata.record_id, error and error.code))
        assert threading.current_thread() is threading.main_thread()


def test_try_send_has_its_callback_run_in_the_loop(cluster, topic):
    async def go():
        reports = Reports()
        async with KafkaProducer(properties(cluster, linger_ms=0)) as producer:
            assert producer.try_send(topic, b"1", id=1, callback=reports) is None
            assert producer.try_send(ProducerRecord(topic, 0, value=b"2", id=2), reports, SendOption.ToCopyRecordValue) is None
            assert producer.try_send(topic, "3", partition=0) is None
            await producer.flush(SECONDS)
        assert sorted(reports) == [(1, None), (2, None)]

    run_in_loop(go())
    assert sorted(record.value for record in cluster.records(topic)) == [b"1", b"2", b"3"]


def test_try_send_returns_kafkas_errors_and_raises_others(broker, topic):
    async def go():
        reports = Reports()
        async with KafkaProducer(properties(broker)) as producer:
            assert producer.try_send("", b"v", callback=reports).code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
            too_large = producer.try_send(topic, b"v" * 2_000_000, callback=reports)
            assert too_large.code == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            for arguments, named in ((5,), {}), ((topic, 5), {}), ((topic, b"v"), {"callback": 5}):
                with pytest.raises(TypeError):
                    producer.try_send(*arguments, **named)
            assert len(producer) == 0
        with pytest.raises(RuntimeError, match="closed"):
            producer.try_send(topic, b"v")
        assert reports == []

    run_in_loop(go())


def test_a_callback_that_raises_goes_to_the_loops_handler_and_holds_up_no_other(broker, topic):
    async def go():
        contexts, reports = [], Reports()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context["exception"]))
        async with KafkaProducer(properties(broker, linger_ms=100)) as producer:
            producer.try_send(topic, b"v", partition=0, callback=lambda metadata, error: 1 / 0)
            producer.try_send(topic, b"v", partition=0, id=2, callback=reports)
            await producer.flush(SECONDS)
        assert [type(exc) for exc in contexts] == [ZeroDivisionError] and reports == [(2, None)]

    run_in_loop(go())


def test_with_a_full_queue_try_send_says_so_and_room_is_waited_for(cluster, topic):
    async def go():
        reports, refused = Reports(), 0
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=5, linger_ms=0)) as producer:
            for number in range(100):
                while (error := producer.try_send(topic, b"%d" % number, partition=0, id=number, callback=reports)) is not None:
                    assert error.code == FULL
                    refused += 1
                    await producer.wait_for_room(SECONDS)
            await producer.flush(SECONDS)
        assert reports == [(number, None) for number in range(100)] and 0 < refused <= 100

    run_in_loop(go())
    assert [record.value for record in cluster.records(topic)] == [b"%d" % number for number in range(100)]


def test_waiting_for_room_after_each_send_keeps_what_waits_short(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=5, linger_ms=0)) as producer:
            futures = []
            for number in range(100):
                futures.append(producer.send(topic, b"%d" % number, partition=0))
                await producer.wait_for_room(SECONDS)
                assert len(producer) <= 6
            assert [metadata.offset for metadata in await asyncio.gather(*futures)] == list(range(100))

    run_in_loop(go())


def test_try_send_does_not_overtake_what_waits():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2))
        futures = [producer.send("t", b"v") for _ in range(3)]
        assert producer.try_send("t", b"v").code == FULL and len(producer) == 3
        producer.purge()
        await asyncio.wait(futures)
        await producer.wait_for_room(SECONDS)
        assert producer.try_send("t", b"v") is None
        await producer.close(0)
        assert all(future.exception() for future in futures)

    run_in_loop(go())


@pytest.mark.parametrize("waits", [lambda producer: producer.send("t", b"v"), lambda producer: producer.try_send("t", b"v")],
                         ids=["send", "try_send"])
def test_waiting_for_room_ends_with_its_time_with_a_purge_and_when_cancelled(waits):
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2))
        await producer.wait_for_room(0)
        made = [waits(producer) for _ in range(3)]
        for timeout in 0, 0.05:
            with pytest.raises(KafkaException) as failure:
                await producer.wait_for_room(timeout)
            assert failure.value.error.code == FULL and isinstance(failure.value, BufferError)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await producer.wait_for_room()
        waiting = asyncio.ensure_future(producer.wait_for_room())
        await asyncio.sleep(0)
        producer.purge()
        await asyncio.wait_for(waiting, SECONDS)
        await producer.close(0)
        assert all(future.exception() for future in made if hasattr(future, "exception"))
        with pytest.raises(RuntimeError, match="closed"):
            await producer.wait_for_room()

    run_in_loop(go())


def test_calls_that_wait_end_with_a_close_whose_last_reports_come_in_another_thread(monkeypatch):
    monkeypatch.setattr(front, "PURGE_SECONDS", 0)

    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2))
        while producer.try_send("t", b"v") is None:
            pass
        waiting = [asyncio.ensure_future(call()) for call in (producer.wait_for_room, producer.flush)]
        await asyncio.sleep(0)
        await producer.close(0)
        assert await asyncio.wait_for(asyncio.gather(*waiting), SECONDS) == [None, None]

    run_in_loop(go())
