"""The fault matrix against the embedded cluster: one outcome for each record, and the log agrees with the reports.

Faults F01, F02, F04, F11-F16, F19, F21, F25, F26, F36, F51. The log is read back by another client.
"""
import logging
import sys
import threading
import time

import pytest
from faultkit import Books, make
from ledger import NOT_PERSISTED, UNKNOWN, Ledger
from readback import read_log
from helpers import HELD, NOWHERE, Stopwatch

from kafkapp import ActionWhileQueueIsFull, ErrorCode, KafkaException, PersistedStatus, ProducerRecord
from kafkapp.testing import ApiKey, MockCluster

IDEMPOTENT = {"enable.idempotence": True, "linger.ms": 1, "retry.backoff.ms": 10}


def write(ledger, metadata, error):
    """A delivery callback that enters each report into the ledger."""
    if error is None:
        ledger.delivered(metadata.record_id, metadata.partition, metadata.offset)
    else:
        kind = NOT_PERSISTED if metadata.persisted_status is PersistedStatus.Not else UNKNOWN
        ledger.report(metadata.record_id, kind, code=int(error.code))


FAULTS = {
    "none": lambda cluster, topic, number: None,
    "connections cut at Produce": lambda cluster, topic, number: cluster.push_request_errors(
        ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT),
    "broker down and up": lambda cluster, topic, number:
        (cluster.broker_down(1), time.sleep(0.02), cluster.broker_up(1)),
    "leaders move": lambda cluster, topic, number: cluster.set_leader(topic, number % 3, number % 2 + 1),
    # No request may find it without one: that is the end of the embedded cluster's process.
    "no leader for a while": lambda cluster, topic, number:
        (cluster.broker_down(1), cluster.set_leader(topic, 0, None), time.sleep(0.02), cluster.set_leader(topic, 0, 1),
         cluster.broker_up(1)),
    "retriable codes": lambda cluster, topic, number: cluster.push_request_errors(ApiKey.Produce, (
        ErrorCode.RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, ErrorCode.RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT)[number % 3]),
}


