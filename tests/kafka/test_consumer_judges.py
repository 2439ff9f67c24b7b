"""What our consumer reads is what other clients have written, byte for byte: as records, by buffers, by Arrow.

confluent-kafka, kafka-python and Kafka's console producer write. confluent-kafka's consumer reads the same log, too.
"""
import random
import subprocess
import time

import confluent_kafka
import kafka as kafka_python
import pytest
from json_program import kafka_tool
from kafka_admin import wait_until
from our_readers import OUR_READERS, Whole
from readback import read_messages
from three_readers import CODECS, Read, batches

import kafkapp

THEN = 1_600_000_000_123
HEADERS = [("a", b"1"), ("b", b""), ("a", None), ("binary", bytes(range(256))), ("ünicode", "größe".encode())]
SECONDS = 60


def special_records():
    """(key, value, headers, timestamp): what is easily confused, what is large, and many that are compressed together."""
    yield None, None, [], THEN
    yield b"", b"", [("", b"")], THEN + 1
    yield b"k", None, HEADERS, THEN + 2
    yield None, b"v", [("null", None)], THEN + 3
    yield bytes(range(256)), bytes(range(256)) * 20, HEADERS * 20, THEN - 5     # back in time
    yield b"noise", random.Random(7).randbytes(300_000), [], THEN + 4
    yield b"zeros", bytes(500_000), HEADERS, 1
    for number in range(300):
        yield b"%d" % number, b"value %d" % number * (number % 7), HEADERS[:number % 4], THEN + number


def usable_codecs():
    """The codecs that this librdkafka reads: librdkafka has snappy and lz4 in itself."""
    return [codec for codec in CODECS if codec in ("none", "snappy", "lz4") or codec in kafkapp.librdkafka_features()]


def write_by_confluent_kafka(bootstrap, topic, partition, codec, records):
    failures = []
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 50, "log_level": 0})
    for key, value, headers, timestamp in records:
        producer.produce(topic, value, key, partition, lambda error, _: error and failures.append(error), timestamp=timestamp,
                         headers=headers)
    assert producer.flush(SECONDS) == 0 and not failures, failures


def write_by_kafka_python(bootstrap, topic, partition, codec, records):
    producer = kafka_python.KafkaProducer(bootstrap_servers=bootstrap.split(","), linger_ms=50,
                                          compression_type=None if codec == "none" else codec)
    try:
        sent = [producer.send(topic, value, key, headers, partition, timestamp) for key, value, headers, timestamp in records]
        for future in sent:
            future.get(SECONDS)
    finally:
        producer.close(SECONDS)


WRITERS = {"confluent-kafka": write_by_confluent_kafka, "kafka-python": write_by_kafka_python}


def read_by_confluent_kafka(bootstrap, topic, committed=False):
    return [Read(m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1], m.timestamp()[0] == 2)
            for m in read_messages(bootstrap, topic, committed=committed, fence=False)]


