"""A consumer reads what was written, byte for byte, as confluent-kafka does: records, positions, ends, errors, limits."""
import pytest
from consumers import batches, fields, new_consumer, one_batch, plain, records
from helpers import LIBRDKAFKA, NOWHERE, needs, properties
from readback import read_messages

from kafkapp import ConsumerConfig, ErrorCode, KafkaAsyncProducer, KafkaException, KafkaSyncProducer
from kafkapp import KafkaConsumer
from kafkapp import Offset, TopicPartition


@pytest.fixture
def producer(broker):
    with KafkaSyncProducer(properties(broker)) as producer:
        yield producer


def write_odd_ones(producer, topic):
    """Records with everything that a record may lack. Returns how many."""
    kinds = [(None, None), (b"", b""), (b"key", b"value"), (None, b"\0\xff" * 500), (b"k" * 3000, None), (b"", b"x" * 70_000)]
    for number, (key, value) in enumerate(kinds * 2):
        producer.send(topic, value, key=key, partition=number % 4, timestamp=1_700_000_000_000 + number,
                      headers=[("a", b"1"), ("a", None), ("b", b"")][:number % 4])
    return len(kinds) * 2


def test_it_reads_what_another_client_reads(broker, topic, producer):
    count = write_odd_ones(producer, topic)
    theirs = sorted(map(fields, read_messages(broker.bootstrap_servers, topic, fence=False)), key=lambda one: one[1:3])
    with new_consumer(broker, topic) as consumer:
        ours = sorted(map(fields, records(consumer, count)), key=lambda one: one[1:3])
    assert ours == theirs and len(ours) == count


@pytest.mark.parametrize("codec", ["none", pytest.param("gzip", marks=needs("gzip")), "snappy", "lz4"])
def test_codecs(broker, topic, codec):
    values = [b"value %d " % number * 20 for number in range(3000)]
    with KafkaSyncProducer(properties(broker, compression_type=codec)) as producer:
        producer.send_batch(topic, values, partition=2)
    with new_consumer(broker, topic) as consumer:
        assert [plain(record.value) for record in records(consumer, len(values))] == values


def test_a_record_says_what_it_is(broker, topic, producer):
    producer.send(topic, b"value", key=b"key", partition=3, headers=[("h", b"1"), ("h", b"2")], timestamp=5)
    with new_consumer(broker, topic) as consumer:
        record, = consumer.poll(20)
    assert str(record) == f"{topic}-3:0, CreateTime[1970-01-01 00:00:00.005], key/value"
    assert repr(record) == f"<ConsumerRecord {topic}-3:0>"
    assert record.last_header_value("h") == b"2" and record.last_header_value("missing").data is None
    assert record.value == b"value" and memoryview(record.value).readonly
    assert record.leader_epoch == (0 if LIBRDKAFKA >= (2, 3) else None)


def test_it_returns_what_there_is_and_an_empty_batch_in_time(broker, topic, producer):
    with new_consumer(broker, topic) as consumer:
        assert not consumer.poll_batch(0) and not consumer.poll(0.05) and len(consumer.poll(0)) == 0
        producer.send(topic, b"v", partition=0)
        assert len(consumer.poll_batch(20, max_records=1000)) == 1      # though 1000 never come


def test_limits(broker, topic, producer):
    producer.send_batch(topic, [b"x" * 1000] * 3000, partition=0)
    with new_consumer(broker, topic) as consumer:
        assert max(map(len, batches(consumer, 3000, max_records=7))) == 7
        consumer.seek_to_beginning()
        sizes = [batch.nbytes for batch in batches(consumer, 3000, max_bytes=20_000)]
    assert max(sizes) <= 20_000        # all are of one size, so the mean tells how many fit


def test_poll_has_its_limit_from_a_property(broker, topic, producer):
    producer.send_batch(topic, [b"v"] * 3000, partition=0)
    with new_consumer(broker, topic, [0], max_poll_records=7) as consumer:
        assert consumer.get_property("max.poll.records") == "7"
        assert max(len(consumer.poll(20)) for _ in range(100)) == 7
        assert max(len(consumer.poll(20, 9)) for _ in range(100)) == 9


def test_a_record_above_the_limit_comes_alone(broker, topic, producer):
    producer.send_batch(topic, [b"x" * 50_000] * 20, partition=0)
    with new_consumer(broker, topic) as consumer:
        assert [len(batch) for batch in batches(consumer, 20, max_bytes=10) if batch] == [1] * 20


def test_positions_follow_what_was_returned(broker, topic, producer):
    producer.send_batch(topic, [b"v"] * 100, partition=1)
    with new_consumer(broker, topic) as consumer:
        consumer.assign({(topic, 1): 40, (topic, 2): Offset.End})
        assert consumer.position((topic, 1)) == 40 and consumer.position((topic, 2)) is None
        batch = consumer.poll_batch(20, max_records=10)
        assert batch.ends == {(topic, 1): 40 + len(batch)} and consumer.position((topic, 1)) == 40 + len(batch)
        assert batch[0].offset == 40
        with pytest.raises(KafkaException) as raised:
            consumer.position((topic, 3))
        assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        assert consumer.assignment() == {TopicPartition(topic, 1), (topic, 2)}


def test_ends_of_partitions(broker, topic, producer):
    producer.send_batch(topic, [b"v"] * 10, partition=1)
    with new_consumer(broker, topic, [1, 2], enable_partition_eof=True) as consumer:
        count, eofs = 0, {}
        while len(eofs) < 2:
            batch = consumer.poll_batch(20)
            assert batch.eofs or batch
            count += len(batch)
            eofs |= batch.eofs
        assert eofs == {(topic, 1): 10, (topic, 2): 0} and count == 10
        assert consumer.position((topic, 1)) == 10


