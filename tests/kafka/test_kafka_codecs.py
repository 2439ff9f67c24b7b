"""What three other clients read is what was sent: each codec, headers, nulls, a megabyte, timestamps of both kinds."""

import os
import random
import time

import pytest
from three_readers import CODECS, READERS, Read, batches

import kafkapp
from kafkapp import ProducerRecord, Timestamp

MEBIBYTE = 1 << 20
HEADERS = [("a", b"1"), ("b", b""), ("a", None), ("binary", bytes(range(256))), ("ünicode", "größe".encode())]
THEN = 1_600_000_000_123


def special_records():
    """(key, value, headers, timestamp): what is easily confused, and what is large."""
    noise = random.Random(7).randbytes(MEBIBYTE)
    yield None, None, [], THEN
    yield b"", b"", [("", b"")], THEN + 1
    yield b"k", None, HEADERS, THEN + 2
    yield None, b"v", [("null", None)], THEN + 3
    yield bytes(range(256)), bytes(range(256)) * 20, HEADERS * 20, THEN - 5     # back in time
    yield b"noise", noise, [], THEN + 4
    yield b"zeros", bytes(MEBIBYTE), HEADERS, 1
    yield "schlüssel".encode(), "größe\0".encode(), [], 253402300799999         # the last millisecond of 9999


def properties(kafka, codec, **more):
    made = {"bootstrap.servers": kafka.bootstrap_servers, "compression.type": codec, "message.max.bytes": 2 * MEBIBYTE,
            "linger.ms": 50, "acks": "all"}
    return made | {name.replace("_", "."): value for name, value in more.items()}


@pytest.fixture(params=CODECS)
def codec(request):
    feature = {"none": None}.get(request.param, request.param)
    if feature and feature not in kafkapp.librdkafka_features():
        pytest.skip(f"this librdkafka has no {feature}")
    return request.param


def test_every_codec_is_read_equal_by_every_client(codec, kafka_nodes, make_topic):
    topic = make_topic(assignment=[[1]], config={"max.message.bytes": str(2 * MEBIBYTE), "retention.ms": "-1",
                                                 "message.timestamp.after.max.ms": str(2**63 - 1)})
    delivered, expected = {}, []

    def callback(metadata, error):
        assert error is None, error
        delivered[metadata.record_id] = metadata

    small = [os.urandom(3).hex() * 20 for _ in range(500)]
    with kafkapp.KafkaAsyncProducer(properties(kafka_nodes, codec)) as producer:
        for number, (key, value, headers, timestamp) in enumerate(special_records()):
            producer.send(ProducerRecord(topic, 0, key, value, number, headers=headers, timestamp=timestamp), callback)
            expected.append(Read(0, number, key, value, headers, timestamp, False))
        producer.flush(30)
        first = len(expected)
        batch = producer.send_batch(topic, small, keys=b"key", partition=0, headers=HEADERS, timestamps=THEN)
        assert batch.wait(30) and not batch.failures()
    expected += [Read(0, first + i, b"key", value.encode(), HEADERS, THEN, False) for i, value in enumerate(small)]
    assert [delivered[number].offset for number in range(first)] == list(range(first))
    assert {m.timestamp.type for m in delivered.values()} == {Timestamp.Type.CreateTime}
    assert [delivered[number].timestamp.ms for number in range(first)] == [read.timestamp for read in expected[:first]]
    for name, read in READERS.items():
        found = read(kafka_nodes.bootstrap_servers, topic)
        for sent, got in zip(expected, found, strict=True):
            assert got == sent, name
    in_log = batches(kafka_nodes.nodes[1], topic, 0)
    assert sum(count for *_, count in in_log) == len(expected)
    # Of a batch that does not become smaller librdkafka sends the plain form.
    assert {used for used, *_ in in_log} <= {codec, "none"}
    assert in_log[-1][0] == codec


def test_log_append_time_is_the_brokers_for_every_codec_and_every_client(codec, kafka_nodes, make_topic):
    topic = make_topic(assignment=[[1]], config={"message.timestamp.type": "LogAppendTime"})
    before = time.time() * 1000
    with kafkapp.KafkaSyncProducer(properties(kafka_nodes, codec, linger_ms=0)) as producer:
        delivered = [producer.send(ProducerRecord(topic, 0, value=b"v" * 1000, timestamp=THEN), timeout=30) for _ in range(3)]
    after = time.time() * 1000
    assert all(metadata.timestamp.type == Timestamp.Type.LogAppendTime for metadata in delivered)
    assert all(before - 2 <= metadata.timestamp.ms <= after + 2 for metadata in delivered)
    expected = [Read(0, m.offset, None, b"v" * 1000, [], m.timestamp.ms, True) for m in delivered]
    for name, read in READERS.items():
        assert read(kafka_nodes.bootstrap_servers, topic) == expected, name
    assert {appended for _, appended, _ in batches(kafka_nodes.nodes[1], topic, 0)} == {True}


def test_without_a_timestamp_it_is_the_time_of_the_send(kafka, make_topic):
    topic = make_topic()
    before = time.time() * 1000
    with kafkapp.KafkaSyncProducer(properties(kafka, "none", linger_ms=0)) as producer:
        metadata = producer.send(ProducerRecord(topic, 0, value=b"v"), timeout=30)
    assert metadata.timestamp.type == Timestamp.Type.CreateTime
    assert before - 2 <= metadata.timestamp.ms <= time.time() * 1000 + 2
    for name, read in READERS.items():
        assert [(r.timestamp, r.appended) for r in read(kafka.bootstrap_servers, topic)] == [(metadata.timestamp.ms, False)], name


@pytest.mark.parametrize("level", [1, 9])
def test_a_level_of_compression_is_taken(level, kafka_nodes, make_topic):
    topic = make_topic(assignment=[[1]])
    value = b"".join(b"%d," % number for number in range(20000))
    with kafkapp.KafkaSyncProducer(properties(kafka_nodes, "gzip", compression_level=level, linger_ms=0)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value), timeout=30)
    for name, read in READERS.items():
        assert [r.value for r in read(kafka_nodes.bootstrap_servers, topic)] == [value], name
    assert batches(kafka_nodes.nodes[1], topic, 0) == [("gzip", False, 1)]
