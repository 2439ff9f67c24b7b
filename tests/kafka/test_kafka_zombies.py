"""Consumers that are no longer in their group, against a real group coordinator (KIP-447).

kafka-python, confluent-kafka and we consume; what a transaction of ours commits for a group is refused when the group has
moved on. The control shows what that is for: by the group's bare name the same offsets are accepted.
"""
import asyncio
import threading
import time
import warnings

import confluent_kafka
import pytest
from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as Place
from helpers import LIBRDKAFKA
from kafka_admin import wait_until

import kafkapp
import kafkapp.aio
from kafkapp import ErrorCode, KafkaException

SECONDS = 60
pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")     # kafka-python


class Member:
    """A member of a group by kafka-python, polled by a thread of its own so that rebalances get on.

    The broker that it asks may not know a new topic yet: it assigns nothing then, until it has asked again.
    """

    def __init__(self, kafka, group, topic):
        self.consumer = KafkaConsumer(topic, bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False,
                                      auto_offset_reset="earliest", heartbeat_interval_ms=200, session_timeout_ms=20_000,
                                      metadata_max_age_ms=1000)
        self.metadata = None
        self.places = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="member")
        self._thread.start()

    def _poll(self):
        while not self._stopped.is_set():
            self.consumer.poll(timeout_ms=100)
            self.places = set(self.consumer.assignment())
            self.metadata = self.consumer.group_metadata()
        self.consumer.close()

    def close(self):
        self._stopped.set()
        self._thread.join(SECONDS)


@pytest.fixture
def member(kafka, topic):
    """Opens members of a group that is named as the topic; each is closed after the test."""
    opened = []

    def member():
        opened.append(Member(kafka, topic, topic))
        return opened[-1]

    yield member
    for each in opened:
        each.close()


@pytest.fixture
def topic(make_topic):
    return make_topic(partitions=2)


class Loop:
    """asyncio's producer, called from outside of its loop."""

    def __init__(self, properties):
        self.runner = asyncio.Runner()
        self.producer = self.runner.run(self.open(properties))

    async def open(self, properties):
        producer = kafkapp.aio.KafkaProducer(properties)
        await producer.init_transactions(SECONDS)
        return producer

    async def commit(self, offsets, group):
        async with self.producer.transaction():
            await self.producer.send_offsets_to_transaction(offsets, group, SECONDS)

    def close(self):
        self.runner.run(self.producer.close())
        self.runner.close()


@pytest.fixture(params=["sync", "async", "asyncio"])
def producer(request, kafka, topic):
    properties = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic}
    if request.param == "asyncio":
        producer = Loop(properties)
    else:
        producer = (kafkapp.KafkaSyncProducer if request.param == "sync" else kafkapp.KafkaAsyncProducer)(properties)
        producer.init_transactions(SECONDS)
    yield producer
    producer.close()


