"""A producer that ends with records undelivered says so, once, by a WARNING of logging.getLogger("kafkapp") with counts by topic."""
import asyncio
import gc
import logging
import re
import signal
import threading

import pytest
from helpers import HELD, NOWHERE, finish, properties, run_in_loop, start_python, wait_for

from kafkapp import EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord, aio

QUIET = {"log_cb": lambda *log: None, "error_cb": lambda error: None}
KINDS = {"auto": KafkaAsyncProducer, "manual": lambda made: KafkaAsyncProducer(made, EventsPollingOption.Manual), "sync": KafkaSyncProducer}
kinds = pytest.mark.parametrize("kind", KINDS)
THREE = "3 records are not known to be delivered"


class Sub(KafkaAsyncProducer):
    def __del__(self):
        super().__del__()


@pytest.fixture
def lines(caplog):
    """What was logged; lines come from a thread of their own."""
    def said():
        return wait_for(lambda: [record.getMessage() for record in caplog.records
                                 if record.name == "kafkapp" and record.levelno == logging.WARNING])

    caplog.set_level(logging.WARNING, "kafkapp")
    return said


def fill(producer):
    """Three records in two topics: with a callback or without, one of a batch."""
    if not isinstance(producer, KafkaSyncProducer):
        producer.send(ProducerRecord("a", value=b"v"))
        producer.send(ProducerRecord("b", value=b"v"), lambda metadata, error: None)
        producer.send_batch("a", [b"v"])
        return producer
    for topic in "aba":
        with pytest.raises(TimeoutError):
            producer.send(ProducerRecord(topic, value=b"v"), 0)
    return producer


@kinds
def test_a_close_that_timed_out_says_what_it_purged(lines, kind):
    producer = fill(KINDS[kind](properties(NOWHERE, QUIET)))
    producer.close(0.1)
    producer.close()
    assert lines() == [f"producer {producer.name}: close() timed out, and {THREE} (a: 2, b: 1); give it more time"]


@kinds
def test_a_close_in_time_and_a_purge_that_was_asked_for_say_nothing(lines, broker, topic, kind):
    with KINDS[kind](properties(broker)) as producer:
        producer.send(ProducerRecord(topic, value=b"v"))
    producer = fill(KINDS[kind](properties(NOWHERE, QUIET)))
    producer.purge()
    wait_for(lambda: kind != "auto" or not len(producer))
    producer.flush(10)
    producer.close(5)
    last = fill(KINDS[kind](properties(NOWHERE, QUIET)))
    last.close(0)         # the next line is this one's
    assert lines() == [f"producer {last.name}: close() timed out, and {THREE} (a: 2, b: 1); give it more time"]


@pytest.mark.parametrize("kind", [*KINDS, "subclass"])
def test_one_that_is_dropped_says_what_it_lost(lines, kind):
    producer = fill((KINDS | {"subclass": Sub})[kind](properties(NOWHERE, QUIET, message_timeout_ms=3000)))
    name = producer.name
    with pytest.warns(ResourceWarning, match=f"{name} was never closed: 3 records are outstanding"):
        del producer
        gc.collect()
    assert lines() == [f"producer {name}: it was never closed, and {THREE} (a: 2, b: 1); call close() before the program ends, or use `with`"]


def test_one_that_is_dropped_and_delivers_in_time_says_nothing(lines, broker, topic):
    producer = KafkaAsyncProducer(properties(broker, HELD))
    producer.send(ProducerRecord(topic, value=b"v"))
    with pytest.warns(ResourceWarning, match="1 records are outstanding"):
        del producer
        gc.collect()
    fill(KafkaAsyncProducer(properties(NOWHERE, QUIET))).close(0)
    assert "close() timed out" in lines()[0] and len(lines()) == 1


def test_an_interrupted_close_says_what_it_has_purged_and_counts_no_more(lines):
    """The callback of its first record blocks; then Ctrl-C. What fails later was no close's, and a close in time says nothing."""
    running, release = threading.Event(), threading.Event()

    def block(metadata, error):
        running.set()
        assert release.wait(60)

    def interrupt():
        assert running.wait(60)     # now close() has purged, and waits for this callback
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET))
    for number in range(3):
        producer.send("a", b"v", callback=block if number == 0 else None)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        try:
            producer.close(0)
        finally:
            release.set()
            interrupter.join(60)
    assert not producer.closed
    wait_for(lambda: not len(producer))
    producer.send("b", b"v")
    producer.purge()
    wait_for(lambda: not len(producer))
    producer.close(60)
    last = fill(KafkaAsyncProducer(properties(NOWHERE, QUIET)))
    last.close(0)         # the line after the first one is this one's
    wait_for(lambda: len(lines()) == 2)
    assert re.fullmatch(rf"producer {producer.name}: close\(\) timed out, and 3 records are not known to be delivered \(.*\); give it more time", lines()[0])
    assert lines()[1] == f"producer {last.name}: close() timed out, and {THREE} (a: 2, b: 1); give it more time"


