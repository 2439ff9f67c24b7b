"""Behaviour of the modern C++ Kafka API beyond its own tests: "extra facts" 1 to 10 of docs/internals/parity.md.

On the embedded cluster. Each pins what kafkapp does in its place; most differ on purpose.
"""
import gc
import sys
import threading
import time

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, consume, properties

import kafkapp
from kafkapp import ErrorCode, EventsPollingOption, KafkaException, ProducerRecord

QUEUE_FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
UNKNOWN_PARTITION = ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
INVALID_ARG = ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
BOTH = pytest.mark.parametrize("polling", list(EventsPollingOption))


def test_x01_a_send_to_a_full_queue_waits_until_the_callback_has_returned(cluster, topic):
    returned = []

    def callback(metadata, error):
        assert error is None
        time.sleep(0.05)        # long enough that a send which does not wait for it would be seen
        returned.append(metadata.record_id)

    with kafkapp.KafkaAsyncProducer(properties(cluster, queue_buffering_max_messages=1, linger_ms=0)) as producer:
        producer.fetch_broker_metadata(topic)
        cluster.set_rtt(None, 0.1)
        for number in range(4):
            with Stopwatch() as watch:
                producer.send(ProducerRecord(topic, 0, value=b"v", id=number), callback, timeout=10)
            assert returned == list(range(number))
            assert watch.seconds >= (0.1 if number else 0)


@BOTH
def test_x02_a_send_inside_a_callback_with_a_full_queue_is_refused_and_not_a_deadlock(cluster, topic, polling):
    errors, refused = [], threading.Event()

    def again(metadata, error):
        # This record still fills the queue of one: C++ blocks here forever.
        try:
            producer.send(ProducerRecord(topic, 0, value=b"second"), timeout=10)
        except BufferError as failure:
            errors.append(failure.error.code)
        refused.set()

    with kafkapp.KafkaAsyncProducer(properties(cluster, queue_buffering_max_messages=1), polling) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"first"), again)
        with Stopwatch() as watch:
            producer.flush(10)
        assert refused.is_set() and watch.seconds < 5
    assert errors == [QUEUE_FULL]
    assert [m.value() for m in consume(cluster, topic, 1)] == [b"first"]


@BOTH
def test_x03_an_unknown_partition_fails_in_the_callback_and_once_known_at_the_call(cluster, topic, polling):
    reports = Reports()
    cluster.broker_down(1)
    with kafkapp.KafkaAsyncProducer(properties(cluster), polling) as producer:
        producer.send(ProducerRecord(topic, 99, value=b"v", id="early"), reports)       # accepted: nothing can be known yet
        cluster.broker_up(1)
        producer.flush(30)
        assert (reports.ids, reports.codes) == (["early"], [UNKNOWN_PARTITION])
        with pytest.raises(KafkaException) as failure:
            producer.send(ProducerRecord(topic, 99, value=b"v", id="late"), reports)
        assert failure.value.error.code == UNKNOWN_PARTITION
        assert producer.try_send(ProducerRecord(topic, 99, value=b"v"), reports).code == UNKNOWN_PARTITION
    assert len(reports) == 1
    with pytest.raises(ValueError, match="partition"):      # C++: the same code from librdkafka
        ProducerRecord(topic, -2)


def test_x04_a_topic_of_no_or_of_513_characters_is_refused_at_the_call():
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(NOWHERE)) as producer:
        for name in ("t" * 513, ""):        # C++ takes the empty one, which nothing can become of
            with pytest.raises(ValueError) as failure:
                producer.send(ProducerRecord(name, value=b"v"), reports)
            assert failure.value.error.code == INVALID_ARG
        producer.send(ProducerRecord("t" * 512, value=b"v"), reports)
        assert len(producer) == 1
        producer.close(0)
    assert len(reports) == 1


