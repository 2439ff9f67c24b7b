"""Partitioners: a key goes to the partition that the Java client and librdkafka's other bindings choose.

On the embedded cluster. The hashes are golden vectors, known from the Java client's own tests (murmur2), from
other implementations (FNV-1a, CRC-32), and computed here a second time; kafka-python and confluent-kafka must agree.
"""
import random
import zlib

import pytest
from confluent_kafka import Producer
from kafka.partitioner.default import murmur2 as murmur2_of_kafka_python
from helpers import properties

import kafkapp
from kafkapp import ProducerRecord

PARTITIONS = 17
TEXT = b"PreAmbleWillBeRemoved,ThePrePartThatIs"
MURMUR2 = {     # as the Java client's signed int where its own tests have it
    b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829, b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107, b"": 0x106E08D9, b"kafka": 0xD067CF64, b"giberish123456789": 0x8F552B0C, b"1234": 0x9FC97B14,
    b"234": 0xE7C009CA, b"34": 0x873930DA, b"4": 0x5A4B5CA1, TEXT: 0x78424F1C, TEXT[1:]: 0x4A62B377, TEXT[2:]: 0xE0E4E09E,
    TEXT[3:]: 0x62B8B43F,
}
FNV1A = {       # without the sign
    b"": 0x7EE3623B, b"kafka": 0x0D33C4E1, b"giberish123456789": 0x77A58295, b"1234": 0x023BDD03, b"234": 0x2DEA3CD2,
    b"34": 0x740FA83E, b"4": 0x310CA263, TEXT: 0x65CBD69C, TEXT[1:]: 0x6E49C79A, TEXT[2:]: 0x69EED356, TEXT[3:]: 0x6ABCC023,
}
CRC32 = {b"": 0, b"123456789": 0xCBF43926, b"The quick brown fox jumps over the lazy dog": 0x414FA339}

EXPECTED = {
    "murmur2": {key: (value & 0x7FFFFFFF) % PARTITIONS for key, value in MURMUR2.items()},
    "fnv1a": {key: value % PARTITIONS for key, value in FNV1A.items()},
    "consistent": {key: value % PARTITIONS for key, value in CRC32.items()},
}


def murmur2(data):
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    result = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        word = int.from_bytes(data[place:place + 4], "little") * mix & mask
        result = (result * mix & mask) ^ ((word ^ word >> 24) * mix & mask)
    if rest := data[whole:]:
        result = (result ^ int.from_bytes(rest, "little")) * mix & mask
    result = (result ^ result >> 13) * mix & mask
    return result ^ result >> 15


def fnv1a(data):
    result = 0x811C9DC5
    for byte in data:
        result = (result ^ byte) * 0x01000193 & 0xFFFFFFFF
    return min(result, 2**32 - result)


HASHES = {"murmur2": lambda key: murmur2(key) & 0x7FFFFFFF, "fnv1a": fnv1a, "consistent": zlib.crc32}
CHOOSING = random.Random(12)
KEYS = [CHOOSING.randbytes(CHOOSING.randrange(1, 40)) for _ in range(300)]


@pytest.fixture
def topic(broker, request):
    name = f"partitioners-{abs(hash(request.node.name))}"
    broker.create_topic(name, partitions=PARTITIONS)
    return name


def chosen(broker, topic, keys, **more):
    """Where a producer of ours puts these keys: by a batch, and by single sends, which must agree."""
    with kafkapp.KafkaAsyncProducer(properties(broker, **more)) as producer:
        batch = producer.send_batch(topic, [b"v"] * len(keys), keys=keys)
        assert batch.wait(20) and not batch.failures()
        places = dict(zip(keys, batch.partitions, strict=True))
        single = {}

        def callback(metadata, error):
            single[metadata.record_id] = metadata.partition

        for key in keys:
            producer.send(ProducerRecord(topic, key=key, value=b"v", id=key), callback)
        producer.flush(20)
        assert single == places
    return places


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_vectors(broker, topic, name):
    for key, partition in EXPECTED[name].items():
        assert HASHES[name](key) % PARTITIONS == partition, key     # the second implementation is right
    assert chosen(broker, topic, list(EXPECTED[name]), partitioner=name) == EXPECTED[name]


