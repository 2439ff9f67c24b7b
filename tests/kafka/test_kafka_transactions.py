"""Transactions against a real coordinator (parity.md, T1, T3, T4 and R9): readers see all of a commit, and nothing else."""

import asyncio
import signal
import subprocess
import sys

import pytest
from readback import read_messages

import kafkapp
from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer

DELIVERY = 30
STATE = "__transaction_state"


@pytest.fixture
def open_producer(kafka, make_topic):
    """Opens transactional producers, by default with a transactional.id of the test's own."""

    def open_producer(transactional_id, **more):
        properties = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": transactional_id}
        return kafkapp.KafkaAsyncProducer(properties | {name.replace("_", "."): v for name, v in more.items()})

    return open_producer


@pytest.fixture
def seen(kafka):
    """The values that a reader of committed, or of all records finds."""

    def seen(topic, committed):
        found = read_messages(kafka.bootstrap_servers, topic, committed=committed, fence=False)
        return [message.value() for message in found]

    return seen


def test_t1_a_committed_transaction_is_seen_and_an_aborted_one_is_not(open_producer, topic, seen):
    with open_producer(topic) as producer:
        producer.init_transactions(DELIVERY)
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
        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, None, b"left open"))
        producer.flush(DELIVERY)
        assert seen(topic, committed=True) == [b"committed", b"again"]
        assert seen(topic, committed=False) == [b"committed", b"aborted", b"raised", b"again", b"left open"]


def test_t1_a_synchronous_producer_knows_where_its_record_is_before_others_see_it(kafka, topic, seen):
    properties = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic}
    with kafkapp.KafkaSyncProducer(properties) as producer:
        producer.init_transactions(DELIVERY)
        with producer.transaction():
            assert producer.send(ProducerRecord(topic, 0, None, b"first"), timeout=DELIVERY).offset == 0
            assert seen(topic, committed=True) == []
            assert seen(topic, committed=False) == [b"first"]
        assert seen(topic, committed=True) == [b"first"]


def test_asyncios_transactions_are_seen_when_committed_also_by_a_call_that_was_cancelled(kafka, topic, seen):
    async def go():
        properties = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic}
        async with KafkaProducer(properties) as producer:
            await producer.init_transactions(DELIVERY)
            async with producer.transaction():
                producer.send(topic, b"committed", partition=0)
            with pytest.raises(ZeroDivisionError):
                async with producer.transaction():
                    await producer.send(topic, b"aborted", partition=0)
                    raise ZeroDivisionError
            for turns in range(5):
                await producer.begin_transaction()
                producer.send(topic, b"cancelled %d" % turns, partition=0)
                commit = asyncio.ensure_future(producer.commit_transaction())
                for _ in range(turns):
                    await asyncio.sleep(0)
                commit.cancel()
                await asyncio.wait((commit,))
                if commit.cancelled():
                    await producer.commit_transaction(DELIVERY)

    asyncio.run(asyncio.wait_for(go(), 4 * DELIVERY))
    assert seen(topic, committed=True) == [b"committed", *(b"cancelled %d" % turns for turns in range(5))]


def test_t3_what_a_producer_left_open_is_ended_by_the_next_with_its_id(open_producer, topic, seen):
    with open_producer(topic) as first:
        first.init_transactions(DELIVERY)
        first.begin_transaction()
        first.send(ProducerRecord(topic, 0, None, b"left open"))
        first.flush(DELIVERY)
    with open_producer(topic) as second:
        second.init_transactions(DELIVERY)
        with second.transaction():
            second.send(ProducerRecord(topic, 0, None, b"continued"))
    assert seen(topic, committed=True) == [b"continued"]
    assert seen(topic, committed=False) == [b"left open", b"continued"]


