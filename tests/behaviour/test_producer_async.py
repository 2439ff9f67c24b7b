"""KafkaAsyncProducer with Auto polling: send, try_send, flush, purge and close, and the thread behind them.

Callbacks that raise or call back are in test_callbacks.py, options of construction
in test_construction.py.
"""
import threading
import time
from datetime import timedelta

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, consume, properties, wait_for

from kafkapp import (
    ActionWhileQueueIsFull,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    PersistedStatus,
    ProducerRecord,
    SendOption,
)

PURGED = (ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL


@pytest.fixture
def full(broker, topic):
    """A producer whose queue holds one record and is full, and the reports of that record."""
    reports = Reports()
    producer = KafkaAsyncProducer(properties(broker, HELD, queue_buffering_max_messages=1))
    producer.send(ProducerRecord(topic, value=b"first", id="first"), reports)
    yield producer, reports
    producer.close(0)


def test_a_delivered_record_calls_back_with_its_metadata_and_no_error(broker, topic):
    reports, mark = Reports(), object()
    with KafkaAsyncProducer(properties(broker)) as producer:
        assert producer.send(ProducerRecord(topic, 1, b"key", b"value", mark), reports) is None
        [(metadata, error)] = reports.wait(1).calls
    assert error is None
    assert (metadata.topic, metadata.partition, metadata.offset) == (topic, 1, 0)
    assert metadata.record_id is mark
    assert (metadata.key_size, metadata.value_size) == (3, 5)
    assert metadata.persisted_status is PersistedStatus.Done
    assert 0 < metadata.latency < 10


def test_a_failed_record_calls_back_with_the_error_and_tells_which_record_it_was(topic):
    reports, mark = Reports(), object()
    with KafkaAsyncProducer(properties(NOWHERE)) as producer:
        producer.send(ProducerRecord(topic, 3, b"key", b"value", mark), reports)
        producer.purge()
        [(metadata, error)] = reports.wait(1).calls
    assert error and error.code == ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE
    assert "purge" in error.message.lower()
    assert (metadata.topic, metadata.partition, metadata.record_id) == (topic, 3, mark)
    assert (metadata.key_size, metadata.value_size) == (3, 5)
    assert metadata.offset is None and metadata.timestamp is None
    assert metadata.persisted_status is PersistedStatus.Not


def test_metadata_stays_as_it_is_after_the_producer_is_gone(broker, topic):
    reports = Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v", id=1), reports)
    del producer
    [(metadata, _)] = reports.calls
    assert (metadata.topic, metadata.offset, metadata.record_id) == (topic, 0, 1)
    with pytest.raises(AttributeError):
        metadata.offset = 5


def test_every_record_calls_back_once_and_in_the_order_of_its_partition(broker, topic):
    reports = Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        for number in range(3000):
            producer.send(ProducerRecord(topic, number % 3, value=b"%d" % number, id=number), reports)
        producer.flush(10)
        assert len(reports) == 3000
    assert sorted(reports.ids) == list(range(3000))
    for partition in range(3):
        mine = [metadata for metadata, _ in reports.calls if metadata.partition == partition]
        assert [metadata.record_id for metadata in mine] == list(range(partition, 3000, 3))
        assert [metadata.offset for metadata in mine] == list(range(1000))


def test_callbacks_run_on_one_background_thread_also_during_flush_and_close(broker, topic):
    reports, names = Reports(), set()

    def callback(metadata, error):
        names.add((threading.current_thread().name, threading.current_thread().daemon))
        reports(metadata, error)

    producer = KafkaAsyncProducer(properties(broker, client_id="me-and-my-thread"))
    for _ in range(500):
        producer.send(ProducerRecord(topic, value=b"v"), callback)
    producer.flush(10)
    for _ in range(500):
        producer.send(ProducerRecord(topic, value=b"v"), callback)
    producer.close()
    assert len(reports) == 1000
    assert len(set(reports.threads)) == 1 and threading.get_ident() not in reports.threads
    [(name, daemon)] = names
    assert "me-and-my-thread" in name and daemon
    assert not [thread for thread in threading.enumerate() if thread.name == name]


def test_without_a_callback_a_record_is_sent_all_the_same(broker, topic):
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, value=b"a"))
        producer.send(ProducerRecord(topic, value=b"b"), None)
        producer.flush(10)
        assert len(producer) == 0
    assert sorted(message.value() for message in consume(broker, topic, 2)) == [b"a", b"b"]


