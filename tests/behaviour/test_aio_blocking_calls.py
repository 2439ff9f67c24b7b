"""Waiting calls of kafkapp.aio: independent of the loop's executor, and cancelled at any point.

The loop's default executor is the user's. Its threads may all be busy, or wait for the very call that would wait for them.
"""
import asyncio
import contextlib
import gc
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import NOWHERE, Stopwatch, properties, run_in_loop, run_python, start_python, wait_for

from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer, threads
from kafkapp.testing import ApiKey, MockCluster

QUIET = {"log_level": 0, "error_cb": lambda error: None}
SECONDS = 10
PURGED = {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT}


class Busy(ThreadPoolExecutor):
    """An executor whose only thread is busy until it is released."""

    def __init__(self):
        super().__init__(1)
        self.leave = threading.Event()
        self.submit(self.leave.wait, 60)


@contextlib.asynccontextmanager
async def busy_executor():
    executor = Busy()
    asyncio.get_running_loop().set_default_executor(executor)
    try:
        yield
    finally:
        executor.leave.set()


CALLS = {
    "flush": lambda producer, topic: producer.flush(),
    "flush in time": lambda producer, topic: producer.flush(SECONDS),
    "close": lambda producer, topic: producer.close(),
    "close in time": lambda producer, topic: producer.close(SECONDS),
    "close at once": lambda producer, topic: producer.close(0),
    "async with": lambda producer, topic: producer.__aexit__(None, None, None),
    "fetch_broker_metadata": lambda producer, topic: producer.fetch_broker_metadata(topic, SECONDS),
    "list_topics": lambda producer, topic: producer.list_topics(SECONDS),
    "send": lambda producer, topic: producer.send(ProducerRecord(topic, 0, value=b"w")),
    "send_batch": lambda producer, topic: producer.send_batch(topic, [b"w"]),
}


@pytest.mark.parametrize("lingering", [0, 500])
@pytest.mark.parametrize("call", CALLS)
def test_beside_an_executor_that_is_busy(broker, topic, call, lingering):
    async def go():
        async with busy_executor():
            producer = KafkaProducer(properties(broker, linger_ms=lingering))
            future = producer.send(ProducerRecord(topic, 0, value=b"v"))
            await asyncio.wait_for(CALLS[call](producer, topic), SECONDS)
            await asyncio.wait_for(producer.close(), SECONDS)
            if call == "close at once":
                assert future.exception() is None or future.exception().error.code in PURGED
            else:
                assert future.result().offset == 0

    run_in_loop(go())


@pytest.mark.parametrize("call", [lambda producer: producer.flush(0.2), lambda producer: producer.close(0.2),
                                  lambda producer: producer.fetch_broker_metadata("t", 0.2)], ids=["flush", "close", "metadata"])
def test_what_runs_out_of_time_beside_an_executor_that_is_busy(call):
    async def go():
        async with busy_executor():
            producer = KafkaProducer(properties(NOWHERE, QUIET))
            future = producer.send(ProducerRecord("t", 0, value=b"v"))
            with Stopwatch() as watch, contextlib.suppress(KafkaException):
                await call(producer)
            await producer.close(0)
            assert future.exception().error.code in PURGED
            return watch.seconds

    assert run_in_loop(go()) < 5


def test_the_executors_thread_waits_for_a_flush():
    async def go():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        future = producer.send(ProducerRecord("t", 0, value=b"v"))
        for call in producer.flush(0.1), producer.close(0.1):
            await loop.run_in_executor(
                None, lambda call=call: asyncio.run_coroutine_threadsafe(call, loop).exception(SECONDS))
        assert future.exception().error.code in PURGED

    run_in_loop(go())


def test_a_flush_ends_as_soon_as_the_last_report_is_there(broker, topic):
    """The last report wakes it: it polls no clock."""
    async def go():
        async with KafkaProducer(properties(broker, linger_ms=0)) as producer:
            await producer.send(ProducerRecord(topic, 0, value=b"v"))
            loop, sleeps = asyncio.get_running_loop(), []
            call_at, loop.call_at = loop.call_at, lambda *args, **more: (sleeps.append(args), call_at(*args, **more))[1]
            for _ in range(20):
                producer.send(ProducerRecord(topic, 0, value=b"v"))
                await producer.flush()
                assert len(producer) == 0
            return sleeps

    assert run_in_loop(go()) == []


def test_the_thread_that_ends_lingering_goes_when_nobody_waits(broker, topic):
    def threads():
        return len(os.listdir("/proc/self/task"))

    async def go():
        async with KafkaProducer(properties(broker, linger_ms=60000)) as producer:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
            await producer.flush()
            await asyncio.sleep(0.1)
            before = threads()
            for _ in range(5):
                producer.send(ProducerRecord(topic, 0, value=b"v"))
                await asyncio.gather(producer.flush(), producer.flush())
            producer.send(ProducerRecord(topic, 0, value=b"v"))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(producer.flush(), 0)
            wait_for(lambda: threads() <= before)

    run_in_loop(go())


