"""Invalid calls: the rows of the numbered fault list on callbacks, options, a producer's life and timeouts.

The ids are the list's numbers. Refused by the call, which says why; nothing is queued, and the producer is as it was.
"""
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from helpers import held_for_records

from kafkapp import (
    ActionWhileQueueIsFull,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    ProducerRecord,
)

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "linger.ms": 60000}


def new_producer(kind, properties=NOWHERE):
    return (KafkaSyncProducer(properties) if kind == "sync" else
            KafkaAsyncProducer(properties, EventsPollingOption[kind.title()]))


@pytest.fixture(params=["auto", "manual", "sync"])
def producer(request):
    """A producer without brokers: what it accepts stays queued until it is purged."""
    producer = new_producer(request.param)
    yield producer
    producer.close(0)


# -- callbacks and options ---------------------------------------------------------------------------------------------

SENDS = {
    "101": (lambda: {"callback": 5}, TypeError, "callback|callable|int"),
    "101-str": (lambda: {"callback": "print"}, TypeError, "callback|callable|str"),
    "101-false": (lambda: {"callback": False}, TypeError, "callback|callable|bool"),
    "105": (lambda: {"option": "copy"}, TypeError, "option|SendOption|copy"),
    "105-int": (lambda: {"option": 1}, TypeError, "option|SendOption"),
    "105-None": (lambda: {"option": None}, TypeError, "option|SendOption|None"),
    "105-other": (lambda: {"option": EventsPollingOption.Auto}, TypeError, "option|SendOption"),
    "105-action": (lambda: {"action": True}, TypeError, "action|ActionWhileQueueIsFull"),
    "106": (lambda: {"colour": 1}, TypeError, "colour"),
    "111-send": (lambda: {"timeout": -5}, ValueError, "timeout|-5"), "113-send": (lambda: {"timeout": "1"}, TypeError, "timeout|str"),
}


@pytest.mark.parametrize("number", SENDS)
def test_send(number):
    make, kind, text = SENDS[number]
    names = make()
    held = bytearray(b"held")
    with KafkaAsyncProducer(NOWHERE) as producer:
        sends = [producer.send] + [producer.try_send] * (not names.keys() & {"action", "timeout"})
        for send in sends:
            for _ in range(4):
                with pytest.raises(kind) as caught:
                    send(ProducerRecord("t", key=held, value=held), **names)
                assert type(caught.value) is kind
                for word in text.split("|"):
                    assert word in str(caught.value), str(caught.value)
                del caught
        assert not held_for_records(producer) and len(producer) == 0
    held.append(1)


def test_103_a_coroutine_function_as_callback():
    """The synchronous producer has no callbacks; elsewhere Python itself says that nobody awaited it."""
    async def callback(metadata, error):
        pass

    with KafkaSyncProducer(NOWHERE) as producer, pytest.raises(TypeError, match="timeout must be seconds"):
        producer.send(ProducerRecord("t"), callback)
    producer = KafkaAsyncProducer(NOWHERE, EventsPollingOption.Manual)
    producer.send(ProducerRecord("t"), callback)
    with pytest.warns(RuntimeWarning, match="never awaited"):
        producer.close(0)


def test_102_a_callback_of_the_wrong_arity():
    producer = KafkaAsyncProducer(NOWHERE, EventsPollingOption.Manual)
    producer.send(ProducerRecord("t", value=bytearray(b"v")), lambda metadata: None)
    producer.purge()
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        producer.poll_events(10)
    assert not held_for_records(producer)
    producer.close(0)


def test_104_no_callback():
    with KafkaAsyncProducer(NOWHERE, EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord("t", value=bytearray(b"v")), None)
        producer.purge()
        assert producer.poll_events(10) == 1 and not held_for_records(producer)
        producer.close(0)


# -- timeouts ----------------------------------------------------------------------------------------------------------

TIMEOUTS = {
    "111": (-5, ValueError, "timeout|at least 0|-5"), "111-small": (-1e-9, ValueError, "timeout|-1e-09"),
    "111-inf": (float("-inf"), ValueError, "timeout|-inf"), "111-delta": (timedelta(seconds=-1), ValueError, "timeout"),
    "112": (float("nan"), ValueError, "timeout|nan"), "113": ("1", TypeError, "timeout|seconds|str"),
    "113-bool": (True, TypeError, "timeout|bool"), "113-list": ([], TypeError, "timeout|list"),
    "113-bytes": (b"1", TypeError, "timeout|bytes"), "113-complex": (1j, TypeError, "timeout|complex"),
}
WAITS = {
    "flush": lambda producer, timeout: producer.flush(timeout), "close": lambda producer, timeout: producer.close(timeout),
    "metadata": lambda producer, timeout: producer.fetch_broker_metadata("t", timeout),
    "poll_events": lambda producer, timeout: producer.poll_events(timeout),
    "send": lambda producer, timeout: producer.send(ProducerRecord("t", value=b"v"), timeout=timeout),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("number", TIMEOUTS)
def test_timeout(producer, number, wait):
    timeout, kind, text = TIMEOUTS[number]
    if wait == "poll_events" and not hasattr(producer, "poll_events"):
        return
    with pytest.raises(kind) as caught:
        WAITS[wait](producer, timeout)
    for word in text.split("|"):
        assert word in str(caught.value)
    assert not held_for_records(producer) and "closed" not in repr(producer)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e300, 10**18, timedelta.max, 0, 0.0001, timedelta(0)],
                         ids=["114", "112-inf", "112-1e300", "112-huge", "112-delta", "0", "tiny", "0-delta"])