def test_x05_a_record_above_message_max_bytes_is_refused_at_the_call_with_10(cluster, topic):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(cluster, message_max_bytes=2000)) as producer:
        with pytest.raises(ValueError) as failure:
            producer.send(ProducerRecord(topic, 0, value=b"v" * 2001), reports)
        assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE == 10
        producer.send(ProducerRecord(topic, 0, value=b"v" * 1900), reports)
    assert reports.codes == [None]


@BOTH
def test_x06_reports_of_errors_only_come_and_nothing_leaks(cluster, topic, polling):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(cluster, delivery_report_only_error=True), polling) as producer:
        held = bytearray(b"v")
        producer.send(ProducerRecord(topic, 0, value=held, id="delivered"), reports)
        producer.flush(10)
        held.extend(b"free again")      # a BufferError while the producer holds it
        cluster.push_request_errors("Produce", ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        producer.send(ProducerRecord(topic, 0, value=b"v", id="failed"), reports)
        producer.flush(10)
        assert len(producer) == 0
    assert (reports.ids, reports.codes) == (["failed"], [ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED])
    with kafkapp.KafkaSyncProducer(properties(cluster, delivery_report_only_error=True)) as producer:
        assert producer.send(ProducerRecord(topic, 1, value=b"v"), timeout=10).partition == 1   # C++ blocks forever


@BOTH
def test_x07_no_callback_is_fine(cluster, topic, polling):
    with kafkapp.KafkaAsyncProducer(properties(cluster), polling) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"first"))
        producer.send(ProducerRecord(topic, 0, value=b"second"), None)
        assert producer.try_send(ProducerRecord(topic, 0, value=b"third"), None) is None
        producer.flush(10)
    assert [m.value() for m in consume(cluster, topic, 3)] == [b"first", b"second", b"third"]


def test_x08_an_exception_of_a_callback_ends_nothing(cluster, topic, monkeypatch):
    unraised, reports = [], Reports()
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: unraised.append(seen.exc_value))

    def raises(metadata, error):
        raise LookupError(metadata.record_id)

    with kafkapp.KafkaAsyncProducer(properties(cluster)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v", id="auto"), raises)
        producer.send(ProducerRecord(topic, 0, value=b"v", id="next"), reports)
    assert [error.args for error in unraised] == [("auto",)] and reports.codes == [None]
    with kafkapp.KafkaAsyncProducer(properties(cluster), EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v", id="manual"), raises)
        producer.send(ProducerRecord(topic, 0, value=b"v", id="next"), reports)
        with pytest.raises(LookupError, match="manual"):
            producer.flush(10)
    assert reports.ids == ["next", "next"] and len(unraised) == 1


def test_x09_blocking_calls_dispatch_where_no_thread_does(cluster, topic):
    reports = Reports()
    with kafkapp.KafkaSyncProducer(properties(cluster)) as producer:
        assert producer.send(ProducerRecord(topic, 0, value=b"v"), timeout=10).offset == 0
    with kafkapp.KafkaAsyncProducer(properties(cluster), EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
        producer.flush(10)      # nobody has called poll_events
        assert reports.codes == [None] and reports.threads == [threading.get_ident()]
        batch = producer.send_batch(topic, [b"v"], partition=0)
        assert batch.wait(10) and list(memoryview(batch.offsets)) == [2]


@pytest.mark.parametrize("more", [{}, HELD], ids=["sent", "held"])
def test_x10_headers_and_a_partition_that_does_not_exist_do_not_crash(cluster, topic, more):
    value = bytearray(b"hv")
    reports = Reports()
    cluster.broker_down(1)
    with kafkapp.KafkaAsyncProducer(properties(cluster, more)) as producer:
        record = ProducerRecord(topic, 99, b"k", b"v", headers=[("h", value)])
        producer.send(record, reports)      # accepted: nothing can be known yet
        cluster.broker_up(1)
        reports.wait(1, 30)
        for _ in range(200):
            with pytest.raises(KafkaException) as failure:
                producer.send(record, reports)
            assert failure.value.error.code == UNKNOWN_PARTITION
        del record
        gc.collect()
        value.extend(b"free")
    assert reports.codes == [UNKNOWN_PARTITION]