def test_by_default_keys_go_where_the_java_client_puts_them(broker, topic):
    """Unlike librdkafka's own default: producers in Java and in Python must not part the records of a key."""
    keys = [key for key in MURMUR2 if key] + KEYS
    assert chosen(broker, topic, keys) == {key: (murmur2_of_kafka_python(key) & 0x7FFFFFFF) % PARTITIONS for key in keys}
    with kafkapp.KafkaAsyncProducer(properties(broker)) as producer:
        assert producer.get_property("partitioner") == "murmur2_random"


@pytest.mark.parametrize("name", [*HASHES, "murmur2_random", "fnv1a_random", "consistent_random"])
def test_keys_go_where_confluent_kafka_and_a_second_implementation_put_them(broker, topic, name):
    other = {}
    theirs = Producer({"bootstrap.servers": broker.bootstrap_servers, "partitioner": name, "log_level": 0})
    for key in KEYS:
        theirs.produce(topic, b"v", key, on_delivery=lambda error, message: other.setdefault(message.key(), message.partition()))
    assert theirs.flush(20) == 0
    places = chosen(broker, topic, KEYS, partitioner=name)
    assert places == other
    assert places == {key: HASHES[name.removesuffix("_random")](key) % PARTITIONS for key in KEYS}


NULL, EMPTY = None, b""
SPREAD = {      # which keys the partitioner spreads at random, and where it puts the others
    "random": {NULL: None, EMPTY: None, b"key": None},
    "consistent": {NULL: 0, EMPTY: 0},
    "consistent_random": {NULL: None, EMPTY: None},
    "murmur2": {NULL: 0x106E08D9 % PARTITIONS, EMPTY: 0x106E08D9 % PARTITIONS},
    "murmur2_random": {NULL: None, EMPTY: 0x106E08D9 % PARTITIONS},
    "fnv1a": {NULL: 0x7EE3623B % PARTITIONS, EMPTY: 0x7EE3623B % PARTITIONS},
    "fnv1a_random": {NULL: None, EMPTY: 0x7EE3623B % PARTITIONS},
}


@pytest.mark.parametrize("name", SPREAD)
def test_null_and_empty_keys(broker, topic, name):
    more = {"partitioner": name, "sticky_partitioning_linger_ms": 0}
    with kafkapp.KafkaAsyncProducer(properties(broker, **more)) as producer:
        producer.fetch_broker_metadata(topic)
        for key, partition in SPREAD[name].items():
            batch = producer.send_batch(topic, [b"v"] * 200, keys=[key] * 200)
            assert batch.wait(20) and not batch.failures()
            places = set(batch.partitions)
            if partition is None:
                assert len(places) > 5
            else:
                assert places == {partition}


def test_records_without_a_key_stick_to_a_partition_for_a_while(broker, topic):
    with kafkapp.KafkaAsyncProducer(properties(broker, sticky_partitioning_linger_ms=60000)) as producer:
        for partition in range(PARTITIONS):         # to a partition whose leader is not connected nothing sticks
            producer.send(ProducerRecord(topic, partition, value=b"v"))
        producer.flush(20)
        batch = producer.send_batch(topic, [b"v"] * 200)
        assert batch.wait(20) and len(set(batch.partitions)) == 1


def test_a_partition_that_is_given_is_not_the_partitioners_to_choose(broker, topic):
    with kafkapp.KafkaSyncProducer(properties(broker)) as producer:
        for partition in range(PARTITIONS):
            assert producer.send(ProducerRecord(topic, partition, b"kafka", b"v"), timeout=10).partition == partition