# -- cancelled -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 8, 12, 20])
@pytest.mark.parametrize("call", ["flush", "close", "send", "send_batch", "fetch_broker_metadata"])
def test_cancelled_after_some_turns_of_the_loop(cluster, topic, call, steps):
    async def wait(producer):
        await CALLS[call](producer, topic)

    async def go():
        contexts, tasks = [], asyncio.all_tasks()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        producer = KafkaProducer(properties(cluster, linger_ms=20))
        futures = [producer.send(ProducerRecord(topic, 0, value=b"v")) for _ in range(10)]
        task = asyncio.ensure_future(wait(producer))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if call != "close":
            futures.append(producer.send(ProducerRecord(topic, 0, value=b"v")))
        await asyncio.wait_for(producer.close(), SECONDS)
        assert [future.exception() for future in futures] == [None] * len(futures)
        del task
        gc.collect()
        assert contexts == [] and asyncio.all_tasks() == tasks

    run_in_loop(go())


@pytest.fixture
def slow_end(monkeypatch):
    """Has what runs in threads wait for this."""
    leave = threading.Event()

    def run(future, function, args, run=threads.run):
        leave.wait(SECONDS)
        run(future, function, args)

    monkeypatch.setattr(threads, "run", run)
    yield leave
    leave.set()


