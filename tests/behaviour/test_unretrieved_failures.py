"""Failures of futures that nobody retrieves: one line in sum, from threads and from asyncio; and what their reprs say."""
import asyncio
import gc
import re
import weakref

import pytest
from helpers import HELD, NOWHERE, properties, run_in_loop, run_python, wait_for

from kafkapp import KafkaAsyncProducer, KafkaException
from kafkapp.aio import KafkaProducer
from kafkapp.common import unretrieved
from kafkapp.producer.record_future import RecordFuture

COUNT = 5000
PURGED = "RD_KAFKA_RESP_ERR__PURGE_QUEUE"
LINE = re.compile(r"producer (\S+): (\d+) records failed, and the exceptions of their futures were never retrieved \((.*)\)")


@pytest.fixture
def reported(caplog):
    """Waits until so many failures are reported; returns the lines."""
    def reported(count):
        gc.collect()
        wait_for(lambda: sum(int(line[2]) for line in lines()) >= count)
        assert sum(int(line[2]) for line in lines()) == count
        return lines()

    def lines():
        return [found for record in caplog.records if (found := LINE.fullmatch(record.getMessage()))]

    wait_for(lambda: not unretrieved.counts)        # another test's
    caplog.clear()
    return reported


def purged_by_threads():
    producer = KafkaAsyncProducer(properties(NOWHERE, HELD))
    for number in range(COUNT):
        producer.send_future("many" if number % 2 else "other", b"v", id=number)
    producer.close(0)
    return producer.name


def purged_by_asyncio():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, HELD))
        for number in range(COUNT):
            producer.send("many" if number % 2 else "other", b"v", id=number)
        producer.purge()
        await producer.close(0)
        return producer.name

    return run_in_loop(go())


@pytest.mark.parametrize("purged", [purged_by_threads, purged_by_asyncio])
def test_very_many_are_reported_in_few_lines(reported, purged):
    name = purged()
    lines = reported(COUNT)
    assert len(lines) < COUNT / 50          # one, but on a machine that needs seconds for it
    assert {line[1] for line in lines} == {name}
    counted = [re.findall(rf"{PURGED} for (\w+): (\d+)", line[3]) for line in lines]
    for topic in "many", "other":
        assert sum(int(count) for each in counted for found, count in each if found == topic) == COUNT / 2
    assert not unretrieved.counts


def test_what_was_retrieved_is_not_reported(reported):
    producer = KafkaAsyncProducer(properties(NOWHERE, HELD))
    futures = [producer.send_future("t", b"v") for _ in range(4)]
    with pytest.raises(TimeoutError):
        futures[3].result(0)
    producer.close(0)
    with pytest.raises(KafkaException):
        futures[0].result(10)
    assert futures[1].exception(10).error.code.name == PURGED

    async def wrapped(future):
        with pytest.raises(KafkaException):
            await asyncio.wrap_future(future)

    async def awaited():
        producer = KafkaProducer(properties(NOWHERE, HELD))
        futures = [producer.send("t", b"v") for _ in range(4)]
        await producer.close(0)
        with pytest.raises(KafkaException):
            await futures[0]
        assert len(await asyncio.gather(*futures[1:3], return_exceptions=True)) == 2

    run_in_loop(wrapped(futures[2]))
    run_in_loop(awaited())
    del futures
    assert {line[3] for line in reported(2)} == {f"{PURGED} for t: 1"}      # the last one of each


def test_a_failure_that_was_raised_holds_no_future():
    """As concurrent.futures does: else each of them waits for the garbage collector."""
    future = RecordFuture("p", "t", None)
    future.complete(None, KafkaException(1).error)
    gone = weakref.ref(future)
    gc.disable()
    try:
        with pytest.raises(KafkaException):
            future.result(0)
        del future
        assert gone() is None
    finally:
        gc.enable()


def test_memory_and_lines_are_bounded_whatever_the_topics(reported):
    for number in range(10 * unretrieved.MAX_KINDS):
        unretrieved.add("p", KafkaException(1), f"t{number}\n")
    assert len(unretrieved.counts) <= unretrieved.MAX_KINDS + 1
    for line in reported(10 * unretrieved.MAX_KINDS):
        assert line[3].count(":") <= unretrieved.MAX_NAMED + 1 and "\n" not in line[3]


def test_at_exit_they_are_reported():
    errors = run_python("""
import sys
from kafkapp import KafkaAsyncProducer
sys.stderr = sys.stdout         # where `logging` writes without a handler
producer = KafkaAsyncProducer({"bootstrap.servers": sys.argv[1], "log_cb": lambda *log: None, "error_cb": lambda error: None})
producer.send_future("t", b"v")
producer.close(0)
""", NOWHERE)
    assert LINE.search(errors)[3] == f"{PURGED} for t: 1"


def test_reprs_name_topic_id_and_state(broker, topic):
    with KafkaAsyncProducer(properties(broker)) as producer:
        future = producer.send_future(topic, b"v", id=42, partition=0)
        metadata = future.result(20)
        assert repr(future) == f"<RecordFuture for {topic}, id 42: {metadata}>"
    producer = KafkaAsyncProducer(properties(NOWHERE, HELD))
    future, bare = producer.send_future("t", b"v", id="x" * 500), producer.send_future("t", b"v")
    assert repr(future) == f"<RecordFuture for t, id 'x{'x' * 98}: pending>" and repr(bare) == "<RecordFuture for t: pending>"
    producer.close(0)
    assert bare.exception(0)
    assert re.fullmatch(rf"<RecordFuture for t, id 'x{{99}}: failed, {re.escape(str(future.exception(0)))}>", repr(future))

    async def go():
        async with KafkaProducer(properties(broker, linger_ms=200)) as producer:
            future, cancelled = producer.send(topic, b"v", id=42, partition=0), producer.send(topic, b"v")
            assert repr(future) == f"<SendFuture for {topic}, id 42: pending>"
            cancelled.cancel()
            assert repr(cancelled) == f"<SendFuture for {topic}: cancelled>"
            metadata = await future
            assert repr(future) == f"<SendFuture for {topic}, id 42: {metadata}>"
            refused = producer.send(topic, b"v" * 2_000_000, id=b"7")
            assert repr(refused).startswith(f"<SendFuture for {topic}, id b'7': failed, ") and refused.exception()

    run_in_loop(go())
