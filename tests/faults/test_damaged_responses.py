"""Damaged responses of the broker: no record that was lost is reported as delivered, and none is forgotten.

Fault F42, responses; a proxy flips bits, and only TCP's checksum protects a response of Kafka's protocol.
"""
import contextlib
import random
import time

import pytest
from faultkit import QUIET, make
from helpers import keeps_words, properties
from ledger import UNKNOWN, Ledger
from proxy import API_VERSIONS, FETCH, FIND_COORDINATOR, INIT_PRODUCER_ID, METADATA, PRODUCE, Front
from readback import read_log

from kafkapp import KafkaConsumer, KafkaException, PersistedStatus, ProducerRecord, librdkafka_features

LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP, GROUP_HEARTBEAT = 2, 8, 9, 11, 12, 13, 14, 68

QUICK = {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 20, "retry.backoff.ms": 10}
LIMITS = QUICK | {"linger.ms": 0, "message.timeout.ms": 3000, "socket.timeout.ms": 300, "api.version.request.timeout.ms": 300}
LENGTHS = {PRODUCE: 60, METADATA: 120, API_VERSIONS: 100, INIT_PRODUCER_ID: 30}     # about; a place wraps round


class Damage:
    """Producers behind a proxy, one for each damaged answer, whose records the ledger has."""

    def __init__(self, front, topic):
        self.front, self.topic, self.ledger, self.reports = front, topic, Ledger(), []

    def __call__(self, api, at, mask, count=3):
        more = {"enable.idempotence": True} if api == INIT_PRODUCER_ID else {}
        rules = [proxy.flip_response(at, api=api, mask=mask) for proxy in self.front]
        with make("Auto", self.front, LIMITS, more) as producer:
            for _ in range(count):
                identity, payload = self.ledger.stamp()
                producer.send(ProducerRecord(self.topic, 0, value=bytearray(payload)),
                              lambda metadata, error, identity=identity: self.report(identity, metadata, error))
            producer.flush(20)
            assert len(producer) == 0, f"api {api}, byte {at}, mask {mask:#x}"
        assert any(rule.fired for rule in rules)
        self.front.clear()

    def report(self, identity, metadata, error):
        self.reports.append(error)
        if error is None:
            self.ledger.delivered(identity)         # without the offset, which a flipped bit may have changed
        else:
            # Not NOT_PERSISTED, whatever is said: a flipped bit in the place of the error code makes a success a failure.
            self.ledger.report(identity, UNKNOWN, code=int(error.code))
            assert error.code and error.message and metadata.persisted_status in PersistedStatus

    def verdict(self, bootstrap_servers):
        return self.ledger.verdict(read_log(bootstrap_servers, self.topic))


@pytest.fixture
def damage(broker, topic):
    with Front(broker.bootstrap_servers) as front:
        yield Damage(front, topic)


