"""KafkaSyncProducer: send returns the metadata or raises, in many threads at once."""
import threading
from datetime import timedelta

import pytest
from helpers import NOWHERE, Stopwatch, consume, properties, wait_for

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer, PersistedStatus, ProducerRecord, RecordMetadata


def test_send_returns_the_metadata(broker, topic):
    mark = object()
    with KafkaSyncProducer(properties(broker)) as producer:
        metadata = producer.send(ProducerRecord(topic, 2, b"key", b"value", mark))
        assert len(producer) == 0
    assert isinstance(metadata, RecordMetadata)
    assert (metadata.topic, metadata.partition, metadata.offset) == (topic, 2, 0)
    assert metadata.record_id is mark
    assert (metadata.key_size, metadata.value_size) == (3, 5)
    assert metadata.persisted_status is PersistedStatus.Done


def test_records_are_written_in_the_order_of_the_calls(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        offsets = [producer.send(ProducerRecord(topic, 0, value=b"%d" % number)).offset for number in range(50)]
    assert offsets == list(range(50))
    assert [message.value() for message in consume(broker, topic, 50)] == [b"%d" % number for number in range(50)]


def test_a_failed_delivery_raises_with_the_brokers_error(cluster, topic):
    code = ErrorCode.RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"warm"))
        cluster.push_request_errors("Produce", code)
        with pytest.raises(KafkaException) as caught:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
        assert caught.value.error.code == code
        assert "Broker: " in str(caught.value)
        assert producer.send(ProducerRecord(topic, 0, value=b"again")).offset == 1


def test_a_record_that_is_refused_raises(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        for record, code in ((ProducerRecord(topic, value=bytes(2_000_000)), "RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE"),
                             (ProducerRecord("", value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG"),
                             (ProducerRecord("t" * 513, value=b"v"), "RD_KAFKA_RESP_ERR__INVALID_ARG")):
            with pytest.raises(KafkaException) as caught:
                producer.send(record)
            assert isinstance(caught.value, ValueError)
            assert caught.value.error.code == ErrorCode[code]


@pytest.mark.parametrize("timeout", [0.3, timedelta(milliseconds=300)])
def test_a_send_that_waited_out_its_timeout_raises_and_the_record_lives_on(broker, topic, timeout):
    with KafkaSyncProducer(properties(broker, linger_ms=1500)) as producer:
        with Stopwatch() as watch, pytest.raises(TimeoutError) as caught:
            producer.send(ProducerRecord(topic, 0, value=b"late"), timeout)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
        assert 0.29 < watch.seconds < 1
        assert len(producer) == 1
        producer.flush(10)
        assert len(producer) == 0
    assert [message.value() for message in consume(broker, topic, 1)] == [b"late"]


def test_the_timeout_may_be_named_and_none_waits(broker, topic):
    with KafkaSyncProducer(properties(broker, linger_ms=300)) as producer:
        assert producer.send(ProducerRecord(topic, 0, value=b"v"), timeout=None).offset == 0
        assert producer.send(ProducerRecord(topic, 0, value=b"v"), timeout=10).offset == 1


WRONG = [
    (TypeError, "record", lambda producer, record: producer.send(b"raw")),
    (TypeError, "timeout", lambda producer, record: producer.send(record, "1")),
    (ValueError, "timeout", lambda producer, record: producer.send(record, -1)),
    (ValueError, "timeout", lambda producer, record: producer.send(record, timeout=float("nan"))),
    (TypeError, "properties", lambda producer, record: KafkaSyncProducer(7)),
]


@pytest.mark.parametrize("exception, word, call", WRONG)
def test_a_wrong_argument_raises_and_names_itself(broker, topic, exception, word, call):
    with KafkaSyncProducer(properties(broker)) as producer:
        with pytest.raises(exception, match=word):
            call(producer, ProducerRecord(topic, value=b"v"))
        assert len(producer) == 0


def test_linger_is_zero_unless_the_user_sets_it(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        assert float(producer.get_property("linger.ms")) == 0
    with KafkaSyncProducer(properties(broker, linger_ms=300)) as producer:
        assert float(producer.get_property("linger.ms")) == 300
        with Stopwatch() as watch:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
    assert watch.seconds >= 0.25
    with KafkaSyncProducer(properties(broker, {"queue.buffering.max.ms": 200})) as producer:
        assert float(producer.get_property("linger.ms")) == 200


def test_many_threads_send_at_once(broker, topic):
    offsets, failures = [], []

    def work(name):
        try:
            for number in range(25):
                metadata = producer.send(ProducerRecord(topic, 0, value=b"v", id=(name, number)))
                assert metadata.record_id == (name, number)
                offsets.append(metadata.offset)
        except BaseException as error:      # noqa: BLE001 - the test looks at it
            failures.append(error)

    with KafkaSyncProducer(properties(broker)) as producer:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert sorted(offsets) == list(range(200))


def test_threads_wait_side_by_side_and_not_one_after_the_other(cluster, topic):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"warm"))
        cluster.set_rtt(1, 0.25)
        try:
            threads = [threading.Thread(target=producer.send, args=(ProducerRecord(topic, 0, value=b"v"),))
                       for _ in range(8)]
            with Stopwatch() as watch:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(10)
        finally:
            cluster.set_rtt(1, 0)
    assert 0.25 <= watch.seconds < 1.5
    assert len(consume(cluster, topic, 9)) == 9


def test_close_ends_a_send_that_waits_in_another_thread(topic):
    caught = []

    def work():
        try:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
        except KafkaException as error:
            caught.append(error.error.code)

    producer = KafkaSyncProducer(properties(NOWHERE))
    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: len(producer) == 1)
    with Stopwatch() as watch:
        producer.close(0.2)
    thread.join(5)
    assert not thread.is_alive() and watch.seconds < 2
    assert caught == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]


def test_purge_ends_a_send_that_waits_in_another_thread(topic):
    caught = []

    def work():
        try:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
        except KafkaException as error:
            caught.append(error.error.code)

    with KafkaSyncProducer(properties(NOWHERE)) as producer:
        thread = threading.Thread(target=work)
        thread.start()
        wait_for(lambda: len(producer) == 1)
        producer.purge()
        thread.join(5)
        assert not thread.is_alive()
    assert caught == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]


def test_flush_of_a_producer_with_nothing_outstanding_returns_at_once(broker):
    with KafkaSyncProducer(properties(broker)) as producer, Stopwatch() as watch:
        producer.flush()
    assert watch.seconds < 0.5