@pytest.fixture
def committed(kafka, topic):
    """What the group has committed: waits until it is as expected, for the markers are written after the commit's answer."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=topic)

    def committed(expected):
        def found():
            place = consumer.committed(Place(topic, 0), metadata=True)
            return place is not None and (place.offset, place.metadata) == expected
        wait_until(found, SECONDS, f"the group's offset to be {expected}")

    yield committed
    consumer.close()


def commit(producer, offsets, group):
    if isinstance(producer, Loop):
        producer.runner.run(producer.commit(offsets, group))
        return
    with producer.transaction():
        producer.send_offsets_to_transaction(offsets, group, SECONDS)


def refused(producer, offsets, group):
    """The code with which the offsets were refused; the transaction could be aborted, and the next one is begun."""
    with pytest.raises(KafkaException) as caught:
        commit(producer, offsets, group)
    assert caught.value.error.transaction_requires_abort and not caught.value.error.is_fatal
    return caught.value.error.code


def test_offsets_of_a_consumer_that_a_rebalance_has_passed_are_refused(producer, member, topic, committed):
    stale = member()
    wait_until(lambda: len(stale.places) == 2, SECONDS, "the first member to have both partitions")
    zombie = stale.metadata
    commit(producer, [(topic, 0, 10)], zombie)      # it is not one yet
    committed((10, ""))

    new = member()
    wait_until(lambda: len(new.places) == len(stale.places) == 1, SECONDS, "the members to have one partition each")
    wait_until(lambda: stale.metadata.generation_id == new.metadata.generation_id > zombie.generation_id, SECONDS,
               "the members to be of the next generation")
    commit(producer, {Place(topic, 0): OffsetAndMetadata(30, "state of 30", -1)}, new.metadata)
    committed((30, "state of 30"))

    assert refused(producer, [(topic, 0, 11)], zombie) == ErrorCode.RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
    stale.close()
    as_tuple = (zombie.group_id, zombie.generation_id, zombie.member_id, zombie.group_instance_id)
    assert refused(producer, [(topic, 0, 11)], as_tuple) in (
        ErrorCode.RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID)
    wait_until(lambda: len(new.places) == 2, SECONDS, "the member that stayed to have both partitions")
    assert refused(producer, [(topic, 0, 11)], as_tuple) == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
    committed((30, "state of 30"))


def test_control_by_its_bare_name_the_group_is_moved_back(producer, member, topic, committed):
    new = member()
    wait_until(lambda: len(new.places) == 2, SECONDS, "the member to have both partitions")
    commit(producer, [(topic, 0, 30)], new.metadata)
    committed((30, ""))
    with pytest.warns(UserWarning, match="does not fence"):
        commit(producer, [(topic, 0, 11)], topic)
    committed((11, ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        commit(producer, [(topic, 0, 12)], (topic, -1, "", None))       # said in full: no warning
    committed((12, ""))


def test_the_metadata_of_confluent_kafka_fences_too(producer, kafka, topic, committed):
    properties = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "enable.auto.commit": False,
                  "log_level": 0, "group.instance.id": "first of the group", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer(properties)
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + SECONDS
        while len(consumer.assignment()) < 2:
            assert time.monotonic() < deadline
            consumer.poll(0.1)
        metadata = consumer.consumer_group_metadata()
        places = consumer.position(consumer.assignment())
        assert {place.offset for place in places} == {confluent_kafka.OFFSET_INVALID}
        commit(producer, places, metadata)      # nothing was read: nothing is committed, and nothing refused
        commit(producer, [confluent_kafka.TopicPartition(topic, 0, 7, metadata="seven"), places[1]], metadata)
        committed((7, "seven"))
        # Another process of the same static member takes its place.
        successor = confluent_kafka.Consumer(properties)
        try:
            successor.subscribe([topic])
            while len(successor.assignment()) < 2:
                assert time.monotonic() < deadline
                successor.poll(0.1)
            assert refused(producer, [(topic, 0, 8)], metadata) == ErrorCode.RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
            commit(producer, [(topic, 0, 9)], successor.consumer_group_metadata())
            committed((9, ""))
        finally:
            successor.close()
    finally:
        consumer.close()


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.skipif(LIBRDKAFKA < (2, 12), reason="not in it"))])
def test_the_metadata_of_our_own_consumer_fences_too(protocol, kafka, topic):
    reading = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    if LIBRDKAFKA >= (2, 12):
        reading["group.protocol"] = protocol
    writing = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic}
    with kafkapp.KafkaConsumer(reading) as first, kafkapp.KafkaConsumer(reading) as second, kafkapp.KafkaSyncProducer(writing) as producer:

        def committed(place, offset):
            wait_until(lambda: first.committed([place]) == {place: offset}, SECONDS, f"{offset} to be committed")

        producer.init_transactions(SECONDS)
        first.subscribe([topic])
        wait_until(lambda: not first.poll(0.1) and len(first.assignment()) == 2, SECONDS, "the first member to have both partitions")
        zombie = first.group_metadata()
        commit(producer, {(topic, 0): 7, (topic, 1): 7}, zombie)       # it is not one yet
        committed((topic, 0), 7)
        second.subscribe([topic])
        wait_until(lambda: not first.poll(0.1) and not second.poll(0.1) and len(first.assignment()) == len(second.assignment()) == 1, SECONDS,
                   "the members to have one partition each")
        moved, = second.assignment()        # of what it keeps, KIP-848 takes an older epoch
        assert refused(producer, {moved: 6}, zombie).name in ("RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION", "RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH")
        for member, offset in ((first, 8), (second, 9)):
            place, = member.assignment()
            commit(producer, {place: offset}, member.group_metadata())
            committed(place, offset)