def test_an_error_of_a_partition_takes_nothing_from_the_others(broker, topic, producer):
    producer.send_batch(topic, [b"v"] * 10, partition=0)
    with new_consumer(broker, auto_offset_reset="error") as consumer:
        consumer.assign({(topic, 0): 0, (topic, 1): 1000})
        count, errors = 0, []
        while not (count == 10 and errors):
            try:
                batch = consumer.poll_batch(20)
                count += len(batch)
                assert batch
            except KafkaException as error:
                errors.append(error)
    assert [error.error.code for error in errors] == [ErrorCode.RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET]
    assert str(errors[0]).find(f"{topic} [1]: ") >= 0


def test_an_offset_that_is_not_there(broker, topic, producer):
    producer.send(topic, b"v", partition=0)
    with new_consumer(broker, auto_offset_reset="error") as consumer:
        consumer.assign({(topic, 0): 1000})
        with pytest.raises(KafkaException) as raised:
            while True:
                assert not consumer.poll_batch(20)
    assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET


@pytest.mark.parametrize(("wrong", "kind"), [
    ({"max_records": 0}, ValueError), ({"max_records": -1}, ValueError), ({"max_records": 2**31}, ValueError), ({"max_records": 1.5}, TypeError),
    ({"max_records": True}, TypeError), ({"max_bytes": 0}, ValueError), ({"max_bytes": 2**30 + 1}, ValueError), ({"timeout": -1}, ValueError)])
def test_malformed_polls(broker, wrong, kind):
    with new_consumer(broker) as consumer, pytest.raises(kind, match=f"^{next(iter(wrong))} must be "):
        consumer.poll_batch(**{"timeout": 0, **wrong})


@pytest.mark.parametrize(("wrong", "kind"), [
    ("t", TypeError), (5, TypeError), ([("t",)], ValueError), ([("t", 0, 5)], ValueError), ([("", 0)], ValueError), ([("t\0", 0)], ValueError),
    ([(b"t", 0)], TypeError), ([("t", -1)], ValueError), ([("t", 2**31)], ValueError), ([("t", 0), ("t", 0)], ValueError), ([None], TypeError),
    ({("t", 0): -5}, ValueError), ({("t", 0): 1.5}, TypeError), ({("t", 0): None}, TypeError), ([("t" * 513, 0)], ValueError)])
def test_malformed_assignments_change_nothing(broker, wrong, kind):
    with new_consumer(broker) as consumer:
        consumer.assign([("kept", 3)])
        with pytest.raises(kind):
            consumer.assign(wrong)
        assert consumer.assignment() == {("kept", 3)}


# Of kafkapp; librdkafka 2.0.2 has no short back-off, and needs a long queue.
FETCHING = ({"fetch.queue.backoff.ms": "10", "queued.min.messages": "20000", "fetch.max.bytes": "8388608"} if LIBRDKAFKA >= (2, 2)
            else {"queued.min.messages": "100000", "fetch.max.bytes": "52428800"})


@pytest.mark.parametrize("given, fetched", [({"message.max.bytes": 9_000_000}, "52428800"), ({"receive.message.max.bytes": 60_000_000}, "52428800"),
                                            ({"fetch.max.bytes": 1_000_000}, "1000000")])
def test_a_limit_of_messages_is_given_its_room(given, fetched):
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None, **given}) as consumer:
        assert consumer.get_property("fetch.max.bytes") == fetched


def test_its_properties():
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None}) as consumer:
        assert consumer.get_property("group.id") == consumer.group_id and len(consumer.group_id) == 12
        assert consumer.get_property("enable.auto.offset.store") == "false"
        assert consumer.get_property("max.poll.records") == consumer.properties[ConsumerConfig.MAX_POLL_RECORDS] == "500"
        assert FETCHING == {name: consumer.get_property(name) for name in FETCHING}
        assert not consumer.closed and consumer.name.startswith(consumer.client_id)
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "group.id": "mine", "log_cb": lambda *line: None}) as consumer:
        assert consumer.group_id == "mine"


@pytest.mark.parametrize("wrong", [{"enable.auto.commit": "yes"}, {"enable.auto.offset.store": True}, {"group.id": ""}, {"fetch.max.bytes": "x"}, {"max.poll.records": 0},
                                   {"max.poll.records": "5x"}, {"max.poll.records": -1}, {"max.poll.records": 1 << 31}, {"max.poll.records": "9" * 5000}])
def test_properties_that_are_refused(wrong):
    with pytest.raises(KafkaException) as raised:
        KafkaConsumer({"bootstrap.servers": NOWHERE, **wrong})
    assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG and next(iter(wrong)) in str(raised.value)


@pytest.mark.skipif(LIBRDKAFKA < (2, 15), reason="its embedded cluster may end transactions without a mark in the log, as 2.0.2's")
def test_offsets_without_a_record_count(broker, topic):
    """Of the ends of transactions: what comes next is behind the last record, and is where a commit says to go on."""
    with KafkaAsyncProducer(properties(broker, transactional_id=topic)) as producer:
        producer.init_transactions(20)
        for _ in range(3):
            producer.begin_transaction()
            producer.send_batch(topic, [b"v"] * 4, partition=1)
            producer.commit_transaction(20)
    with new_consumer(broker, topic, [1], group_id=topic) as consumer:
        batch = one_batch(consumer, 12)
        assert list(batch.offsets) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
        assert batch.ends == {(topic, 1): 14} and consumer.position((topic, 1)) == 14
        consumer.commit_sync(batch, 20)
        assert consumer.committed([(topic, 1)]) == {(topic, 1): 14}
