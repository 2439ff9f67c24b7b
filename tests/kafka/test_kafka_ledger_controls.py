"""Controls of the ledger with a real broker's log: another client plants each fault, which must be reported.

A checker that reports nothing proves nothing; these show that it reports exactly what was done.
"""

import itertools

import confluent_kafka
import pytest
from ledger import LogRecord
from ledger_load import EXACTLY_ONCE, ConfluentSender, open_sender
from proxy import PRODUCE
from readback import read_log, read_log_with_kafka_python

COUNT = 200


@pytest.fixture
def publish(kafka, topic):
    """Sends payloads one after the other; gives the offset of each."""

    def publish(payloads):
        offsets = {}
        producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
        for number, payload in enumerate(payloads):

            def on_delivery(error, message, number=number):
                assert error is None
                offsets[number] = message.offset()

            producer.produce(topic, payload, partition=0, on_delivery=on_delivery)
        assert producer.flush(30) == 0
        return [offsets[number] for number in range(len(payloads))]

    return publish


def report(ledger, identities, offsets):
    for identity, offset in zip(identities, offsets, strict=True):
        ledger.delivered(identity, 0, offset)


def test_a_faultless_run(ledger, topic, publish, verdict_of):
    identities, payloads = zip(*(ledger.stamp() for _ in range(COUNT)), strict=True)
    report(ledger, identities, publish(payloads))
    verdict = verdict_of(topic)
    assert verdict.faults() == {}
    assert verdict.delivered == COUNT


def test_a_dropped_record(ledger, topic, publish, verdict_of):
    identities, payloads = zip(*(ledger.stamp() for _ in range(COUNT)), strict=True)
    offsets = publish(payloads[:90] + payloads[91:])
    report(ledger, identities, offsets[:90] + [None] + offsets[90:])
    verdict = verdict_of(topic)
    assert verdict.faults() == {"lost": 1}
    assert verdict.lost == [(0, 90)]


def test_a_doubled_record(ledger, topic, publish, verdict_of):
    identities, payloads = zip(*(ledger.stamp() for _ in range(COUNT)), strict=True)
    offsets = publish(payloads[:91] + payloads[90:])
    report(ledger, identities, offsets[:91] + offsets[92:])
    verdict = verdict_of(topic)
    assert verdict.faults() == {"duplicate": 1}
    assert verdict.duplicate == [(0, 90)]


def test_two_swapped_records(ledger, topic, publish, verdict_of):
    identities, payloads = map(list, zip(*(ledger.stamp() for _ in range(COUNT)), strict=True))
    for stamped in (identities, payloads):
        stamped[90], stamped[91] = stamped[91], stamped[90]
    report(ledger, identities, publish(payloads))
    assert verdict_of(topic).faults() == {"reordered": 1}


def test_a_flipped_bit(ledger, topic, publish, verdict_of):
    identities, payloads = map(list, zip(*(ledger.stamp() for _ in range(COUNT)), strict=True))
    damaged = bytearray(payloads[90])
    damaged[60] ^= 1
    payloads[90] = bytes(damaged)
    report(ledger, identities, publish(payloads))
    verdict = verdict_of(topic)
    assert verdict.faults() == {"corrupt": 1}
    assert verdict.corrupt == [(0, 90)]


@pytest.mark.parametrize("idempotence", [False, True])
@pytest.mark.parametrize("sender_kind", ["under-test", "confluent"])
def test_lost_acknowledgements_double_records_unless_idempotence_is_on(
    sender_kind, idempotence, ledger, topic, proxies, verdict_of
):
    # One record a request and one request at a time: each answer that is lost makes the client send that record again.
    properties = {"max.in.flight": 1, "batch.num.messages": 1, "linger.ms": 0, "retry.backoff.ms": 20}
    properties |= {"enable.idempotence": idempotence, "acks": "all"}
    if sender_kind == "confluent":
        sender = ConfluentSender(ledger, proxies.bootstrap_servers, EXACTLY_ONCE | properties)
    else:
        sender = open_sender(ledger, proxies.bootstrap_servers, **properties)
    with sender:
        sender.send(topic, 0)
        sender.wait_all()
        rules = [proxy.cut_response(times=5, skip=3) for proxy in proxies]
        for _ in range(30):
            sender.send(topic, 0)
    lost = sum(rule.fired for rule in rules)
    assert lost == 5
    verdict = verdict_of(topic)
    assert verdict.faults() == ({} if idempotence else {"duplicate": lost})
    assert proxies.count("request", PRODUCE) == 31 + lost
    assert verdict.delivered == 31


def test_both_readers_find_the_same_log(kafka, ledger, make_topic):
    topic = make_topic(partitions=3)
    with ConfluentSender(ledger, kafka.bootstrap_servers, {"enable.idempotence": True}) as sender:
        for partition in itertools.islice(itertools.cycle(range(3)), 300):
            sender.send(topic, partition)
    log = read_log(kafka.bootstrap_servers, topic)
    assert len(log) == 300
    assert all(isinstance(record, LogRecord) for record in log)
    assert log == read_log_with_kafka_python(kafka.bootstrap_servers, topic)
    assert ledger.verdict(log).faults() == {}