def test_a_record_may_be_changed_and_sent_again_at_once(broker, topic):
    record, reports = ProducerRecord(topic, 0), Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        for number in range(100):
            record.value, record.id, record.headers = b"%d" % number, number, [("n", b"%d" % number)]
            producer.send(record, reports)
    assert reports.ids == list(range(100))
    messages = consume(broker, topic, 100)
    assert [message.value() for message in messages] == [b"%d" % number for number in range(100)]
    assert [message.headers() for message in messages] == [[("n", b"%d" % number)] for number in range(100)]


def test_send_does_not_wait_for_the_broker(topic):
    producer = KafkaAsyncProducer(properties(NOWHERE))
    with Stopwatch() as watch:
        for _ in range(100):
            producer.send(ProducerRecord(topic, value=b"v"))
    assert watch.seconds < 0.5
    assert len(producer) == 100
    producer.close(0)


REFUSED = [
    (lambda topic: ProducerRecord(topic, value=bytes(2_000_000)), "RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE"),
    (lambda topic: ProducerRecord(topic, key=bytes(2_000_000)), "RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE"),
    (lambda topic: ProducerRecord("", value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG"),
    (lambda topic: ProducerRecord("t" * 513, value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG"),
]


@pytest.mark.parametrize("make, name", REFUSED, ids=["value too large", "key too large", "no topic", "long topic"])
def test_a_refused_record_raises_at_send_and_never_calls_back(broker, topic, make, name):
    reports = Reports()
    with KafkaAsyncProducer(properties(broker)) as producer:
        record = make(topic)
        with pytest.raises(KafkaException) as caught:
            producer.send(record, reports)
        assert isinstance(caught.value, ValueError)
        assert caught.value.error.code == ErrorCode[name]
        error = producer.try_send(record, reports)
        assert error and error.code == ErrorCode[name]
        assert len(producer) == 0
    assert len(reports) == 0


WRONG = [
    (TypeError, "record", lambda producer, record: producer.send(b"raw")),
    (TypeError, "record", lambda producer, record: producer.send(None)),
    (TypeError, "callback", lambda producer, record: producer.send(record, "call me")),
    (TypeError, "option", lambda producer, record: producer.send(record, None, "copy")),
    (TypeError, "action", lambda producer, record: producer.send(record, action="block")),
    (TypeError, "timeout", lambda producer, record: producer.send(record, timeout="1")),
    (ValueError, "timeout", lambda producer, record: producer.send(record, timeout=-1)),
    (ValueError, "timeout", lambda producer, record: producer.send(record, timeout=float("nan"))),
    (ValueError, "timeout", lambda producer, record: producer.flush(-0.001)),
    (ValueError, "timeout", lambda producer, record: producer.flush(timedelta(seconds=-1))),
    (TypeError, "timeout", lambda producer, record: producer.flush(b"1")),
    (ValueError, "timeout", lambda producer, record: producer.close(-1)),
    (TypeError, "callback", lambda producer, record: producer.try_send(record, 7)),
    (TypeError, "record", lambda producer, record: producer.try_send(5)),
    (TypeError, "topic", lambda producer, record: producer.fetch_broker_metadata(b"bytes")),
    (TypeError, "events_polling", lambda producer, record: KafkaAsyncProducer({"bootstrap.servers": "h:1"}, "Auto")),
    (TypeError, "properties", lambda producer, record: KafkaAsyncProducer("h:1")),
]


@pytest.mark.parametrize("exception, word, call", WRONG)
def test_a_wrong_argument_raises_names_itself_and_sends_nothing(broker, topic, exception, word, call):
    with KafkaAsyncProducer(properties(broker)) as producer:
        with pytest.raises(exception, match=word) as caught:
            call(producer, ProducerRecord(topic, value=b"v"))
        assert not isinstance(caught.value, KafkaException)
        assert len(producer) == 0


def test_a_full_queue_blocks_until_there_is_room(broker, topic):
    reports = Reports()
    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=1, linger_ms=400)) as producer:
        producer.send(ProducerRecord(topic, value=b"1", id=1), reports)
        with Stopwatch() as watch:
            producer.send(ProducerRecord(topic, value=b"2", id=2), reports)
        assert reports.ids == [1]
    assert 0.2 < watch.seconds < 5
    assert reports.ids == [1, 2] and reports.codes == [None, None]


def test_block_may_be_asked_for_by_name(broker, topic):
    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=1, linger_ms=200)) as producer:
        for _ in range(3):
            producer.send(ProducerRecord(topic, value=b"v"), None, SendOption.NoCopyRecordValue,
                          action=ActionWhileQueueIsFull.Block, timeout=timedelta(seconds=5))
    assert len(consume(broker, topic, 3)) == 3


