"""Exactly once across a faulty network, with a real broker: what the embedded cluster does not check.

A proxy of our own loses acknowledgements, cuts connections at any byte, delays, throttles and damages; the ledger shows
what became of each record. Its controls (idempotence off) are in test_kafka_ledger_controls.py.
"""

import random

import pytest
from ledger_load import Load, open_sender
from proxy import PRODUCE

# One record a request and one request at a time, so that a test knows which record a rule meets.
ONE_BY_ONE = {"max_in_flight": 1, "batch_num_messages": 1, "linger_ms": 0, "retry_backoff_ms": 10}
QUICK = {"reconnect_backoff_ms": 1, "reconnect_backoff_max_ms": 20}


def check(sender, verdict_of, topic):
    sender.close()
    assert sender.ledger.counts() == {"delivered": sender.accepted}
    assert verdict_of(topic).faults() == {}


@pytest.fixture
def behind(kafka_nodes, make_topic, proxies, ledger):
    """Opens a sender behind the proxies, connected, and gives it with its topic and its leader's proxy."""
    opened = []

    def behind(size=100, **properties):
        topic = make_topic(assignment=[[1, 2, 3]])
        sender = open_sender(ledger, proxies.bootstrap_servers, **QUICK, **properties)
        opened.append(sender)
        sender.send(topic, 0, size=size)
        sender.wait_all()
        return sender, topic, proxies.by_node[1]

    yield behind
    proxies.clear()
    for sender in opened:
        sender.close()


def test_clients_never_get_around_the_proxies(behind, proxies):
    sender, topic, proxy = behind()
    before = sender.delivered
    proxy.hold()
    sender.send(topic, 0)
    with pytest.raises(AssertionError, match="unreported"):
        sender.wait_all(timeout=0.5)
    proxy.release()
    sender.wait_all()
    assert sender.delivered == before + 1
    assert proxies.count("request", PRODUCE) == 2


@pytest.mark.parametrize("connection", ["cut", "kept"])
def test_acknowledgements_are_lost(connection, behind, verdict_of):
    sender, topic, proxy = behind(socket_timeout_ms=1000)
    rule = proxy.cut_response(8, skip=2) if connection == "cut" else proxy.swallow_responses(2, skip=2)
    with Load(sender, topic, partitions=[0], rate=2000):
        assert rule.spent.wait(30)
        sender.wait_delivered(500)
    check(sender, verdict_of, topic)


def test_requests_are_cut_at_every_byte_of_their_head_and_at_many_of_their_body(behind, verdict_of):
    sender, topic, proxy = behind(size=60, **ONE_BY_ONE)
    places = [*range(48), *range(48, 260, 9)]  # length, api, correlation, client id, topic, batch head, record
    rules = []
    for at in places:
        rules.append(proxy.cut_request(at=at))
        sender.send(topic, 0, size=60)
        sender.wait_all()
    assert all(rule.fired == 1 for rule in rules)
    check(sender, verdict_of, topic)


def test_responses_are_cut_at_every_byte(behind, verdict_of):
    sender, topic, proxy = behind(**ONE_BY_ONE)
    rules = []
    for at in range(64):
        rules.append(proxy.cut_response(at=at))
        sender.send(topic, 0)
        sender.wait_all()
    assert all(rule.fired == 1 for rule in rules)
    check(sender, verdict_of, topic)


def test_responses_come_after_the_request_timeout(behind, verdict_of):
    sender, topic, proxy = behind(socket_timeout_ms=300)
    rule = proxy.delay_responses(0.6, times=3, api=PRODUCE, skip=2)
    with Load(sender, topic, partitions=[0]):
        assert rule.spent.wait(30)
        sender.wait_delivered(200)
    check(sender, verdict_of, topic)


def test_a_slow_and_crumbling_wire(behind, verdict_of):
    sender, topic, proxy = behind()
    proxy.segment = 7
    for _ in range(20):
        sender.send(topic, 0, size=2000)
    sender.wait_all()
    proxy.segment, proxy.throttle = None, 64_000
    with Load(sender, topic, partitions=[0], rate=500, size=200):  # more than goes through: it has to queue
        sender.wait_delivered(300)
    proxy.clear()
    check(sender, verdict_of, topic)


def test_all_connections_are_reset_again_and_again(behind, proxies, verdict_of):
    sender, topic, _ = behind()
    with Load(sender, topic, partitions=[0], rate=2000):
        for _ in range(15):
            for each in proxies:
                each.cut_all()
            sender.wait_delivered(100)
    check(sender, verdict_of, topic)


def test_a_damaged_request_is_never_a_success(behind, ledger, verdict_of):
    sender, topic, proxy = behind(message_timeout_ms=3000, **ONE_BY_ONE)
    for at in (-1, -5, -20, -40):  # in the record itself: the broker's checksum over the batch does not hold
        rule = proxy.flip_request(at=at)
        sender.send(topic, 0)
        sender.wait_all()
        assert rule.fired == 1
    verdict = verdict_of(topic)
    assert verdict.faults() == {}, "what was delivered is in the log undamaged, what was refused is not"
    assert verdict.delivered + verdict.failed == 5


@pytest.mark.parametrize("seed", [1, 2])
def test_a_wire_with_every_fault_at_random(seed, behind, verdict_of):
    dice = random.Random(seed)
    sender, topic, proxy = behind(socket_timeout_ms=500, max_in_flight=5)
    faults = [
        lambda: proxy.cut_response(at=dice.randrange(60)),
        lambda: proxy.cut_request(at=dice.randrange(2000)),
        lambda: proxy.swallow_responses(),
        lambda: proxy.delay_responses(dice.uniform(0, 0.8), times=1, api=PRODUCE),
        lambda: proxy.delay_responses(dice.uniform(0, 0.1), times=5),
    ]
    with Load(sender, topic, partitions=[0], rate=2000):
        for _ in range(25):
            rule = dice.choice(faults)()
            assert rule.spent.wait(30)
    check(sender, verdict_of, topic)
