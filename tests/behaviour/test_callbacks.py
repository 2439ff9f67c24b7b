"""Delivery callbacks: those that raise, those that call the producer, and reports for failures only."""
import gc
import sys
import threading
import weakref

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, properties

from kafkapp import (
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    ProducerRecord,
)

Auto, Manual = EventsPollingOption.Auto, EventsPollingOption.Manual


class Interrupt(BaseException):
    """Not an Exception: what `except Exception` would let through."""


@pytest.fixture
def unraisable(monkeypatch):
    """What was given to sys.unraisablehook."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))
    return seen


def raising(reports, *exceptions):
    """A callback that records, then raises the exception whose turn it is."""
    turns = iter(exceptions)

    def callback(metadata, error):
        reports(metadata, error)
        exception = next(turns, None)
        if exception is not None:
            raise exception

    return callback


@pytest.mark.parametrize("end", ["poll_events", "flush", "close"])
def test_manual_raises_what_a_callback_raised_after_running_all(broker, topic, end):
    reports, mine = Reports(), ZeroDivisionError("mine")
    producer = KafkaAsyncProducer(properties(broker, HELD), Manual)
    callback = raising(reports, mine)
    for number in range(5):
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number), callback)
    with pytest.raises(ZeroDivisionError) as caught:
        if end == "poll_events":
            producer.purge()
            while len(producer):
                producer.poll_events(5)
        else:
            getattr(producer, end)(10)
    assert caught.value is mine
    assert sorted(reports.ids) == list(range(5)) and len(producer) == 0
    producer.close(10)
    assert len(reports) == 5


@pytest.mark.parametrize("end", ["flush", "close"])
def test_manual_raises_an_exception_group_when_several_raised(broker, topic, end):
    reports, mine = Reports(), [ZeroDivisionError("one"), KeyError("two"), ZeroDivisionError("three")]
    producer = KafkaAsyncProducer(properties(broker, HELD), Manual)
    callback = raising(reports, *mine)
    for number in range(5):
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number), callback)
    with pytest.raises(ExceptionGroup) as caught:
        getattr(producer, end)(10)
    assert list(caught.value.exceptions) == mine
    assert reports.ids == list(range(5))
    producer.close(10)


def test_manual_keeps_base_exceptions(broker, topic):
    for exceptions, expected in (([Interrupt("one")], Interrupt),
                                 ([Interrupt("one"), KeyError("two")], BaseExceptionGroup)):
        reports = Reports()
        with KafkaAsyncProducer(properties(broker, HELD), Manual) as producer:
            callback = raising(reports, *exceptions)
            for _ in range(3):
                producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
            with pytest.raises(expected) as caught:
                producer.flush(10)
        assert len(reports) == 3
        assert list(getattr(caught.value, "exceptions", [caught.value])) == exceptions


def test_an_exception_is_raised_once(broker, topic):
    with KafkaAsyncProducer(properties(broker), Manual) as producer:
        producer.send(ProducerRecord(topic, value=b"v"), raising(Reports(), ValueError("once")))
        with pytest.raises(ValueError):
            producer.flush(10)
        producer.flush(10)
        assert producer.poll_events(0) == 0


def test_close_that_times_out_raises_what_the_callbacks_raised_and_is_closed(topic):
    reports, mine = Reports(), [KeyError(number) for number in range(3)]
    producer = KafkaAsyncProducer(properties(NOWHERE), Manual)
    callback = raising(reports, *mine)
    for _ in range(3):
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
    with pytest.raises(ExceptionGroup) as caught:
        producer.close(0)
    assert list(caught.value.exceptions) == mine and len(reports) == 3
    producer.close()
    with pytest.raises(RuntimeError):
        producer.send(ProducerRecord(topic, value=b"v"))


def test_auto_hands_every_exception_to_the_unraisable_hook_and_goes_on(broker, topic, unraisable):
    reports = Reports()
    mine = [ZeroDivisionError(), Interrupt(), SystemExit(3), KeyboardInterrupt(), KeyError()]
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        callback = raising(reports, *mine)
        for number in range(8):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), callback)
        producer.flush(10)
        producer.send(ProducerRecord(topic, 0, value=b"v", id=8), callback)
        producer.flush(10)
    assert reports.ids == list(range(9))
    assert unraisable == mine


def test_a_callback_of_the_wrong_signature_loses_nothing_else(broker, topic, unraisable):
    reports = Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), lambda: None)
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
    assert [type(error) for error in unraisable] == [TypeError]
    assert reports.codes == [None]


BLOCKING = {
    "flush": lambda producer, topic: producer.flush(5),
    "close": lambda producer, topic: producer.close(5),
    "purge": lambda producer, topic: producer.purge(),
    "poll_events": lambda producer, topic: producer.poll_events(1),
    "fetch_broker_metadata": lambda producer, topic: producer.fetch_broker_metadata(topic, 5),
    "with": lambda producer, topic: producer.__exit__(None, None, None),
    "begin_transaction": lambda producer, topic: producer.begin_transaction(),
    "commit_transaction": lambda producer, topic: producer.commit_transaction(5),
}


@pytest.mark.parametrize("polling", [Auto, Manual])
@pytest.mark.parametrize("call", [name for name in BLOCKING if not name.endswith("transaction") or
                                  hasattr(KafkaAsyncProducer, name)])
def test_blocking_calls_inside_a_callback_raise_at_once(broker, topic, polling, call):
    outcome, reports = [], Reports()

    def callback(metadata, error):
        with Stopwatch() as watch:
            try:
                outcome.append(BLOCKING[call](producer, topic))
            except BaseException as raised:      # noqa: BLE001 - the test looks at it
                outcome.append(raised)
        outcome.append(watch.seconds)
        reports(metadata, error)

    with KafkaAsyncProducer(properties(broker), polling) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        producer.flush(10)
        assert len(reports) == 1
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)        # it works on
    error, seconds = outcome
    assert type(error) is RuntimeError
    assert "callback" in str(error) or (call, polling) == ("poll_events", Auto)
    assert seconds < 0.2
    assert reports.codes == [None, None]


@pytest.mark.parametrize("polling", [Auto, Manual])
def test_a_callback_may_send(broker, topic, polling):
    reports = Reports()

    def again(metadata, error):
        reports(metadata, error)
        if metadata.record_id < 5:
            producer.send(ProducerRecord(topic, 0, value=b"v", id=metadata.record_id + 1), again)
        else:
            assert producer.try_send(ProducerRecord(topic, 0, value=b"v", id=99), reports) is None

    with KafkaAsyncProducer(properties(broker), polling) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v", id=0), again)
        with Stopwatch() as watch:
            while len(reports) < 7:
                producer.flush(10)          # of what has been sent so far
                assert watch.seconds < 10
    assert reports.ids == [0, 1, 2, 3, 4, 5, 99]


@pytest.mark.parametrize("polling", [Auto, Manual])
def test_a_send_inside_a_callback_never_blocks(broker, topic, polling):
    outcome, reports = [], Reports()

    def callback(metadata, error):
        with Stopwatch() as watch:
            while True:                 # the queue holds two: fill it, whatever this record's own place counts
                try:
                    producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
                except BaseException as raised:      # noqa: BLE001 - the test looks at it
                    outcome.append(raised)
                    break
        outcome.append(watch.seconds)

    with KafkaAsyncProducer(properties(broker, HELD, queue_buffering_max_messages=2), polling) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        producer.flush(10)
        producer.purge()
    error, seconds = outcome
    assert isinstance(error, BufferError) and error.error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
    assert seconds < 1
    assert len(reports) in (1, 2)


@pytest.mark.parametrize("polling", [Auto, Manual])
def test_a_callback_may_use_other_producers_a_synchronous_one_too(broker, topic, polling):
    outcome, others = [], Reports()

    def callback(metadata, error):
        try:
            outcome.append(sync.send(ProducerRecord(topic, 1, value=b"v"), 10).offset)
            other.send(ProducerRecord(topic, 2, value=b"v"), others)
            other.flush(10)
            outcome.append(len(others))
        except BaseException as raised:      # noqa: BLE001 - the test looks at it
            outcome.append(raised)

    with (KafkaSyncProducer(properties(broker)) as sync, KafkaAsyncProducer(properties(broker), polling) as other,
          KafkaAsyncProducer(properties(broker), polling) as producer):
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        producer.flush(10)
    assert outcome == [0, 1]


def test_another_thread_may_flush_while_a_callback_runs(broker, topic):
    entered, leave, flushed = threading.Event(), threading.Event(), []

    def callback(metadata, error):
        entered.set()
        leave.wait(10)

    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        assert entered.wait(10)
        with pytest.raises(TimeoutError):
            producer.flush(0.2)
        thread = threading.Thread(target=lambda: flushed.append(producer.flush(10)))
        thread.start()
        leave.set()
        thread.join(10)
    assert flushed == [None]


@pytest.mark.parametrize("polling", [Auto, Manual])
def test_reports_for_failures_only(broker, topic, polling):
    reports, value = Reports(), bytearray(b"value")
    with KafkaAsyncProducer(properties(broker, {"delivery.report.only.error": True}, HELD), polling) as producer:
        for _ in range(10):
            producer.send(ProducerRecord(topic, 0, value=value), reports)
        producer.flush(10)
        assert len(producer) == 0 and len(reports) == 0
        value.append(0)                     # every buffer is released all the same
        producer.send(ProducerRecord(topic, 0, value=value, id="bad"), reports)
        producer.purge()
        producer.flush(10)
        value.append(0)
    assert reports.ids == ["bad"]
    assert reports.codes == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]


def test_reports_for_failures_only_do_not_starve_a_synchronous_producer(broker, topic):
    with KafkaSyncProducer(properties(broker, {"delivery.report.only.error": "true"})) as producer:
        assert producer.send(ProducerRecord(topic, 0, value=b"v"), 10).offset == 0


def test_callback_record_id_and_value_are_released_after_the_report(broker, topic):
    class Thing(bytearray):
        pass

    def callback(metadata, error):
        pass

    value, mark = Thing(b"v"), Thing(b"id")
    watched = [weakref.ref(value), weakref.ref(mark), weakref.ref(callback)]
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value, id=mark), callback)
        del value, mark, callback
        gc.collect()
        assert all(reference() is not None for reference in watched)
        producer.flush(10)
        gc.collect()
        assert [reference() for reference in watched] == [None] * 3


def test_a_refused_record_lets_everything_go(broker, topic):
    def callback(metadata, error):
        pass

    value = bytearray(2_000_000)
    before = sys.getrefcount(callback)
    with KafkaAsyncProducer(properties(broker)) as producer:
        record = ProducerRecord(topic, 0, value=value, headers=[("h", b"v")])
        for _ in range(20):
            with pytest.raises(KafkaException):
                producer.send(record, callback)
        assert sys.getrefcount(callback) == before
        value.append(0)


def test_callbacks_of_the_background_thread_are_traced_and_profiled(broker, topic):
    # As in a thread that threading starts: coverage and debuggers rely on it.
    seen = set()

    def callback(metadata, error):
        pass

    def watch(frame, event, arg):
        if frame.f_code is callback.__code__:
            seen.add(event)
        return watch

    threading.settrace(watch)
    threading.setprofile(watch)
    try:
        with KafkaAsyncProducer(properties(broker)) as producer:
            producer.send(ProducerRecord(topic, value=b"v"), callback)
    finally:
        threading.settrace(None)
        threading.setprofile(None)
    assert {"line", "return"} <= seen
