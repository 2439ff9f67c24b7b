"""Unknown offsets and timestamps: failures, duplicates, acks=0, lost responses; otherwise the broker's.

librdkafka counts on from what an answer has for the first record, also where that is no offset.
"""
from array import array

import pytest
from faultkit import make
from scripted_broker import ScriptedBroker, answer
from helpers import HELD, LIBRDKAFKA, Reports

from kafkapp import ErrorCode, PersistedStatus, ProducerRecord

POLICY_VIOLATION = 44
DUPLICATE_SEQUENCE_NUMBER = 46
INVALID_RECORD = 87
UNKNOWN = -1001


def send_some(producer, count=5, partition=0):
    """What becomes of records that were sent one by one, and of a batch, each of them in one request."""
    reports = Reports()
    producer.fetch_broker_metadata("t")
    for number in range(count):
        producer.send(ProducerRecord("t", partition, value=b"v", id=number), reports)
    producer.flush(20)
    batch = producer.send_batch("t", [b"v"] * count, partition=partition)
    producer.flush(20)
    assert batch.done
    return sorted((metadata.record_id, metadata, error) for metadata, error in reports.calls), batch


def offsets(reports):
    return [metadata.offset for _, metadata, _ in reports]


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
@pytest.mark.parametrize("offset", [-1, 0, 700])
def test_offsets_of_a_refused_request_are_unknown(kind, offset):
    with ScriptedBroker(lambda asked: answer(POLICY_VIOLATION, offset, 5)) as broker, make(kind, broker, HELD) as producer:
        reports, batch = send_some(producer)
    assert [asked.count for asked in broker.requests] == [5, 5]
    assert offsets(reports) == [None] * 5 and list(batch.offsets) == [UNKNOWN] * 5
    assert [metadata.timestamp for _, metadata, _ in reports] == [None] * 5
    assert [str(metadata).partition(",")[0] for _, metadata, _ in reports] == [f"t-0@NA:id[{i}]" for i in range(5)]
    assert {error.code for *_, error in reports} == {ErrorCode(code) for code in batch.errors} == {POLICY_VIOLATION}


def test_offsets_of_an_accepted_request_are_known():
    with ScriptedBroker(lambda asked: answer(0, 700 + 10 * asked.number, 5)) as broker, make("Auto", broker, HELD) as producer:
        reports, batch = send_some(producer)
    assert offsets(reports) == [700, 701, 702, 703, 704] and list(batch.offsets) == [710, 711, 712, 713, 714]
    assert {metadata.timestamp.ms for _, metadata, _ in reports} == {5}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_partitions_that_are_answered_differently(kind):
    answers = {0: answer(0, 40), 1: answer(POLICY_VIOLATION), 2: answer(0, 0), 3: answer(INVALID_RECORD, 9)}
    with ScriptedBroker(lambda asked: answers[asked.partition], partitions=4) as broker, make(kind, broker, HELD) as producer:
        reports = Reports()
        producer.fetch_broker_metadata("t")
        for number in range(20):
            producer.send(ProducerRecord("t", number % 4, value=b"v", id=number), reports)
        producer.flush(20)
        batch = producer.send_batch("t", [b"v"] * 20, partition=0)
        producer.flush(20)
        assert batch.done
        mixed = producer.send_batch("t", [b"v"] * 20, partition=array("i", [number % 4 for number in range(20)]))
        producer.flush(20)
        assert mixed.done
    found = {metadata.record_id: metadata.offset for metadata, _ in reports.calls}
    places = {0: 40, 2: 0}
    expected = [places[number % 4] + number // 4 if number % 4 in places else None for number in range(20)]
    assert [found[number] for number in range(20)] == expected
    assert list(mixed.offsets) == [UNKNOWN if offset is None else offset for offset in expected]
    assert list(batch.offsets) == list(range(40, 60))


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_duplicate_is_delivered_at_an_unknown_offset(kind):
    # An idempotent producer takes it for the answer that it had missed: delivered, and nobody knows at which offset.
    with ScriptedBroker(lambda asked: answer(DUPLICATE_SEQUENCE_NUMBER)) as broker, \
            make(kind, broker, HELD, {"enable.idempotence": True}) as producer:
        reports, batch = send_some(producer)
    assert [error for *_, error in reports] == [None] * 5 and set(batch.errors) == {0}
    assert offsets(reports) == [None] * 5 and list(batch.offsets) == [UNKNOWN] * 5
    assert {metadata.persisted_status for _, metadata, _ in reports} == {PersistedStatus.Done}


@pytest.mark.parametrize("indexes", [(2,), (0, 2, 4)])
def test_offsets_beside_records_that_fail_their_request_are_unknown(indexes):
    if LIBRDKAFKA < (2, 4):
        pytest.skip("before 2.4.0 librdkafka reads no errors of single records")
    errors = tuple((index, f"record {index} is bad") for index in indexes)
    with ScriptedBroker(lambda asked: answer(INVALID_RECORD, -1, -1, errors)) as broker, make("Auto", broker, HELD) as producer:
        reports, batch = send_some(producer)
    assert offsets(reports) == [None] * 5 and list(batch.offsets) == [UNKNOWN] * 5
    # Of a single one librdkafka's interceptors give the others the same code.
    codes = [ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD if i in indexes or len(indexes) == 1
             else ErrorCode.RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD for i in range(5)]
    assert [error.code for *_, error in reports] == list(batch.errors) == codes


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_without_acks_no_offset_is_known(kind, cluster, topic):
    # More of one request than librdkafka's "unknown" is below zero.
    with make(kind, cluster, HELD, acks=0) as producer:
        reports = Reports()
        producer.fetch_broker_metadata(topic)
        for number in range(1500):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        producer.flush(20)
        batch = producer.send_batch(topic, [b"v"] * 1500, partition=0)
        producer.flush(20)
        assert batch.done
    assert {metadata.offset for metadata, error in reports.calls if error is None} == {None} and len(reports.calls) == 1500
    assert set(batch.offsets) == {UNKNOWN} and set(batch.errors) == {0}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_offsets_of_records_whose_answer_never_comes_are_unknown(kind, cluster, topic):
    with make(kind, cluster, {"linger.ms": 300, "message.timeout.ms": 9000, "request.timeout.ms": 1000, "retries": 0}) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        cluster.set_rtt(1, 10)
        reports = Reports()
        for number in range(1500):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
        batch = producer.send_batch(topic, [b"v"] * 1500, partition=0)
        producer.flush(20)
        cluster.set_rtt(1, 0)
    assert {metadata.offset for metadata, error in reports.calls if error} == {None} and len(reports.calls) == 1500
    assert set(batch.offsets) == {UNKNOWN} and 0 not in set(batch.errors)