def test_timeout_that_will_do(producer, timeout):
    producer.flush(timeout)
    producer.close(timeout)
    assert "closed" in repr(producer)


def test_112_a_number_that_no_float_holds(producer):
    with pytest.raises(OverflowError):
        producer.flush(10**400)
    producer.flush(0)


# -- the life of a producer --------------------------------------------------------------------------------------------

CLOSED = {"109": lambda it: it.send(ProducerRecord("t", value=bytearray(b"v"))),
          "109-purge": lambda it: it.purge(), "109-with": lambda it: it.__enter__(),
          "109-metadata": lambda it: it.fetch_broker_metadata("t", 1)}
CLOSED_ASYNC = {"109-try_send": lambda it: it.try_send(ProducerRecord("t", value=b"v"), print),
                "119": lambda it: it.poll_events(), "119-wait": lambda it: it.poll_events(None)}


@pytest.mark.parametrize("number", CLOSED | CLOSED_ASYNC)
@pytest.mark.parametrize("kind", ["auto", "manual", "sync"])
def test_after_close(kind, number):
    if number in CLOSED_ASYNC and kind == "sync":
        return
    producer = new_producer(kind)
    producer.close()
    producer.close()                    # 115
    with pytest.raises(RuntimeError, match="with Auto|closed"):
        (CLOSED | CLOSED_ASYNC)[number](producer)
    producer.close(0)
    assert len(producer) == 0 and not held_for_records(producer) and producer.get_property("linger.ms") == "60000"