def test_no_block_raises_at_once_when_the_queue_is_full(full, topic):
    producer, reports = full
    refused = Reports()
    with Stopwatch() as watch, pytest.raises(KafkaException) as caught:
        producer.send(ProducerRecord(topic, value=b"second"), refused, action=ActionWhileQueueIsFull.NoBlock)
    assert watch.seconds < 0.2
    assert isinstance(caught.value, BufferError) and caught.value.error.code == FULL
    producer.flush(10)
    assert reports.codes == [None] and len(refused) == 0


@pytest.mark.parametrize("timeout", [0, 0.3, timedelta(milliseconds=300)])
def test_a_send_that_waited_out_its_timeout_raises_queue_full_and_sent_nothing(full, broker, topic, timeout):
    producer, reports = full
    refused = Reports()
    with Stopwatch() as watch, pytest.raises(BufferError) as caught:
        producer.send(ProducerRecord(topic, value=b"second"), refused, timeout=timeout)
    assert caught.value.error.code == FULL
    assert (0.29 if timeout else 0) <= watch.seconds < 1
    assert len(producer) == 1
    producer.flush(10)
    assert reports.codes == [None] and len(refused) == 0
    assert [message.value() for message in consume(broker, topic, 1)] == [b"first"]


def test_try_send_never_blocks_and_never_raises_for_a_full_queue(full, topic):
    producer, reports = full
    refused = Reports()
    with Stopwatch() as watch:
        error = producer.try_send(ProducerRecord(topic, value=b"second", headers=[("h", b"v")]), refused)
    assert watch.seconds < 0.2
    assert error and error.code == FULL and error.message
    producer.flush(10)
    # The room is there when the round of its report has ended, a moment after the callback has returned.
    wait_for(lambda: producer.try_send(ProducerRecord(topic, value=b"third"), reports) is None)
    producer.flush(10)
    assert reports.codes == [None, None] and len(refused) == 0


def test_a_blocked_send_goes_on_as_soon_as_a_purge_makes_room(full, topic):
    producer, reports = full
    second, threads = Reports(), []
    threads.append(threading.Thread(
        target=producer.send, args=(ProducerRecord(topic, value=b"second"), second), kwargs={"timeout": 10}))
    threads[0].start()
    producer.purge()
    threads[0].join(5)
    assert not threads[0].is_alive()
    producer.flush(10)
    [code] = second.codes
    assert reports.codes[0] in PURGED
    assert code is None or code in PURGED           # it may have come in while the purge was still at work


def test_flush_returns_when_the_callbacks_have_returned(broker, topic):
    finished = []

    def slow(metadata, error):
        threading.Event().wait(0.02)
        finished.append(metadata.record_id)

    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        for number in range(10):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), slow)
        assert finished == [] and len(producer) == 10
        assert producer.flush() is None
        assert finished == list(range(10)) and len(producer) == 0


def test_flush_that_times_out_raises_and_leaves_the_records_where_they_are(topic):
    reports = Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE))
    producer.send(ProducerRecord(topic, value=b"v"), reports)
    with Stopwatch() as watch, pytest.raises(TimeoutError) as caught:
        producer.flush(0.2)
    assert isinstance(caught.value, KafkaException)
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
    assert 0.19 < watch.seconds < 1
    assert len(producer) == 1 and len(reports) == 0
    producer.close(0)
    assert len(reports) == 1


def test_flush_of_nothing_returns_at_once(topic):
    with KafkaAsyncProducer(properties(NOWHERE)) as producer, Stopwatch() as watch:
        producer.flush(0)
        producer.flush(timedelta(seconds=5))
    assert watch.seconds < 1


