"""The sanitizers' workload: a little of everything that touches native memory; quick, and with one librdkafka only.

`tests/support/sanitize.py` runs it under AddressSanitizer and valgrind.
"""
import gc

import pytest
from faultkit import Books, make
from helpers import NOWHERE

from kafkapp import ErrorCode, KafkaException, ProducerRecord, SendOption


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_refused_with_headers(broker, topic, faults, kind):
    # The owner of the headers when the partition is unknown: before 2.12 it differs with the way of passing them.
    producer = make(kind, broker)
    producer.fetch_broker_metadata(topic)
    headers = [("name", b"value" * 20), ("empty", b""), ("null", None)]
    for _ in range(faults.rounds(50, 5000)):
        error = producer.try_send(ProducerRecord(topic, 77, value=b"v", headers=headers))
        assert error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        batch = producer.send_batch(topic, [b"v"] * 3, partition=77, headers=headers)
        assert [code for _, code in batch.failures()] and batch.done
        assert producer.try_send(ProducerRecord(topic, 0, value=bytes(2_000_000), headers=headers)).code \
            == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
    producer.close()


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_an_unknown_partition_found_out_later(cluster, kind):
    # The topic is not known yet at the call: the record is accepted, and fails when it is.
    books = Books()
    cluster.create_topic("later", partitions=2)
    producer = make(kind, cluster)
    for number in range(20):
        books.accept(number)
        record = ProducerRecord("later", number % 4, value=bytearray(9), id=number, headers=[("h", b"v")])
        error = producer.try_send(record, books.report)
        if error is not None:           # a slow machine: the topic is known by now
            books.count(number, error.code)
    producer.close(10)
    books.check()
    assert books.codes == {None: 10, ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: 10}


@pytest.mark.parametrize("option", list(SendOption))
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_sent_and_reported(broker, topic, kind, option):
    books = Books()
    producer = make(kind, broker, {"linger.ms": 1})
    for size in (0, 1, 100, 70_000):
        for payload in (bytes(size), bytearray(size), memoryview(bytes(size)), "s" * size):
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord(topic, 0, bytearray(b"key"), payload, number, headers=[("h", bytes(size))],
                                         timestamp=1), books.report, option)
            producer.send(ProducerRecord(topic, value=payload), None, option)
            producer.send_batch(topic, [payload] * 5, option=option, headers=[("h", b"v")])
            producer.send_batch(topic, [payload] * 5, keys=[b"k"] * 5, callback=lambda batch: None)
    producer.flush(20)
    books.check()
    assert books.codes == {None: 16}
    producer.close()


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_purged_and_dropped(kind):
    books = Books()
    for how in ("close", "drop", "purge"):
        producer = make(kind, NOWHERE)
        for _ in range(30):
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord("t", value=bytearray(10), id=number, headers=[("h", b"v")]), books.report)
            producer.send_batch("t", [bytearray(3)] * 4)
        if how == "purge":
            producer.purge()
            producer.flush(5)
        if how != "drop":
            producer.close(0)
            continue
        producer.purge()
        with pytest.warns(ResourceWarning):
            del producer
            gc.collect()
    books.check()


def test_a_synchronous_producer(broker, topic):
    with make("sync", broker) as producer:
        assert producer.send(ProducerRecord(topic, 0, value=bytearray(100), headers=[("h", b"v")])).value_size == 100
        batch = producer.send_batch(topic, [b"v"] * 100)
        assert batch.accepted == 100 and not batch.failures()
        with pytest.raises(KafkaException):
            producer.send(ProducerRecord(topic, 99, value=b"v", headers=[("h", b"v")]))


def test_callbacks_that_raise(broker, topic):
    def callback(metadata, error):
        raise LookupError

    producer = make("Manual", broker)
    for _ in range(3):
        producer.send(ProducerRecord(topic, value=b"v"), callback)
    with pytest.raises((LookupError, ExceptionGroup)):
        producer.flush(10)
    producer.close()
