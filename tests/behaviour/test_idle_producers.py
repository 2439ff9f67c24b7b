"""Idle producers: their logs, errors, statistics and tokens are dispatched in time, or kept within a bound.

Nothing is sent here unless a test says so.
"""
import asyncio
import os
import threading
import time

import pytest
from helpers import NOWHERE, needs, properties, run_python, wait_for

from kafkapp import EventsPollingOption, KafkaAsyncProducer, KafkaSyncProducer, ProducerRecord
from kafkapp.aio import KafkaProducer

Manual = EventsPollingOption.Manual
QUIET = {"log_cb": lambda *args: None, "error_cb": lambda error: None}


def manual(properties):
    return KafkaAsyncProducer(properties, Manual)


def test_an_idle_synchronous_producer_tells_of_all_that_happens():
    logs, errors, statistics, threads = [], [], [], set()

    def log_cb(*args):
        threads.add(threading.get_ident())
        logs.append(args)

    with KafkaSyncProducer(properties(NOWHERE, {"log_cb": log_cb, "error_cb": errors.append, "stats_cb": statistics.append},
                                      statistics_interval_ms=100)):
        wait_for(lambda: logs and errors and len(statistics) > 3)
    assert len(threads) == 1 and threading.get_ident() not in threads


@needs("sasl_oauthbearer")
def test_an_idle_synchronous_producer_refreshes_its_token():
    asked = []

    def refresh(config):
        asked.append(config)
        return "token", time.time() + 1, "me", {}

    with KafkaSyncProducer(properties(NOWHERE, QUIET, {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER",
                                                       "oauthbearer_token_refresh_cb": refresh})):
        wait_for(lambda: len(asked) > 1)


def test_statistics_that_are_not_read_make_room_for_newer_ones():
    """The synchronous producer's callback blocks meanwhile; the others are not polled."""
    go_on, seen = threading.Event(), []

    def stats_cb(text):
        seen.append(text)
        go_on.wait(20)

    with KafkaSyncProducer(properties(NOWHERE, QUIET, {"stats_cb": stats_cb}, statistics_interval_ms=1)) as producer:
        wait_for(lambda: seen)
        for _ in range(5):
            with pytest.raises(Exception, match="fetch_broker_metadata"):
                producer.fetch_broker_metadata("t", 0.2)        # dispatches, and so drains librdkafka's queue
        newest = seen[0]
        go_on.set()
        wait_for(lambda: len(seen) > 1)
        second = seen[1]
    assert int(second.split('"ts":')[1].split(",")[0]) > int(newest.split('"ts":')[1].split(",")[0]) + 500_000


def test_a_manual_producer_keeps_the_newest_statistics_for_the_next_poll():
    seen = []
    with manual(properties(NOWHERE, QUIET, {"stats_cb": seen.append}, statistics_interval_ms=1)) as producer:
        time.sleep(2)           # 2000 of them
        producer.poll_events(0)
        # 32 that were kept, and those of the last two looks
        assert 32 <= len(seen) < 1000
        times = [int(text.split('"ts":')[1].split(",")[0]) for text in seen]
        assert times == sorted(times)


def test_a_manual_producer_keeps_the_newest_lines_and_says_how_many_are_lost(broker, topic):
    lines = []
    more = {"debug": "all", "linger.ms": 0, "log_cb": lambda *line: lines.append(line), "error_cb": lambda error: None}
    with manual(properties(broker, more)) as producer:
        last, seen = 0, 1
        while seen < 8192 or seen > last + 200:        # until nothing more is kept but reports, which nothing takes the place of
            for _ in range(200):
                producer.send(ProducerRecord(topic, 0, value=b"v"))
                time.sleep(0.0005)      # a request each
            time.sleep(0.6)             # no call dispatches
            last, seen = seen, producer._ledger()["kept"]
        assert lines == []
        producer.poll_events(0)
    lost = [line for line in lines if line[1] == "DROPPED"]
    assert lost[0][0] == 4 and int(lost[0][2].split()[0]) > 0
    assert 8192 <= len(lines) < 20000


def test_reports_that_nobody_has_fetched_wait_for_poll_events(broker, topic):
    reports = []
    with manual(properties(broker, QUIET)) as producer:
        for number in range(5):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), lambda metadata, error: reports.append(metadata.record_id))
        wait_for(lambda: producer._ledger()["kept"])
        assert reports == [] and len(producer) == 5
        served = 0
        while served < 5:
            served += producer.poll_events(10)
        assert reports == [0, 1, 2, 3, 4] and len(producer) == 0
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        wait_for(lambda: producer._ledger()["kept"])
        producer.flush(10)
        producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: reports.append("closed"))
        wait_for(lambda: producer._ledger()["kept"])
    assert reports[5:] == ["closed"]


def test_a_manual_producer_with_kept_reports_may_be_dropped_and_destroyed(broker, topic):
    producer = manual(properties(broker, QUIET))
    producer.send(ProducerRecord(topic, 0, value=b"v"))
    wait_for(lambda: producer._ledger()["kept"])
    producer.purge()
    producer.close(0)


