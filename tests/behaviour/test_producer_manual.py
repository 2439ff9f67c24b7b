"""KafkaAsyncProducer with Manual polling: callbacks run only in poll_events, flush and close, on the calling thread."""
import threading
from datetime import timedelta

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, consume, properties

from kafkapp import (
    ActionWhileQueueIsFull,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    ProducerRecord,
)

FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL


def manual(bootstrap, *more, **named):
    return KafkaAsyncProducer(properties(bootstrap, *more, **named), EventsPollingOption.Manual)


def poll_until(producer, reports, count):
    """Poll until the reports are there and return what poll_events() counted on the way."""
    with Stopwatch() as watch:
        served = 0
        while len(reports) < count:
            served += producer.poll_events(0.1)
            assert watch.seconds < 10, f"{len(reports)} of {count} reports"
    return served


def test_callbacks_run_on_the_thread_that_polls(broker, topic):
    reports = Reports()
    with manual(broker) as producer:
        for number in range(100):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        assert poll_until(producer, reports, 100) == 100
    assert set(reports.threads) == {threading.get_ident()}
    assert reports.ids == list(range(100)) and reports.codes == [None] * 100


def test_nothing_runs_without_a_poll(broker, topic):
    reports = Reports()
    with manual(broker) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
        consume(broker, topic, 1)                          # the broker has it
        assert len(reports) == 0 and len(producer) == 1
        poll_until(producer, reports, 1)
        assert len(producer) == 0
    assert len(reports) == 1


def test_poll_events_counts_records_with_and_without_a_callback(broker, topic):
    with manual(broker) as producer:
        for callback in (None, lambda metadata, error: None):
            for _ in range(5):
                producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        served = 0
        while len(producer):
            served += producer.poll_events(1)
        assert served == 10


def test_poll_events_waits_no_longer_than_its_timeout(broker, topic):
    with manual(broker, HELD) as producer:
        with Stopwatch() as watch:
            assert producer.poll_events() == 0
            assert producer.poll_events(0) == 0
        assert watch.seconds < 0.1
        for timeout in (0.2, timedelta(milliseconds=200)):
            with Stopwatch() as watch:
                assert producer.poll_events(timeout) == 0
            assert 0.19 < watch.seconds < 0.6


@pytest.mark.parametrize("timeout", [10, None])
def test_poll_events_returns_with_the_first_report(broker, topic, timeout):
    reports = Reports()
    with manual(broker, linger_ms=100) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
        with Stopwatch() as watch:
            assert producer.poll_events(timeout) == 1
    assert watch.seconds < 5 and len(reports) == 1


def test_a_wrong_timeout_raises(broker):
    with manual(broker) as producer:
        for exception, timeout in ((ValueError, -1), (ValueError, float("nan")), (TypeError, "1")):
            with pytest.raises(exception, match="timeout"):
                producer.poll_events(timeout)


@pytest.mark.parametrize("arguments", [{}, {"timeout": 5}, {"action": ActionWhileQueueIsFull.NoBlock}], ids=str)
def test_send_never_blocks_and_raises_when_the_queue_is_full(broker, topic, arguments):
    accepted, refused = Reports(), Reports()
    with manual(broker, HELD, queue_buffering_max_messages=1) as producer:
        producer.send(ProducerRecord(topic, value=b"1"), accepted)
        with Stopwatch() as watch, pytest.raises(BufferError) as caught:
            producer.send(ProducerRecord(topic, value=b"2", headers=[("h", b"v")]), refused, **arguments)
        assert watch.seconds < 0.2
        assert isinstance(caught.value, KafkaException) and caught.value.error.code == FULL
        assert producer.try_send(ProducerRecord(topic, value=b"3"), refused).code == FULL
        assert len(producer) == 1
    assert accepted.codes == [None] and len(refused) == 0


def test_block_is_refused_since_nobody_else_would_make_room(broker, topic):
    with manual(broker) as producer:
        with pytest.raises(RuntimeError, match="poll_events"):
            producer.send(ProducerRecord(topic, value=b"v"), action=ActionWhileQueueIsFull.Block)
        assert len(producer) == 0


def test_polling_makes_room_in_a_full_queue(broker, topic):
    reports, full = Reports(), 0
    with manual(broker, queue_buffering_max_messages=10) as producer:
        for number in range(200):
            while (error := producer.try_send(ProducerRecord(topic, 0, value=b"v", id=number), reports)) is not None:
                assert error.code == FULL
                full += 1
                producer.poll_events(1)
    assert full > 0
    assert reports.ids == list(range(200)) and reports.codes == [None] * 200


def test_flush_runs_the_callbacks_on_its_own_thread(broker, topic):
    reports = Reports()
    with manual(broker, HELD) as producer:
        for number in range(100):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        producer.flush(10)
        assert reports.ids == list(range(100)) and len(producer) == 0
    assert set(reports.threads) == {threading.get_ident()}


def test_flush_that_times_out_has_run_the_callbacks_of_what_was_reported(cluster, topic):
    done, stuck = Reports(), Reports()
    producer = manual(cluster, message_send_max_retries=0)
    producer.send(ProducerRecord(topic, 0, value=b"v"), done)
    consume(cluster, topic, 1)
    cluster.set_rtt(1, 5)
    try:
        producer.send(ProducerRecord(topic, 0, value=b"v"), stuck)
        with pytest.raises(TimeoutError) as caught:
            producer.flush(0.3)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
        assert done.codes == [None] and len(stuck) == 0
        producer.close(0)
    finally:
        cluster.set_rtt(1, 0)
    assert len(done) == 1 and len(stuck) == 1


def test_close_runs_every_callback_on_its_own_thread(broker, topic):
    reports = Reports()
    producer = manual(broker, HELD)
    for number in range(100):
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
    producer.close()
    assert reports.ids == list(range(100)) and reports.codes == [None] * 100
    assert set(reports.threads) == {threading.get_ident()}


def test_close_that_times_out_purges_and_runs_every_callback(topic):
    reports = Reports()
    producer = manual(NOWHERE)
    for number in range(1000):
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
    with Stopwatch() as watch:
        producer.close(0.2)
    assert watch.seconds < 2
    assert sorted(reports.ids) == list(range(1000))
    assert set(reports.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
    assert set(reports.threads) == {threading.get_ident()}


def test_purge_leaves_the_reports_to_the_next_poll(topic):
    reports = Reports()
    with manual(NOWHERE) as producer:
        for number in range(10):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        producer.purge()
        assert len(reports) == 0
        assert poll_until(producer, reports, 10) == 10
    assert set(reports.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}


def test_several_threads_may_poll_at_once_and_each_report_is_dispatched_once(broker, topic):
    reports, served, stop = Reports(), [], threading.Event()

    def poll():
        mine = 0
        while not stop.is_set():
            mine += producer.poll_events(0.05)
        served.append(mine)

    with manual(broker) as producer:
        threads = [threading.Thread(target=poll) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(2000):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        reports.wait(2000)
        stop.set()
        for thread in threads:
            thread.join(10)
    assert sum(served) == 2000
    assert sorted(reports.ids) == list(range(2000))


def test_poll_events_dispatches_the_events_of_the_client(broker):
    seen = []
    with manual(broker, {"stats_cb": lambda json: seen.append(threading.get_ident())},
                statistics_interval_ms=50) as producer, Stopwatch() as watch:
        while not seen:
            assert producer.poll_events(0.1) == 0, "statistics are no report of a record"
            assert watch.seconds < 5
    assert set(seen) == {threading.get_ident()}