def same(found, expected):
    """Equal, compared one by one: pytest would take minutes over the difference of two long lists."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("change", [{"key": b""}, {"value": b"other"}, {"value": None}, {"offset": 1}, {"timestamp": THEN + 1}, {"appended": True},
                                    {"headers": HEADERS[:-1]}, {"headers": [("a", None), *HEADERS[1:]]}])
def test_control_each_difference_is_seen(change):
    read = Read(0, 0, None, b"", HEADERS, THEN, False)
    same([read], [read._replace()])
    with pytest.raises(AssertionError):
        same([read._replace(**change)], [read])
    with pytest.raises(ValueError):     # one is missing
        same([read], [read, read])


@pytest.mark.parametrize("writer", WRITERS)
def test_what_another_client_has_written_is_read(writer, kafka, make_topic):
    codecs = usable_codecs()
    if writer == "kafka-python":
        codecs = [codec for codec in codecs if codec != "zstd" or kafka_python.codec.has_zstd()]
    topic = make_topic(partitions=len(codecs), config={"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"})
    records = [*special_records()]
    if writer == "kafka-python":        # it refuses some of what Kafka has
        records = [(key, value, [header for header in headers if header[1] is not None], timestamp)
                   for key, value, headers, timestamp in records if (key, value) != (None, None)]
    expected = []
    for partition, codec in enumerate(codecs):
        WRITERS[writer](kafka.bootstrap_servers, topic, partition, codec, records)
        expected += [Read(partition, offset, *record, False) for offset, record in enumerate(records)]
    same(read_by_confluent_kafka(kafka.bootstrap_servers, topic), expected)
    for name, read in OUR_READERS.items():
        whole = Whole(kafka.bootstrap_servers, topic, len(codecs), read)
        same(whole.found, expected)
        assert whole.eofs == whole.positions == dict.fromkeys(range(len(codecs)), len(records)), name
    if kafka.nodes:
        used = {codec for partition in range(len(codecs)) for codec, *_ in batches(kafka.nodes[1], topic, partition)}
        assert used == set(codecs)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_brokers_time_is_read_of_every_codec(writer, kafka, make_topic):
    codecs = [codec for codec in usable_codecs() if codec != "zstd"]
    topic = make_topic(partitions=len(codecs), config={"message.timestamp.type": "LogAppendTime"})
    before = time.time() * 1000
    for partition, codec in enumerate(codecs):
        WRITERS[writer](kafka.bootstrap_servers, topic, partition, codec, [(None, b"v" * 1000, [], THEN)] * 3)
    after = time.time() * 1000
    expected = read_by_confluent_kafka(kafka.bootstrap_servers, topic)
    assert len(expected) == 3 * len(codecs) and all(read.appended for read in expected)
    assert all(before - 2 <= read.timestamp <= after + 2 for read in expected)
    for read in OUR_READERS.values():
        assert Whole(kafka.bootstrap_servers, topic, len(codecs), read).found == expected


def console_producer(cluster, folder, topic, codec):
    """Kafka's own console producer: a line is headers, key and value."""
    command = kafka_tool(cluster, folder, "ConsoleProducer")
    command += ["--bootstrap-server", cluster.bootstrap_servers, "--topic", topic, "--compression-codec", codec,
                "--command-property", "linger.ms=100"]
    for setting in ("parse.key=true", "parse.headers=true", "null.marker=NULL", "headers.separator=;"):
        command += ["--reader-property", setting]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_what_kafkas_console_producer_has_written_is_read(kafka_nodes, make_topic, faults, tmp_path):
    rows = [("NULL", "NULL", "NULL"), ("a:1;a:NULL;a:2;b:", "", ""), ("NULL", "schlüssel", "größe"), ("h:NULL", "NULL", "v")]
    rows += [("NULL", f"k{number}", "value" * (number % 300)) for number in range(500)]
    text = "".join("\t".join(row) + "\n" for row in rows).encode()

    def field(text):
        return None if text == "NULL" else text.encode()

    expected = [(field(key), field(value), [] if headers == "NULL" else
                 [(name, field(item)) for name, _, item in (header.partition(":") for header in headers.split(";"))])
                for headers, key, value in rows]
    codecs = usable_codecs()
    if not faults.thorough:     # a JVM each; Java's snappy has a frame that others' has not
        codecs = ["snappy", faults.random.choice([codec for codec in codecs if codec != "snappy"])]
    topics = {codec: make_topic(assignment=[[1]]) for codec in codecs}
    before = time.time() * 1000
    writers = [console_producer(kafka_nodes, tmp_path, topics[codec], codec) for codec in codecs]     # JVMs start slowly: together
    try:
        said = [writer.communicate(text, timeout=SECONDS)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(SECONDS)
    assert [writer.returncode for writer in writers] == [0] * len(codecs), said
    for codec, topic in topics.items():
        theirs = read_by_confluent_kafka(kafka_nodes.bootstrap_servers, topic)
        for read in OUR_READERS.values():
            found = Whole(kafka_nodes.bootstrap_servers, topic, 1, read).found
            assert [(record.key, record.value, record.headers) for record in found] == expected
            assert found == theirs and all(before - 2 <= record.timestamp <= time.time() * 1000 + 2 for record in found)
        assert codec in {used for used, *_ in batches(kafka_nodes.nodes[1], topic, 0)}


class Name(str):
    """The name of a header, of any bytes: kafka-python asks it for its UTF-8."""

    def encode(self, *encoding):
        return bytes(map(ord, self))


def test_a_name_that_is_not_utf_8_harms_nothing(kafka, topic):
    headers = [(Name("\xff\xfe"), b"1"), (Name("plain"), b"\xff"), (Name("\xc3"), b"")]
    write_by_kafka_python(kafka.bootstrap_servers, topic, 0, "none", [(b"k", b"v", headers, THEN), (b"k", b"w", [], THEN)])
    for read in OUR_READERS.values():
        found = Whole(kafka.bootstrap_servers, topic, 1, read).found
        assert [record.value for record in found] == [b"v", b"w"]
        assert found[0].headers == [("\ufffd\ufffd", b"1"), ("plain", b"\xff"), ("\ufffd", b"")]


# -- transactions --------------------------------------------------------------------------------------------------------

def transactional_producer(kafka, name):
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name, "linger.ms": 5,
                                         "log_level": 0})
    producer.init_transactions(SECONDS)
    return producer