REFUSING = ("leaders move", "no leader for a while", "retriable codes")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_nothing_is_lost_and_each_report_is_true(topic, faults, kind, fault):
    with MockCluster(2) as cluster:
        cluster.create_topic(topic, 3)
        cluster.set_leader(topic, 0, 1)

        def disturb(number):
            FAULTS[fault](cluster, topic, number)

        ledger = Ledger()
        # The embedded cluster takes a batch after one that it has refused, and librdkafka may then believe that it had the
        # first too. A real broker does not take it: it looks at sequence numbers.
        requests = {"max.in.flight": 1} if fault in REFUSING else {}
        producer = make(kind, cluster, IDEMPOTENT, {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50}, requests)
        for number in range(faults.rounds(600, 6000)):
            identity, payload = ledger.stamp(size=40 + faults.random.randrange(200))
            producer.send(ProducerRecord(topic, number % 3, value=bytearray(payload), id=identity),
                          lambda metadata, error: write(ledger, metadata, error))
            if number % 100 == 50:
                disturb(number // 100)
                time.sleep(0.005)
        producer.close(60)
        verdict = ledger.verdict(read_log(cluster.bootstrap_servers, topic))
        # The embedded cluster appends what it has already: duplicates after a lost answer are for a real broker to refuse.
        assert not verdict.faults().keys() - {"duplicate"}, f"seed {faults.seed}: {verdict}"
        assert verdict.delivered == verdict.sent, verdict


@pytest.mark.parametrize("code", ["RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE", "RD_KAFKA_RESP_ERR_INVALID_RECORD",
                                  "RD_KAFKA_RESP_ERR_POLICY_VIOLATION"])
def test_a_permanent_code_fails_the_record_at_once_and_it_is_not_in_the_log(cluster, topic, faults, code):
    ledger = Ledger()
    with make("Auto", cluster, {"linger.ms": 0}) as producer:
        for number in range(faults.rounds(6, 200)):
            if number % 2 == 0:
                cluster.push_request_errors(ApiKey.Produce, ErrorCode[code])
            identity, payload = ledger.stamp()
            producer.send(ProducerRecord(topic, 0, value=payload, id=identity), lambda m, e: write(ledger, m, e))
            producer.flush(10)
    verdict = ledger.verdict(read_log(cluster.bootstrap_servers, topic))
    assert not verdict.faults() and verdict.failed == verdict.sent // 2
    assert ledger.codes() == {int(ErrorCode[code])}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_purges_at_random_times(cluster, topic, faults, kind):
    ledger = Ledger()
    producer = make(kind, cluster, {"linger.ms": 1})
    payloads = []
    for _ in range(faults.rounds(15, 2000)):
        for _ in range(faults.random.randrange(60)):
            identity, payload = ledger.stamp()
            payloads.append(bytearray(payload))
            producer.send(ProducerRecord(topic, 0, value=payloads[-1], id=identity), lambda m, e: write(ledger, m, e))
        time.sleep(faults.random.random() * 0.004)
        producer.purge()
    producer.close(10)
    verdict = ledger.verdict(read_log(cluster.bootstrap_servers, topic))
    assert not verdict.faults(), f"seed {faults.seed}: {verdict}"
    for payload in payloads:
        payload.append(0)               # BufferError, were one still held


def test_a_full_queue_in_every_mode(cluster, topic, faults):
    full = {"queue.buffering.max.messages": 5}
    books = Books()
    with make("Manual", NOWHERE, HELD, full) as producer:
        for _ in range(5):
            producer.send(ProducerRecord(topic, value=b"v"))
        payload = bytearray(b"v")
        with pytest.raises(BufferError):
            producer.send(ProducerRecord(topic, value=payload), books.report)
        payload.append(1)
        producer.purge()
        producer.flush(5)
    cluster.set_rtt(None, 0.01)
    with make("Auto", cluster, full) as producer:
        for _ in range(faults.rounds(100, 2000)):       # blocks, and makes progress
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord(topic, value=b"v", id=number), books.report)
    books.check()
    with make("Auto", NOWHERE, full) as producer:
        for _ in range(5):
            producer.send(ProducerRecord(topic, value=b"v"))
        with Stopwatch() as watch, pytest.raises(KafkaException):
            producer.send(ProducerRecord(topic, value=b"v"), timeout=0.2)
        assert 0.19 < watch.seconds < 1
        with Stopwatch() as watch, pytest.raises(KafkaException):
            producer.send(ProducerRecord(topic, value=b"v"), action=ActionWhileQueueIsFull.NoBlock)
        assert watch.seconds < 0.2
        producer.close(0)


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_records_that_nobody_takes_time_out_each_once(faults, kind):
    books = Books()
    for _ in range(faults.rounds(2, 50)):
        with make(kind, NOWHERE, {"message.timeout.ms": 200}) as producer:
            for _ in range(100):
                number = books.number()
                books.accept(number)
                producer.send(ProducerRecord("t", value=b"v", id=number), books.report)
            producer.flush(10)
    books.check()
    assert set(books.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_callbacks_that_raise_stop_no_other(broker, topic, faults, kind, monkeypatch):
    unraised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: unraised.append(unraisable.exc_type))
    books = Books()
    raising = (LookupError, MemoryError, SystemExit, GeneratorExit, RecursionError)

    def callback(metadata, error):
        books.report(metadata, error)
        if metadata.record_id % 100 == 0:
            raise raising[metadata.record_id // 100 % 5]

    producer = make(kind, broker)
    count = faults.rounds(1000, 50_000)
    for _ in range(count):
        number = books.number()
        books.accept(number)
        producer.send(ProducerRecord(topic, value=b"v", id=number), callback)
    raised = []
    while len(producer):
        try:
            producer.flush(10)
        except BaseExceptionGroup as group:
            raised += group.exceptions
        except BaseException as exc:
            raised.append(exc)
    producer.close()
    books.check()
    assert len(unraised) + len(raised) == count // 100
    assert (kind == "Auto") == bool(unraised)


def test_callbacks_that_send_again_do_not_recurse(broker, topic, faults):
    depth = faults.rounds(2000, 100_000)
    calls = []

    def callback(metadata, error):
        calls.append(error)
        if len(calls) < depth:
            producer.send(ProducerRecord(topic, 0, value=b"v"), callback)

    with make("Auto", broker, {"linger.ms": 0}) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        while len(calls) < depth:
            producer.flush(30)
    assert calls == [None] * depth


def test_slow_callbacks_keep_their_true_outcome_when_close_is_out_of_time(broker, topic):
    # More than the five seconds that purged records have: the callbacks, not the reports, are late.
    books = Books()
    producer = make("Auto", broker, {"linger.ms": 0})
    for _ in range(60):
        number = books.number()
        books.accept(number)
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number),
                      lambda metadata, error: (time.sleep(0.1), books.report(metadata, error)))
    time.sleep(0.3)
    producer.close(0)
    books.check()
    assert set(books.codes) <= {None, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE,
                                ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT}


