"""close() while other threads use the producer: every call ends, every record is reported before close() returns."""
import threading

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, properties, run_python, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord

QUIET = {"log_cb": lambda *args: None}
both = pytest.mark.parametrize("polling", [EventsPollingOption.Auto, EventsPollingOption.Manual])


class Call(threading.Thread):
    """A call in a thread of its own; `outcome` is what it returned or raised."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.outcome = "no outcome"
        self.start()

    def run(self):
        try:
            self.outcome = self.function(*self.args)
        except BaseException as error:      # noqa: BLE001 - the test looks at it
            self.outcome = error

    def end(self, timeout=10):
        self.join(timeout)
        assert not self.is_alive(), f"{self.function} goes on"
        return self.outcome


def away(polling, reports, count=100):
    """A producer with records that no broker takes."""
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET), polling)
    for number in range(count):
        producer.send(ProducerRecord("t", value=b"v", id=number), reports)
    return producer


@both
def test_several_threads_close_at_once(polling):
    reports, seen = Reports(), []
    producer = away(polling, reports)

    def close():
        producer.close(0.3)
        seen.append(len(reports))

    with Stopwatch() as watch:
        calls = [Call(close) for _ in range(4)]
        assert [call.end() for call in calls] == [None] * 4
    assert seen == [100] * 4
    assert watch.seconds < 3
    assert sorted(reports.ids) == list(range(100))


@both
def test_a_close_with_a_timeout_ends_one_without(polling):
    reports = Reports()
    producer = away(polling, reports)
    patient = Call(producer.close)
    patient.join(0.1)
    assert patient.is_alive()
    with Stopwatch() as watch:
        producer.close(0.2)
    assert watch.seconds < 2
    assert sorted(reports.ids) == list(range(100))
    assert patient.end(2) is None
    assert set(reports.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}


@both
def test_close_ends_a_flush_of_another_thread(polling):
    reports = Reports()
    producer = away(polling, reports)
    flush = Call(producer.flush)
    flush.join(0.1)
    assert flush.is_alive()
    producer.close(0.2)
    assert flush.end(2) is None or isinstance(flush.outcome, RuntimeError)
    assert len(reports) == 100


@pytest.mark.parametrize("kind", [KafkaAsyncProducer, lambda made: KafkaAsyncProducer(made, EventsPollingOption.Manual), KafkaSyncProducer],
                         ids=["auto", "manual", "sync"])
def test_a_producer_says_that_it_is_closed_and_flush_has_nothing_to_wait_for(broker, kind):
    """As logging.shutdown() flushes a handler whose producer is closed already."""
    producer = kind(properties(broker))
    assert producer.closed is False
    producer.close()
    assert producer.closed is True
    for timeout in None, 0, 5:
        assert producer.flush(timeout) is None
    with pytest.raises(TypeError):
        producer.flush("5")


def test_an_interrupted_close_leaves_it_open():
    assert run_python("""
import signal, sys
from kafkapp import KafkaSyncProducer, KafkaAsyncProducer, ProducerRecord
producer = KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "error_cb": lambda error: None})
producer.send(ProducerRecord("t", value=b"v"))
seen = []
def handler(*args):
    if producer.closed:         # else close() has not begun: again
        seen.append(True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.default_int_handler(*args)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
try:
    producer.close()
except KeyboardInterrupt:
    print(seen, producer.closed)
producer.close(0)
print(producer.closed)
""").split("\n")[:2] == ["[True] False", "True"]


@both
def test_a_flush_during_another_threads_close_waits_for_the_reports(polling):
    reports = Reports()
    producer = away(polling, reports)
    close = Call(producer.close)
    wait_for(lambda: producer.closed)
    flush = Call(producer.flush)
    with pytest.raises(KafkaException, match="flush\\(\\) timed out"):
        producer.flush(0.1)
    assert flush.is_alive() and close.is_alive()
    producer.close(0)
    assert flush.end(5) is None and close.end(5) is None and flush.outcome is None
    assert len(reports) == 100


@pytest.mark.parametrize("timeout", [None, 30])
def test_close_ends_a_poll_of_another_thread(broker, timeout):
    producer = KafkaAsyncProducer(properties(broker, HELD), EventsPollingOption.Manual)
    poll = Call(producer.poll_events, timeout)
    poll.join(0.1)
    assert poll.is_alive()
    producer.close(10)
    assert poll.end(2) == 0 or isinstance(poll.outcome, RuntimeError)


def test_close_ends_a_send_that_waits_for_room():
    reports, refused = Reports(), Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, queue_buffering_max_messages=1))
    producer.send(ProducerRecord("t", value=b"v"), reports)
    send = Call(producer.send, ProducerRecord("t", value=b"v"), refused)
    send.join(0.1)
    assert send.is_alive()
    producer.close(0.2)
    assert isinstance(send.end(2), RuntimeError) and not isinstance(send.outcome, KafkaException)
    assert len(reports) == 1 and len(refused) == 0


@both
def test_close_ends_the_wait_for_a_batch(polling):
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET), polling)
    batch = producer.send_batch("t", [b"v"] * 10)
    wait = Call(batch.wait)
    wait.join(0.1)
    assert wait.is_alive()
    producer.close(0.2)
    assert wait.end(2) is True
    assert batch.done and len(batch.failures()) == 10


@both
def test_close_ends_metadata_that_nobody_answers(polling):
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET), polling)
    fetch = Call(producer.fetch_broker_metadata, "t", 1)
    fetch.join(0.1)
    with Stopwatch() as watch:
        producer.close(0)
    assert watch.seconds < 2
    assert isinstance(fetch.end(3), (KafkaException, RuntimeError))


def test_a_callback_that_takes_its_time_holds_close_and_nothing_is_lost(broker, topic):
    reports, entered, leave = Reports(), threading.Event(), threading.Event()

    def slow(metadata, error):
        entered.set()
        assert leave.wait(10)
        reports(metadata, error)

    producer = KafkaAsyncProducer(properties(broker))
    producer.send(ProducerRecord(topic, 0, value=b"v"), slow)
    assert entered.wait(10)
    close = Call(producer.close, 0.1)
    close.join(0.3)
    assert close.is_alive(), "close() returned before the callback did"
    leave.set()
    assert close.end() is None
    assert len(reports) == 1


@both
def test_nothing_of_a_closed_producer_stays(broker, topic, polling):
    producer = KafkaAsyncProducer(properties(broker, HELD), polling)
    for _ in range(10):
        producer.send(ProducerRecord(topic, 0, value=bytearray(b"v")), Reports())
        producer.send_batch(topic, [bytearray(b"v")])
    producer.close()
    wait_for(lambda: producer._ledger()["outstanding"] == 0)
    assert {name: count for name, count in producer._ledger().items() if count} == {}