def write_transactions(kafka, topic, producer, ends, partitions=2, size=5):
    """A transaction for each end. Returns the values that are committed."""
    committed = []
    for number, end in enumerate(ends):
        producer.begin_transaction()
        values = [b"%d-%d-%s" % (number, each, end.encode()) for each in range(size * partitions)]
        for each, value in enumerate(values):
            producer.produce(topic, value, b"k", each % partitions)
        assert producer.flush(SECONDS) == 0
        if end == "commit":
            producer.commit_transaction(SECONDS)
            committed += values
        elif end == "abort":
            producer.abort_transaction(SECONDS)
    return committed


def test_markers_of_transactions_are_no_records_and_what_was_aborted_is_not_read(kafka, make_topic):
    topic = make_topic(partitions=2)
    ends = ["abort", "commit", "commit", "abort", "abort", "commit", "abort"]
    values = write_transactions(kafka, topic, transactional_producer(kafka, topic), ends)
    committed = read_by_confluent_kafka(kafka.bootstrap_servers, topic, committed=True)
    everything = read_by_confluent_kafka(kafka.bootstrap_servers, topic)
    assert sorted(record.value for record in committed) == sorted(values) and len(everything) == 70
    last, end = 6 * 6 - 1, 7 * 6       # each transaction is five records in a partition, and its marker
    for read in OUR_READERS.values():
        for size in (4, 100_000):       # polls that end before, at and behind a marker
            whole = Whole(kafka.bootstrap_servers, topic, 2, read, size, isolation_level="read_committed")
            assert whole.found == committed
            assert whole.positions == {0: last, 1: last}, "behind the last record that counts, not behind markers"
            assert whole.eofs == {0: end, 1: end}
            whole = Whole(kafka.bootstrap_servers, topic, 2, read, size, isolation_level="read_uncommitted")
            assert whole.found == everything
            assert whole.positions == {0: end - 1, 1: end - 1} and whole.eofs == {0: end, 1: end}