def test_asyncio_a_cancelled_close_says_what_it_has_purged_and_counts_no_more(lines):
    async def go():
        producer = aio.KafkaProducer(properties(NOWHERE, QUIET))
        purge, first = producer.purge, producer.send("a", b"v")

        def purge_and_cancel():
            purge()
            closing.cancel()

        producer.purge = purge_and_cancel
        closing = asyncio.ensure_future(producer.close(0))
        with pytest.raises(asyncio.CancelledError):
            await closing
        del producer.purge
        second = producer.send("b", b"v")
        producer.purge()
        for future in first, second:
            with pytest.raises(KafkaException, match="Purged"):
                await future
        await producer.close(60)

    run_in_loop(go(), 100)
    last = fill(KafkaAsyncProducer(properties(NOWHERE, QUIET)))
    last.close(0)         # the line after the first one is this one's
    wait_for(lambda: len(lines()) == 2)
    assert "close() timed out, and 1 records are not known to be delivered" in lines()[0] and last.name in lines()[1]


def test_many_topics_are_summed_up(lines):
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET))
    for number in range(15):
        producer.send_batch(f"t{number:02}", [b"v"] * (20 - number))
    producer.close(0)
    assert re.search(r"195 records are .* \(t00: 20, t01: 19, .*, t09: 11, 5 other topics: 40\); ", lines()[0])


@pytest.mark.parametrize("end", ["close", "drop"])
def test_asyncio_counts_what_waits_for_room(lines, end):
    async def go():
        producer = aio.KafkaProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=2, message_timeout_ms=300))
        futures = [producer.send(ProducerRecord("a", value=b"v")), producer.send_batch("b", [b"v"] * 5), producer.send(ProducerRecord("c"))]
        if end == "close":
            await producer.close(0)
        else:
            with pytest.warns(ResourceWarning, match="7 records are outstanding"):
                del producer
                gc.collect()
        for future in futures:
            await futures[1]
            if future is not futures[1]:
                with pytest.raises(Exception, match="Local: "):
                    await future

    run_in_loop(go())
    assert "7 records are not known to be delivered (b: 5, a: 1, c: 1)" in lines()[0] and len(lines()) == 1


# -- at exit -------------------------------------------------------------------------------------------------------------

AT_EXIT = """
import asyncio, sys
from kafkapp import *
from kafkapp.aio import KafkaProducer
kind, bootstrap = sys.argv[1:]
made = {"bootstrap.servers": bootstrap, "log_cb": lambda *log: None, "error_cb": lambda error: None, "message.timeout.ms": 3000}
if kind == "aio":
    made["queue.buffering.max.messages"] = 1
    async def go():
        global producer, futures
        producer = KafkaProducer(made)
        futures = [producer.send(ProducerRecord(topic, value=b"v")) for topic in "aba"]
    asyncio.run(go())
else:
    producer = KafkaAsyncProducer(made, EventsPollingOption[kind])
    for topic in "aba":
        producer.send(ProducerRecord(topic, value=b"v"))
"""
ENDS = {"end": "", "logging before": "import logging; logging.basicConfig(format='%(message)s')\n",
        "logging ended": "import atexit, logging, logging.handlers; atexit.register(logging.shutdown)\n",
        "logging gone": "import logging, sys, atexit; atexit.register(lambda: setattr(logging, 'getLogger', None))\n"}


@pytest.mark.parametrize("kind, end", [*(("Auto", end) for end in ENDS), ("Manual", "end"), ("aio", "end")])
def test_a_program_that_ends_with_records_in_flight_says_so(kind, end):
    process = start_python(AT_EXIT + ENDS[end], kind, NOWHERE)
    out, err = finish(process, 60)
    assert (process.returncode, out) == (0, ""), err
    if end == "logging gone":
        assert "Traceback" in err and "not callable" in err
        return
    said = re.findall(f"producer .*: it was never closed, and {THREE} \\(a: 2, b: 1\\); call close\\(\\) .*", err)
    assert len(said) == 1 and (kind == "aio" or err.splitlines() == said), err       # aio's futures say more


def test_waiting_records_of_an_ended_loop_are_delivered_at_exit(broker, topic):
    process = start_python(AT_EXIT.replace('"aba"', "[sys.argv[2]] * 3").replace("kind, bootstrap = sys.argv[1:]", "kind, _, bootstrap = sys.argv[1:]"),
                           "aio", topic, broker.bootstrap_servers)
    assert finish(process, 60) == ("", "") and process.returncode == 0
    from helpers import consume

    assert len(consume(broker, topic, 3)) == 3