def test_110_sends_while_another_thread_closes():
    """Each record is accepted and reported, or refused: none is lost between the two."""
    for _ in range(5):
        producer = new_producer("auto")
        accepted, reported = [0] * 4, []
        started = threading.Barrier(5)

        def push(i, producer=producer, accepted=accepted, reported=reported, started=started):
            started.wait(10)
            try:
                while True:
                    producer.send(ProducerRecord(f"t{i}", value=bytearray(b"v")), lambda *report: reported.append(report))
                    accepted[i] += 1
            except RuntimeError as exc:
                assert "closed" in str(exc)

        threads = [threading.Thread(target=push, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        started.wait(10)
        producer.close(0)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert sum(accepted) == len(reported) and not held_for_records(producer)
        del push, threads


IN_CALLBACK = {"116": lambda it: it.close(), "116-with": lambda it: it.__exit__(None, None, None), "117": lambda it: it.flush(1),
               "117-purge": lambda it: it.purge(), "117-metadata": lambda it: it.fetch_broker_metadata("t", 1),
               "117-poll": lambda it: it.poll_events(1)}


@pytest.mark.parametrize("number", IN_CALLBACK)
@pytest.mark.parametrize("kind", ["auto", "manual"])
def test_in_a_callback(kind, number):
    producer, raised = new_producer(kind), []

    def callback(metadata, error):
        try:
            IN_CALLBACK[number](producer)
        except RuntimeError as exc:
            raised.append(str(exc))

    producer.send(ProducerRecord("t", value=b"v"), callback)
    producer.purge()
    producer.flush(10)
    producer.close(10)
    assert len(raised) == 1 and ("callback" in raised[0] or "Manual" in raised[0])


def test_118_to_121_polling_and_blocking():
    properties = {**NOWHERE, "queue.buffering.max.messages": 1}
    with KafkaAsyncProducer(properties) as auto, pytest.raises(RuntimeError, match=r"poll_events\(\) is for .*Manual"):
        auto.poll_events()
    for kind in ("auto", "manual"):
        producer, calls = new_producer(kind, properties), []

        def callback(*report, calls=calls):
            calls.append(report)

        held = bytearray(b"v")
        producer.send(ProducerRecord("t", value=b"first"))
        if kind == "manual":
            with pytest.raises(RuntimeError, match="poll_events"):      # 120
                producer.send(ProducerRecord("t", value=held), callback, action=ActionWhileQueueIsFull.Block)
        before = time.monotonic()
        with pytest.raises(BufferError, match="queue.buffering.max.messages is 1") as caught:
            producer.send(ProducerRecord("t", value=held), callback, action=ActionWhileQueueIsFull.NoBlock)
        assert isinstance(caught.value, KafkaException)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL and time.monotonic() - before < 5
        if kind == "auto":
            with pytest.raises(BufferError):
                producer.send(ProducerRecord("t", value=held), callback, timeout=0.05)
        assert len(producer) == 1 and producer._ledger()["buffers"] == 0
        held.append(1)
        producer.purge()
        producer.close(10)
        assert not calls


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_122_in_a_forked_child():
    code = """
import os, sys
from kafkapp import *
producer = KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
pid = os.fork()
if pid == 0:
    calls = 0
    for call in (lambda: producer.send(ProducerRecord("t")), producer.flush, producer.close, producer.purge):
        try:
            call()
        except RuntimeError as exc:
            calls += "another process" in str(exc)
    os._exit(calls)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
producer.close(0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


TRANSACTIONS = {
    "123": ({}, lambda it: it.init_transactions(30), ErrorCode.RD_KAFKA_RESP_ERR__NOT_CONFIGURED),
    "123-begin": ({}, lambda it: it.begin_transaction(), ErrorCode.RD_KAFKA_RESP_ERR__NOT_CONFIGURED),
    "124": ({"transactional.id": "x"}, lambda it: it.begin_transaction(), ErrorCode.RD_KAFKA_RESP_ERR__STATE),
    "125": ({"transactional.id": "x"}, lambda it: it.send(ProducerRecord("t", value=b"v")), ErrorCode.RD_KAFKA_RESP_ERR__STATE),
}


@pytest.mark.parametrize("number", TRANSACTIONS)
@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_transaction(kind, number):
    properties, call, code = TRANSACTIONS[number]
    producer = new_producer(kind, NOWHERE | {"linger.ms": 0} | properties)
    if number != "125" and not hasattr(producer, "begin_transaction"):
        producer.close(0)
        pytest.skip("no transactions yet")
    with pytest.raises(KafkaException) as caught:
        call(producer)
    assert caught.value.error.code == code and not held_for_records(producer)
    producer.close(0)


def test_126_the_body_of_with_raises(producer):
    with pytest.raises(LookupError, match="mine"), producer:
        raise LookupError("mine")
    assert "closed" in repr(producer)


def test_127_a_producer_that_nobody_closes():
    producer, reports = new_producer("auto", NOWHERE | {"message.timeout.ms": 50, "linger.ms": 0}), []
    producer.send(ProducerRecord("t", value=b"v"), lambda *report: reports.append(report))
    with pytest.warns(ResourceWarning, match="never closed"):
        del producer
    assert len(reports) == 1 and reports[0][1]


def test_128_many_threads(broker, topic):
    """One producer for all: safe, and each report comes once."""
    with KafkaAsyncProducer({"bootstrap.servers": broker.bootstrap_servers}) as producer:
        reports = []
        threads = [threading.Thread(target=lambda i=i: [producer.send(
            ProducerRecord(topic, value=b"v", id=(i, j)), lambda metadata, error: reports.append((metadata.record_id, error)))
            for j in range(200)]) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(reports) == [((i, j), None) for i in range(4) for j in range(200)]


@pytest.mark.parametrize("what", [None, b"t", 5], ids=["130-None", "130-bytes", "130-int"])
def test_metadata_of_no_topic(producer, what):
    with pytest.raises(TypeError, match="topic must be a str"):
        producer.fetch_broker_metadata(what)


@pytest.mark.parametrize(("what", "kind"), [("", KafkaException), ("t" * 513, KafkaException), ("a\0b", ValueError),
                                            ("\ud800", ValueError)], ids=["46", "52", "49", "50"])
def test_metadata_of_a_bad_topic(producer, what, kind):
    with pytest.raises(kind, match="topic") as caught:
        producer.fetch_broker_metadata(what, 1)
    assert type(caught.value) is not UnicodeEncodeError and isinstance(caught.value, ValueError)
    assert producer._ledger()["topics"] == 0


def test_130_no_time_for_metadata(producer):
    before = time.monotonic()
    with pytest.raises(KafkaException) as caught:
        producer.fetch_broker_metadata("t", 0)
    assert caught.value.error.code in (ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT)
    assert time.monotonic() - before < 5 and producer._ledger()["outstanding"] == 0


@pytest.mark.parametrize("name", [None, b"acks", 5], ids=repr)
def test_get_property_of_no_name(producer, name):
    with pytest.raises(TypeError, match="name"):
        producer.get_property(name)
    assert producer.get_property("no.such") is None is producer.get_property("a\0b")
    assert producer.get_property("\ud800") is None