def test_purge_reports_what_was_queued_and_the_producer_goes_on(broker, topic):
    reports, later = Reports(), Reports()
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        for number in range(10):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        producer.purge()
        reports.wait(10)
        producer.send(ProducerRecord(topic, 0, value=b"after"), later)
    assert sorted(reports.ids) == list(range(10))
    assert all(code in PURGED for code in reports.codes)
    assert later.codes == [None]
    assert [message.value() for message in consume(broker, topic, 1)] == [b"after"]


def test_purge_of_what_is_in_flight_says_that_it_may_have_been_written(cluster, topic):
    reports = Reports()
    with KafkaAsyncProducer(properties(cluster)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"warm"), reports)
        producer.flush(10)
        cluster.set_rtt(1, 3)
        try:
            producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
            with pytest.raises(TimeoutError):
                producer.flush(0.3)
            producer.purge()
            metadata, error = reports.wait(2, 2).calls[1]
        finally:
            cluster.set_rtt(1, 0)
    assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
    assert metadata.persisted_status is PersistedStatus.Possibly


def test_close_that_times_out_purges_and_every_callback_has_run_once(topic):
    reports = Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE))
    for number in range(1000):
        producer.send(ProducerRecord(topic, value=b"v", id=number), reports)
    with Stopwatch() as watch:
        assert producer.close(0.3) is None
    assert 0.29 < watch.seconds < 2
    assert sorted(reports.ids) == list(range(1000))
    assert set(reports.codes) <= set(PURGED)
    assert len(producer) == 0


def test_many_threads_send_at_once_and_each_record_has_one_report(broker, topic):
    reports, failures = Reports(), []

    def work(name):
        try:
            for number in range(400):
                producer.send(ProducerRecord(topic, 0, value=b"v", id=(name, number)), reports)
                if number % 100 == 0:
                    producer.flush(10)
        except BaseException as error:      # noqa: BLE001 - the test looks at it
            failures.append(error)

    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=50)) as producer:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failures == [] and reports.codes == [None] * 1600
    assert len(set(reports.ids)) == 1600
    for name in range(4):
        assert [number for thread, number in reports.ids if thread == name] == list(range(400))


def test_close_while_others_send_leaves_each_record_one_outcome(broker, topic):
    reports, accepted, refused = Reports(), [], []
    started = threading.Barrier(4)

    def work(name):
        started.wait(10)
        for number in range(100_000):
            try:
                producer.send(ProducerRecord(topic, value=b"v", id=(name, number)), reports, timeout=5)
            except RuntimeError as error:
                refused.append(error)
                return
            accepted.append((name, number))

    producer = KafkaAsyncProducer(properties(broker))
    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    started.wait(10)
    reports.wait(1)
    producer.close(10)
    seen_at_close = len(reports)
    for thread in threads:
        thread.join(10)
    assert len(refused) == 3, "close() must end the senders"
    assert len(reports) == seen_at_close == len(accepted)
    assert sorted(reports.ids) == sorted(accepted)


def test_poll_events_belongs_to_manual(broker):
    with (KafkaAsyncProducer(properties(broker), EventsPollingOption.Auto) as producer,
          pytest.raises(RuntimeError, match="Manual")):
        producer.poll_events()


def test_latency_is_the_time_from_the_send_to_the_report(cluster, topic):
    """For records that were sent together as for those that were not; see read_run in csrc/report_drain.c."""
    sent, reported = {}, {}

    def on_delivery(metadata, error):
        reported[metadata.record_id] = (time.monotonic(), metadata.latency)

    cluster.set_rtt(1, 0.05)
    with KafkaAsyncProducer(properties(cluster, linger_ms=100)) as producer:
        for number in range(300):
            sent[number] = time.monotonic()
            producer.send(ProducerRecord(topic, 0, id=number), on_delivery)
            if number % 100 == 50:
                time.sleep(0.02)        # a gap in the middle of a batch
    for number, (when, latency) in reported.items():
        assert 0.05 <= latency <= when - sent[number] + 0.002, number
    gaps = [reported[number][1] - reported[number + 1][1] for number in range(299)]
    assert sum(gap > 0.015 for gap in gaps) == 3       # each gap lies between the two records that it was between