def test_a_close_that_is_cancelled_at_its_end_ends_all_the_same(broker, topic, slow_end):
    async def go():
        producer = KafkaProducer(properties(broker, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, value=b"v"))
        first, second = asyncio.ensure_future(producer.close()), asyncio.ensure_future(producer.close())
        await asyncio.sleep(0.1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(RuntimeError, match="closed"):
            producer.send(ProducerRecord(topic, 0, value=b"v"))
        await asyncio.sleep(0.05)
        assert not second.done()
        slow_end.set()
        await asyncio.wait_for(second, SECONDS)
        await producer.close()
        assert "closed" in repr(producer)

    run_in_loop(go())


def test_a_close_that_fails_raises_in_its_awaiter_only(broker, monkeypatch):
    leave = threading.Event()

    def fail(future, function, args, run=threads.run):
        def act():
            leave.wait(SECONDS)
            function(*args)
            raise LookupError("at the end")

        run(future, act, ())

    monkeypatch.setattr(threads, "run", fail)

    async def go():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        producer = KafkaProducer(properties(broker))
        task = asyncio.ensure_future(producer.close())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait((task,))
        leave.set()
        await producer.close()          # which the other one has done
        with pytest.raises(LookupError):
            await KafkaProducer(properties(broker)).close()
        gc.collect()
        return contexts

    assert run_in_loop(go()) == []


def test_a_close_that_has_less_time_than_the_one_under_way(cluster, topic):
    async def go():
        producer = KafkaProducer(properties(cluster, QUIET, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, value=b"v"))
        cluster.broker_down(1)
        future = producer.send(ProducerRecord(topic, 0, value=b"v"))
        first = asyncio.ensure_future(producer.close())
        await asyncio.sleep(0)
        await asyncio.wait_for(producer.close(0.1), SECONDS)
        await asyncio.wait_for(first, SECONDS)
        assert future.exception().error.code in PURGED

    run_in_loop(go())


def test_a_metadata_request_that_is_cancelled_fails_in_silence():
    async def go():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(producer.fetch_broker_metadata("t", 0.3), 0.05)
        await asyncio.sleep(0.5)
        await producer.close(0)
        gc.collect()
        return contexts

    assert run_in_loop(go()) == []


# -- the loop's end --------------------------------------------------------------------------------------------------------

IN_FLIGHT = """
import asyncio, gc, sys, warnings
from kafkapp import ProducerRecord
from kafkapp.aio import KafkaProducer

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60      # a slow machine is no fault
    producer = KafkaProducer({"bootstrap.servers": sys.argv[1], "message.timeout.ms": 500, "log_cb": lambda *log: None,
                              "error_cb": lambda error: None, "linger.ms": 400})
    sends = [producer.send(ProducerRecord("t", 0, value=b"v")) for _ in range(10)]
    tasks = [asyncio.ensure_future(wait(sends[0])), asyncio.ensure_future(producer.WHAT)]
    await asyncio.sleep(0.1)
    return producer, sends, tasks

async def wait(future):
    await future

producer, sends, tasks = asyncio.run(main(), debug=True)
assert all(task.cancelled() for task in tasks), tasks
print(len(producer))
warnings.simplefilter("ignore", ResourceWarning)
del producer, tasks
gc.collect()
print({future.exception().error.code.name for future in sends[1:]})
"""


@pytest.mark.parametrize("what", ["flush()", "close()", "fetch_broker_metadata('t', 1)"])
def test_a_run_that_ends_with_records_in_flight(what):
    process = start_python(IN_FLIGHT.replace("WHAT", what), NOWHERE, flags=("-X", "dev"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "it was never closed, and 10 records are not known to be delivered (t: 10)" in err and err.count("\n") == 1
    assert out.splitlines() == ["10", "{'RD_KAFKA_RESP_ERR__MSG_TIMED_OUT'}"]


def test_a_producer_that_is_dropped_in_its_loop_does_not_hold_it_up(cluster, topic):
    async def go():
        producer = KafkaProducer(properties(cluster, QUIET, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, value=b"v"))
        cluster.broker_down(1)
        future = producer.send(ProducerRecord(topic, 0, value=b"v"))
        with pytest.warns(ResourceWarning, match="never closed"), Stopwatch() as watch:
            del producer
        assert watch.seconds < 5 and not future.done()          # it would be ten seconds
        cluster.broker_up(1)
        assert (await asyncio.wait_for(future, 20)).offset == 1

    run_in_loop(go(), 40)


def test_an_exception_handler_that_raises_does_not_keep_the_others_from_being_called(broker, topic):
    assert run_python("""
import asyncio, sys
from kafkapp import ProducerRecord
from kafkapp.aio import KafkaProducer

async def main():
    producer = KafkaProducer({"bootstrap.servers": sys.argv[1], "linger.ms": 100})
    futures = [producer.send(ProducerRecord("t", 0, value=b"v")) for _ in range(10)]
    for future in futures:
        future.add_done_callback(lambda future: seen.append(1 / (len(seen) % 5)))
        future.add_done_callback(seen.append)
    try:
        await asyncio.gather(*futures)
    finally:
        await producer.close()

def handler(loop, context):
    seen.append("handler")
    raise KeyboardInterrupt

seen = []
loop = asyncio.new_event_loop()
loop.set_exception_handler(handler)
try:
    task = loop.create_task(main())
    loop.run_until_complete(task)
except KeyboardInterrupt:
    loop.run_until_complete(task)
    print(sum(not isinstance(each, (str, float)) for each in seen), "handler" in seen)
""", broker.bootstrap_servers).strip() == "10 True"


def test_records_requeued_after_a_fatal_error_fail_at_once(topic):
    """librdkafka sends it no more, and reports nothing before its message.timeout.ms expires."""
    async def go(cluster):
        producer = KafkaProducer(properties(cluster, QUIET, enable_idempotence=True, message_timeout_ms=60000, linger_ms=0))
        for partition in 0, 1:
            await producer.send(ProducerRecord(topic, partition, value=b"v"))
        cluster.push_broker_errors(2, ApiKey.Produce, (ErrorCode.RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 0.5))
        slow = producer.send(ProducerRecord(topic, 1, value=b"v"))
        await asyncio.sleep(0.1)        # its request is out
        cluster.push_broker_errors(1, ApiKey.Produce, (ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 0))
        with pytest.raises(KafkaException):
            for _ in range(200):
                await producer.send(ProducerRecord(topic, 0, value=b"v"))
        with pytest.raises(KafkaException) as caught:
            await asyncio.wait_for(slow, 20)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE
        await asyncio.wait_for(producer.close(), SECONDS)

    with MockCluster(2) as cluster:
        cluster.create_topic(topic, 2)
        for partition in 0, 1:
            cluster.set_leader(topic, partition, partition + 1)
        run_in_loop(go(cluster), 40)


EVERY_CALL = """
import asyncio, json, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from kafkapp import KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer

async def main():
    loop, executor, took, gaps = asyncio.get_running_loop(), ThreadPoolExecutor(1), {}, [0]
    executor.submit(threading.Event().wait)
    loop.set_default_executor(executor)

    async def tick():
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - begin)

    ticker = asyncio.ensure_future(tick())
    for name, call in {"flush": lambda producer: producer.flush(0.3), "purge": lambda producer: producer.purge(),
                       "fetch_broker_metadata": lambda producer: producer.fetch_broker_metadata("t", 0.3),
                       "close": lambda producer: producer.close(0.3)}.items():
        producer = KafkaProducer({"bootstrap.servers": sys.argv[1], "log_cb": lambda *log: None, "error_cb": lambda error: None})
        kept.append((producer, producer.send(ProducerRecord("t", 0, value=b"v"))))
        await asyncio.sleep(0.2)        # until a thread of librdkafka's asks for the name
        begin = time.monotonic()
        try:
            outcome = call(producer)
            if outcome is not None:
                await outcome
        except KafkaException:
            pass
        took[name] = time.monotonic() - begin
    assert kept[-1][1].exception()
    return took, max(gaps)

kept = []
print(json.dumps(asyncio.new_event_loop().run_until_complete(main())), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("servers", ["silent.test:9092", NOWHERE], ids=["a name server keeps silent", "no broker"])
def test_each_call_is_over_in_time_and_the_loop_goes_on_meanwhile(silent, servers):
    """As test_blocking_calls.py does, beside an executor that is busy too."""
    silent.write_text("silent.test")
    took, gap = json.loads(run_python(EVERY_CALL, servers, timeout=60))
    assert took.keys() == {"flush", "purge", "fetch_broker_metadata", "close"}
    assert max(took.values()) < 0.3 + 3 + 3 and gap < 3      # three seconds for a machine that is busy