KILLED = """
import sys
import kafkapp

servers, topic = sys.argv[1:]
producer = kafkapp.KafkaAsyncProducer({"bootstrap.servers": servers, "transactional.id": topic})
producer.init_transactions(30)
with producer.transaction():
    producer.send_batch(topic, [b"0", b"1"], partition=0)
producer.begin_transaction()
assert producer.send_batch(topic, [b"torn"] * 5, partition=0).wait(30)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_of_a_producer_that_is_killed_amid_a_transaction_nothing_torn_is_seen(kafka, open_producer, topic, seen):
    command = [sys.executable, "-c", KILLED, kafka.bootstrap_servers, topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert seen(topic, committed=True) == [b"0", b"1"]
    assert seen(topic, committed=False) == [b"0", b"1"] + [b"torn"] * 5
    with open_producer(topic) as successor:
        successor.init_transactions(DELIVERY)
        assert seen(topic, committed=True) == [b"0", b"1"]
        with successor.transaction():
            successor.send(ProducerRecord(topic, 0, None, b"2"))
    assert seen(topic, committed=True) == [b"0", b"1", b"2"]


def test_offsets_are_committed_with_their_transaction_and_not_without(kafka, open_producer, topic):
    def committed():
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "log_level": 0})
        try:
            (place,) = consumer.committed([TopicPartition(topic, 0)], timeout=DELIVERY)
            return place.offset
        finally:
            consumer.close()

    with open_producer(topic) as producer:
        producer.init_transactions(DELIVERY)
        with producer.transaction():
            producer.send_offsets_to_transaction([(topic, 0, 5)], (topic, -1, "", None), DELIVERY)
        assert committed() == 5
        with pytest.raises(ZeroDivisionError), producer.transaction():
            producer.send_offsets_to_transaction([(topic, 0, 9)], (topic, -1, "", None), DELIVERY)
            raise ZeroDivisionError
        assert committed() == 5


def test_t4_a_successor_fences_its_predecessor_and_redoes_what_that_left_open(open_producer, topic, seen):
    with open_producer(topic) as first:
        first.init_transactions(DELIVERY)
        with first.transaction():
            for number in range(10):
                first.send(ProducerRecord(topic, 0, None, str(number)))
        first.begin_transaction()
        for number in range(10, 20):
            first.send(ProducerRecord(topic, 0, None, str(number)))
        first.flush(DELIVERY)
        with open_producer(topic) as second:
            second.init_transactions(DELIVERY)
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
        producer.init_transactions(DELIVERY)
        producer.begin_transaction()
        with kafka_nodes.paused():
            producer.send(ProducerRecord(topic, 0, None, b"never seen"))
            producer.flush(DELIVERY)
        with pytest.raises(KafkaException) as failure:
            producer.commit_transaction(DELIVERY)
        assert failure.value.error.transaction_requires_abort
        producer.abort_transaction(DELIVERY)
    assert seen(topic, committed=True) == []


def coordinator_of(kafka, transactional_id):
    """The node that keeps this id's transactions: the leader of the partition that Java's hash of the id names."""
    code = 0
    for letter in transactional_id.encode():
        code = (31 * code + letter) & 0xFFFFFFFF
    partitions = len(kafka.metadata(STATE).topics[STATE].partitions)
    return kafka.leader(STATE, (code & 0x7FFFFFFF) % partitions)


def test_a_coordinator_that_is_killed_amid_a_transaction_moves_and_the_commit_is_whole(
        kafka_nodes, make_topic, open_producer, seen):
    with open_producer("warm-up") as producer:
        producer.init_transactions(DELIVERY)        # the state's topic is there from now on
    transactional_id = f"moves-{make_topic()}"
    coordinator = coordinator_of(kafka_nodes, transactional_id)
    others = [node for node in kafka_nodes.nodes if node != coordinator]
    topic = make_topic(assignment=[[*others, coordinator]])     # what is killed leads no partition of the records
    with open_producer(transactional_id) as producer:
        producer.init_transactions(DELIVERY)
        with producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"before"))
        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, None, b"amid"))
        producer.flush(DELIVERY)
        kafka_nodes.nodes[coordinator].kill()
        assert seen(topic, committed=True) == [b"before"]
        producer.commit_transaction(2 * DELIVERY)
        assert coordinator_of(kafka_nodes, transactional_id) != coordinator
        with producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"after"))
    assert seen(topic, committed=True) == [b"before", b"amid", b"after"]


GONE = {ErrorCode[f"RD_KAFKA_RESP_ERR_{name}"] for name in (
    "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "_MSG_TIMED_OUT", "UNKNOWN_TOPIC_OR_PART")}


def test_a_topic_that_vanishes_amid_a_transaction_has_it_aborted(kafka, make_topic, open_producer, topic, seen):
    doomed = make_topic()
    with open_producer(topic, message_timeout_ms=5000) as producer:
        producer.init_transactions(DELIVERY)
        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, None, b"not committed"))
        producer.send(ProducerRecord(doomed, 0, None, b"gone"))
        producer.flush(DELIVERY)
        kafka.delete_topic(doomed)
        codes = []
        producer.send(ProducerRecord(doomed, 0, None, b"too late"), lambda metadata, error: codes.append(error.code))
        producer.flush(DELIVERY)
        assert len(codes) == 1 and codes[0] in GONE
        with pytest.raises(KafkaException) as failure:
            producer.commit_transaction(DELIVERY)
        assert failure.value.error.transaction_requires_abort
        producer.abort_transaction(DELIVERY)
        with producer.transaction():
            producer.send(ProducerRecord(topic, 0, None, b"goes on"))
    assert seen(topic, committed=True) == [b"goes on"]