def test_nothing_is_read_from_an_open_transaction_on(kafka, topic):
    producer = transactional_producer(kafka, topic)
    values = write_transactions(kafka, topic, producer, ["commit", "open"], partitions=1)
    write_by_confluent_kafka(kafka.bootstrap_servers, topic, 0, "none", [(None, b"behind it", [], THEN)])
    whole = Whole(kafka.bootstrap_servers, topic, 1)
    assert [record.value for record in whole.found] == values
    assert (whole.positions, whole.eofs) == ({0: 5}, {0: 6})
    assert len(Whole(kafka.bootstrap_servers, topic, 1, isolation_level="read_uncommitted").found) == 11
    with kafkapp.KafkaConsumer({"bootstrap.servers": kafka.bootstrap_servers, "fetch.wait.max.ms": 50}) as consumer:
        place = topic, 0
        assert consumer.end_offsets([place]) == {place: 6}
        consumer.assign({place: 5})             # a marker stands there
        assert not consumer.poll(0.2) and consumer.position(place) == 5
        producer.commit_transaction(SECONDS)
        found, deadline = [], time.monotonic() + SECONDS
        while len(found) < 6:
            assert time.monotonic() < deadline, found
            found += [(record.offset, bytes(record.value)) for record in consumer.poll(1)]
    assert found == [*((6 + each, b"1-%d-open" % each) for each in range(5)), (11, b"behind it")]


# -- logs with holes -------------------------------------------------------------------------------------------------------

def write_until_compacted(kafka, make_topic):
    """A topic whose log the broker has compacted."""
    topic = make_topic(config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "1000",
                               "delete.retention.ms": "100000000"})
    records = [(b"key%d" % (number % 7), b"%d" % number * (number % 50), HEADERS[:number % 3], THEN + number) for number in range(600)]
    records.append((b"key0", None, [], THEN + 600))       # a tombstone
    write_by_confluent_kafka(kafka.bootstrap_servers, topic, 0, "none", records)
    records = [(b"last", b"l", [], THEN + 5000 * number) for number in range(1, 3)]     # old enough to end the segments before
    write_by_confluent_kafka(kafka.bootstrap_servers, topic, 0, "none", records)
    wait_until(lambda: len(read_by_confluent_kafka(kafka.bootstrap_servers, topic)) < 600, SECONDS, f"{topic} to be compacted")
    return topic


def test_a_compacted_log_is_read_with_its_gaps(kafka, make_topic):
    topic = write_until_compacted(kafka, make_topic)
    theirs = read_by_confluent_kafka(kafka.bootstrap_servers, topic)
    assert theirs[-1].offset == 602 > len(theirs)
    assert {record.key: record.value for record in theirs} == {b"key0": None, b"last": b"l", **{
        b"key%d" % (number % 7): b"%d" % number * (number % 50) for number in range(593, 600) if number % 7}}
    for read in OUR_READERS.values():
        for size in (3, 100_000):
            assert Whole(kafka.bootstrap_servers, topic, 1, read, size).found == theirs


def test_a_log_whose_first_records_were_deleted_is_read_from_where_it_begins(kafka, topic):
    write_by_confluent_kafka(kafka.bootstrap_servers, topic, 0, "none", [(None, b"%d" % number, [], THEN) for number in range(100)])
    place = confluent_kafka.TopicPartition(topic, 0, 40)
    kafka.admin.delete_records([place])[place].result(SECONDS)
    expected = [Read(0, number, None, b"%d" % number, [], THEN, False) for number in range(40, 100)]
    for start in (kafkapp.Offset.Beginning, 0):     # 0 is out of range: auto.offset.reset
        assert Whole(kafka.bootstrap_servers, topic, 1, start=start, auto_offset_reset="earliest").found == expected


def test_large_values_are_read_alone_and_among_small_ones(kafka, make_topic):
    large = random.Random(8).randbytes(8 << 20)
    topic = make_topic(config={"max.message.bytes": str(10 << 20)})
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 10 << 20, "log_level": 0})
    for value in (large, b"small", b"", large[1:], large[:5_000_000]):
        producer.produce(topic, value, b"k", 0, timestamp=THEN, headers=[("large", value[:70_000])])
    assert producer.flush(SECONDS) == 0
    theirs = read_by_confluent_kafka(kafka.bootstrap_servers, topic)
    assert len(theirs) == 5
    for read in OUR_READERS.values():
        same(Whole(kafka.bootstrap_servers, topic, 1, read).found, theirs)