def test_after_a_fatal_error_sends_say_why_and_a_new_producer_works(cluster, topic, faults):
    for _ in range(faults.rounds(2, 100)):
        books = Books()
        producer = make("Auto", cluster, IDEMPOTENT)
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER)
        end = time.monotonic() + 10
        error = None
        while error is None and time.monotonic() < end:
            number = books.number()
            error = producer.try_send(ProducerRecord(topic, 0, value=b"v", id=number), books.report)
            if error is None:
                books.accept(number)
            time.sleep(0.005)
        assert error is not None and error.is_fatal and error.message
        producer.close(5)
        books.check()
        with make("Auto", cluster, IDEMPOTENT) as another:
            outcomes = []
            another.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error, seen=outcomes: seen.append(error))
        assert outcomes == [None]


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
def test_records_requeued_after_a_fatal_error_fail_at_once(topic, kind):
    """librdkafka sends it no more, and would report it when its message.timeout.ms expires: by default five minutes later."""
    codes = []

    def send_to_the_slow_one():
        record = ProducerRecord(topic, 1, value=b"v")
        if kind != "sync":
            producer.send(record, lambda metadata, error: codes.append(error.code))
            return
        with pytest.raises(KafkaException) as caught:
            producer.send(record)
        codes.append(caught.value.error.code)

    with MockCluster(2) as cluster, make(kind, cluster, IDEMPOTENT, {"message.timeout.ms": 60000}) as producer:
        cluster.create_topic(topic, 2)
        for partition in 0, 1:
            cluster.set_leader(topic, partition, partition + 1)
            producer.send(ProducerRecord(topic, partition, value=b"v"))
        producer.flush(10)
        cluster.push_broker_errors(2, ApiKey.Produce, (ErrorCode.RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 0.5))
        thread = threading.Thread(target=send_to_the_slow_one)
        thread.start()
        time.sleep(0.1)     # its request is out
        cluster.push_broker_errors(1, ApiKey.Produce, (ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 0))
        begin, error = time.monotonic(), None
        while not (error and error.is_fatal) and time.monotonic() < begin + 20:
            try:
                producer.send(ProducerRecord(topic, 0, value=b"v"))
                time.sleep(0.005)
            except KafkaException as exc:
                error = exc.error
        assert error.is_fatal and not codes
        if kind != "sync":
            producer.flush(20)
        thread.join(20)
        assert codes == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]


def test_logs_at_full_rate_whose_handler_raises_sends_and_closes(broker, topic):
    seen, unraised = [], []
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: unraised.append(unraisable.exc_type)

    class Handler(logging.Handler):
        def emit(self, entry):
            seen.append(entry.levelno)
            if len(seen) % 10 == 1:
                producer.try_send(ProducerRecord(topic, 0, value=b"log"))
            elif len(seen) % 10 == 2:
                producer.close()        # on the producer's own thread: a RuntimeError
            elif len(seen) % 10 == 3:
                raise LookupError

    handler = Handler()
    logger = logging.getLogger("kafkapp")
    level = logger.level
    from kafkapp import KafkaAsyncProducer

    producer = KafkaAsyncProducer({"bootstrap.servers": broker.bootstrap_servers, "debug": "all", "log_level": 7})
    logger.addHandler(handler)
    logger.setLevel(1)
    logger.propagate = False
    try:
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        end = time.monotonic() + 5
        while len(seen) < 30 and time.monotonic() < end:
            time.sleep(0.01)
        producer.close(10)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True
        sys.unraisablehook = hook
    assert len(seen) >= 30 and {RuntimeError, LookupError} <= set(unraised)


def test_control_the_verdict_reports_a_lost_record(broker, topic):
    ledger = Ledger()
    with make("Auto", broker) as producer:
        for number in range(10):
            identity, payload = ledger.stamp()
            if number != 4:
                producer.send(ProducerRecord(topic, 0, value=payload, id=identity), lambda m, e: write(ledger, m, e))
            else:
                ledger.delivered(identity)
    assert ledger.verdict(read_log(broker.bootstrap_servers, topic)).faults() == {"lost": 1}
