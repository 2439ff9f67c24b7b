"""Transactions against a real coordinator (parity.md, T1 and R9): what is committed is seen, whole; the rest is not."""

import time

import pytest
from readback import read_messages

import kafkapp
from kafkapp import KafkaException, ProducerRecord

DELIVERY = 30


@pytest.fixture
def open_producer(kafka, make_topic):
    """Opens transactional producers, by default with a transactional.id of the test's own."""

    def open_producer(transactional_id, **more):
        properties = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": transactional_id}
        return kafkapp.KafkaAsyncProducer(properties | {name.replace("_", "."): v for name, v in more.items()})

    return open_producer


def initialise(producer):
    """init_transactions, again while the coordinator is still loading its log: the error says that it may be retried."""
    deadline = time.monotonic() + DELIVERY
    while True:
        try:
            return producer.init_transactions(DELIVERY)
        except KafkaException as failure:
            if not failure.error.is_retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture
def seen(kafka):
    """The values that a reader of committed, or of all records finds."""

    def seen(topic, committed):
        found = read_messages(kafka.bootstrap_servers, topic, committed=committed, fence=False)
        return [message.value() for message in found]

    return seen


def test_t1_a_committed_transaction_is_seen_and_an_aborted_one_is_not(open_producer, topic, seen):
    with open_producer(topic) as producer:
        initialise(producer)
        with producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"committed"))
        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, None, b"aborted"))
        producer.flush(DELIVERY)
        producer.abort_transaction(DELIVERY)
        with pytest.raises(ZeroDivisionError), producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"raised"))
            producer.flush(DELIVERY)
            raise ZeroDivisionError
        with producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"again"))
    assert seen(topic, committed=True) == [b"committed", b"again"]
    assert seen(topic, committed=False) == [b"committed", b"aborted", b"raised", b"again"]


def test_t4_a_successor_fences_its_predecessor_and_redoes_what_that_left_open(open_producer, topic, seen):
    with open_producer(topic) as first:
        initialise(first)
        with first.transaction():
            for number in range(10):
                first.send(ProducerRecord(topic, 0, None, str(number)))
        first.begin_transaction()
        for number in range(10, 20):
            first.send(ProducerRecord(topic, 0, None, str(number)))
        first.flush(DELIVERY)
        with open_producer(topic) as second:
            initialise(second)
            with second.transaction():
                for number in range(10, 20):
                    second.send(ProducerRecord(topic, 0, None, str(number)))
        with pytest.raises(KafkaException) as failure:
            first.commit_transaction(DELIVERY)
        assert failure.value.error.is_fatal
    assert seen(topic, committed=True) == [str(number).encode() for number in range(20)]
    assert len(seen(topic, committed=False)) == 30


def test_r9_a_delivery_failure_has_the_transaction_aborted(open_producer, topic, kafka_nodes, seen):
    with open_producer(topic, message_timeout_ms=1000, transaction_timeout_ms=20000) as producer:
        initialise(producer)
        producer.begin_transaction()
        with kafka_nodes.paused():
            producer.send(ProducerRecord(topic, 0, None, b"never seen"))
            producer.flush(DELIVERY)
        with pytest.raises(KafkaException) as failure:
            producer.commit_transaction(DELIVERY)
        assert failure.value.error.transaction_requires_abort
        producer.abort_transaction(DELIVERY)
    assert seen(topic, committed=True) == []