@pytest.mark.parametrize("api", LENGTHS)
def test_a_damaged_answer_is_never_a_wrong_success(broker, faults, damage, api):
    places = [(0, 0x80), (3, 1), (4, 1), (7, 0x40)]         # the length, negative and wrong; the correlation id
    body = [(8 + faults.random.randrange(LENGTHS[api]), 1 << faults.random.randrange(8)) for _ in range(1 + (api == PRODUCE))]
    every = [(at, 1 << bit) for at in range(8 + LENGTHS[api]) for bit in range(8)]
    for at, mask in faults.random.sample(every, 200) if faults.thorough else [*places[:4 if api == PRODUCE else 1], *body]:
        damage(api, at, mask)
    verdict = damage.verdict(broker.bootstrap_servers)
    assert not verdict.faults().keys() - {"duplicate"}, f"seed {faults.seed}: {verdict}"
    assert len(damage.reports) == verdict.sent and verdict.delivered
    faults.figure(damaged_answers=verdict.sent // 3, records=verdict.sent, failed=verdict.failed)


def test_control_a_wrong_success_is_detected(cluster, topic):
    # The broker refuses by code 4, and one bit makes that 0; where it stands depends on the version of the answer.
    with Front(cluster.bootstrap_servers) as front:
        damage = Damage(front, topic)
        for at in range(14 + len(topic), 28 + len(topic)):
            cluster.push_request_errors(PRODUCE, 4)
            damage(PRODUCE, at, 4, count=1)
            cluster.clear_request_errors(PRODUCE)
    assert "lost" in damage.verdict(cluster.bootstrap_servers).faults()


# What ended librdkafka, and the process: by an assertion, a null pointer, a reference that was dropped twice. Which byte, counted from the length's
# begin or the answer's end, is what, and becomes what. Where lengths are compact, n + 1 in a byte, 0 is null.
ENDINGS = {
    "no brokers": (METADATA, 13, 2, 0),
    "no errors of records": (PRODUCE, -9, 1, 0),
    "more topics than there are": (OFFSET_FETCH, 13, 2, 3),
    "tags of a partition that are not there": (FETCH, -3, 0, 0x7f),
    "a member without metadata": (JOIN_GROUP, lambda frame: frame.index(b"\0\x01\0\x0aconsume-me") - 5, 32, 0),
}


@pytest.mark.skipif(not keeps_words(), reason="librdkafka as others build it ends the process then (damaged-answers.patch)")
@pytest.mark.parametrize("what", ENDINGS)
def test_an_answer_that_ended_the_process(cluster, what):
    """Committed offsets are asked for again, which they were not either."""
    api, at, before, value = ENDINGS[what]
    cluster.create_topic("consume-me", 1)
    with make("Auto", cluster) as producer:
        producer.send("consume-me", b"value", partition=0)
    with Front(cluster.bootstrap_servers) as front:
        rules = [proxy.flip_response(at, api=api, value=value) for proxy in front]
        with make("Auto", front, QUICK, message_timeout_ms=2000) as producer:
            producer.send("consume-me", b"value", partition=0)
        with KafkaConsumer(properties(front, QUIET, QUICK, {"group.id": "g", "auto.offset.reset": "earliest"})) as consumer:
            consumer.subscribe(["consume-me"])
            found, end = [], time.monotonic() + 30
            while (not any(rule.fired for rule in rules) or api == OFFSET_FETCH and not found) and time.monotonic() < end:
                with contextlib.suppress(KafkaException):
                    found += consumer.poll(1)
            time.sleep(0.5)     # the answer is on its way
    assert [rule.was for rule in rules if rule.fired] == [before] and (found or api != OFFSET_FETCH)


ALL = (METADATA, FETCH, FIND_COORDINATOR, OFFSET_FETCH, OFFSET_COMMIT)
READERS = {     # and which answers they ask for
    "assigned": ({}, (*ALL, LIST_OFFSETS, API_VERSIONS)),
    "a member": ({"session.timeout.ms": 2000, "heartbeat.interval.ms": 50}, (*ALL, JOIN_GROUP, SYNC_GROUP, HEARTBEAT, LEAVE_GROUP)),
    "a member by KIP-848": ({"group.protocol": "consumer"}, (*ALL, GROUP_HEARTBEAT))}


@pytest.mark.skipif(not keeps_words(), reason="librdkafka as others build it may end the process (damaged-answers.patch)")
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_answer_to_a_consumer_is_never_a_wrong_record(cluster, faults, reader):
    """Nor the end of the process. Where the seed is not random, as in the gate, the same answers are damaged each time."""
    more, apis = READERS[reader]
    dice = faults.random if faults.thorough else random.Random(17)
    topic = "consume-me"
    cluster.create_topic(topic, 4)
    values = {b"%04d" % row * 20 for row in range(40)}
    for partition, codec in enumerate(("none", "gzip", "lz4", "zstd")):
        with make("Auto", cluster, compression_codec=codec if codec in librdkafka_features() else "none") as producer:
            producer.send_batch(topic, sorted(values), partition=partition)
    read = damaged = 0
    with Front(cluster.bootstrap_servers) as front:
        for count in range(300 if faults.thorough else 12):
            api = dice.choice(apis)
            at, value = dice.randrange(4, 1500 if api == FETCH else 120), dice.choice((0, 0x7f, 0xff, dice.randrange(256)))
            rules = [proxy.flip_response(at, api=api, value=value) for proxy in front]
            with KafkaConsumer(properties(front, QUIET, QUICK, more, {"group.id": f"g{count}", "auto.offset.reset": "earliest", "check.crcs": True,
                                                               "fetch.wait.max.ms": 20, "socket.timeout.ms": 300})) as consumer:
                if reader == "assigned":
                    consumer.assign([(topic, partition) for partition in range(4)])
                else:
                    consumer.subscribe([topic])
                end = time.monotonic() + 1
                while time.monotonic() < end:
                    with contextlib.suppress(KafkaException):
                        batch = consumer.poll(0.1)
                        read += len(batch)
                        assert {bytes(record.value) for record in batch} <= values, f"seed {faults.seed}: api {api}, byte {at}, {value:#x}"
                with contextlib.suppress(KafkaException):
                    consumer.close(0.5)
            damaged += any(rule.fired for rule in rules)
            front.clear()
    assert read and damaged
    faults.figure(damaged_answers=damaged, records=read)