def test_an_aio_producer_whose_loop_stands_still():
    seen = []

    async def main():
        producer = KafkaProducer(properties(NOWHERE, QUIET, {"stats_cb": seen.append}, statistics_interval_ms=1))
        time.sleep(2)           # blocks the loop
        assert seen == []
        await asyncio.sleep(0.2)
        assert 32 <= len(seen) < 1200
        before = len(seen)
        while len(seen) < before + 10:      # and the loop is called again
            await asyncio.sleep(0.01)
        await producer.close(0)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_late_report_reaches_an_idle_synchronous_producer(cluster, topic):
    with KafkaSyncProducer(properties(cluster, QUIET)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"warm"), 10)
        cluster.set_rtt(1, 1)
        with pytest.raises(TimeoutError):
            producer.send(ProducerRecord(topic, 0, value=b"v"), 0.1)
        batches = []
        batch = producer.send_batch(topic, [b"v"], partition=0, callback=batches.append, timeout=0.1)
        wait_for(lambda: len(producer) == 0)
        assert batch.done and batches == [batch]


def test_a_log_handler_that_waits_for_the_thread_that_sends(broker, topic):
    """As with logging, whose handler holds a lock while it sends what it was given to Kafka."""
    lock, waiting = threading.Lock(), threading.Event()

    def log_cb(*args):
        waiting.set()
        with lock:
            pass

    with lock:
        with KafkaSyncProducer(properties(broker, {"debug": "all", "log_cb": log_cb})) as producer:
            assert waiting.wait(10)
            for _ in range(3):
                assert producer.send(ProducerRecord(topic, 0, value=b"v"), 10).topic == topic
            lock.release()
        lock.acquire()


def test_callbacks_of_an_idle_producer_may_not_wait_for_it():
    raised = []

    def log_cb(*args):
        made.wait(10)
        for call in (producer.close, producer.flush, lambda: producer.fetch_broker_metadata("t"),
                     lambda: producer.send(ProducerRecord("t", value=b"v"))):
            try:
                call()
            except BaseException as exc:        # noqa: BLE001 - the test looks at it
                raised.append(exc)
        done.set()

    made, done = threading.Event(), threading.Event()
    with KafkaSyncProducer(properties(NOWHERE, {"log_cb": log_cb})) as producer:
        made.set()
        assert done.wait(10)
    assert [type(exc) for exc in raised[:4]] == [RuntimeError] * 4 and all("callback" in str(exc) for exc in raised)


@pytest.mark.parametrize("name", ["log_cb", "error_cb", "stats_cb"])
def test_what_a_callback_of_an_idle_producer_raises(name, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: seen.append(type(args.exc_value)))

    def callback(*args):
        raise KeyboardInterrupt if len(seen) % 2 else KeyError

    with KafkaSyncProducer({**properties(NOWHERE, QUIET, statistics_interval_ms=50), name: callback}):
        wait_for(lambda: {KeyError, KeyboardInterrupt} <= set(seen), 30)


FORKS = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from kafkapp import KafkaSyncProducer
reader, writer = os.pipe()
parent, child, calls = os.getpid(), [], []
def log_cb(*args):
    if os.getpid() != parent:
        os.write(writer, b"child ")
    elif not child:
        pid = os.fork()
        if pid:
            child.append(pid)
    calls.append(args)
producer = KafkaSyncProducer({"bootstrap.servers": "127.0.0.1:1", "debug": "all", "log_cb": log_cb, "error_cb": lambda error: None})
end = time.monotonic() + 20
while (not child or len(calls) < 50) and time.monotonic() < end:
    time.sleep(0.01)
pid, status = 0, 1
while not pid and time.monotonic() < end:
    pid, status = os.waitpid(child[0], os.WNOHANG)
    time.sleep(0.01)
os.close(writer)
producer.close(0)
print(pid == child[0], status, os.read(reader, 100), len(calls) >= 50)
"""


def test_a_callback_of_an_idle_producer_that_forks():
    assert run_python(FORKS, timeout=60) == "True 0 b'' True\n"


@pytest.mark.parametrize("kind", ["KafkaSyncProducer(p)", "KafkaAsyncProducer(p, EventsPollingOption.Manual)"])
def test_a_process_ends_beside_an_idle_producer(kind):
    code = f"""
import atexit, os, sys, time, warnings
warnings.simplefilter("ignore")
if sys.argv[1] == "late":
    atexit.register(lambda: made.append({kind}))        # runs after kafkapp's own
from kafkapp import *
p = {{"bootstrap.servers": "127.0.0.1:1", "statistics.interval.ms": 1, "stats_cb": len, "log_cb": lambda *args: None,
     "error_cb": lambda error: None}}
made = []
if sys.argv[1] != "late":
    made.append({kind})
    time.sleep(0.6)
if sys.argv[1] == "fork":
    if os.fork() == 0:
        sys.exit(0)
    assert os.wait()[1] == 0
"""
    for when in "open", "fork", "late":
        assert run_python(code, when, timeout=60) == ""


@pytest.mark.parametrize("make", [KafkaSyncProducer, manual])
def test_its_thread_ends_with_it(make):
    def tasks():
        return set(os.listdir("/proc/self/task"))

    if not os.path.exists("/proc/self/task"):
        pytest.skip("no /proc here")
    before = tasks()
    producer = make(properties(NOWHERE, QUIET))
    assert len(tasks() - before) >= 1
    producer.close(0)
    wait_for(lambda: not tasks() - before)
