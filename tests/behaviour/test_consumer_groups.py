"""Groups: what on_rebalance gets, in which order, and that nothing is read twice that was committed as it was revoked."""
import pytest
from groups import ASSIGNED, PROTOCOLS, REVOKED, Member, poll_until, shared
from helpers import properties

from kafkapp import ErrorCode, KafkaConsumer, KafkaException, KafkaSyncProducer

COUNT = 50


@pytest.fixture
def filled(broker, topic):
    """A topic with so many records in each of its four partitions."""
    with KafkaSyncProducer(properties(broker)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * COUNT, partition=partition)
    return topic


def code(raised):
    return raised.value.error.code


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_come_and_go(broker, filled, protocol):
    """C15, C18: one member has all, two share them, one has all again; each hears of what it gets and loses."""
    with Member(broker, filled, protocol) as first:
        first.subscribe(filled)
        assert first.events == [(ASSIGNED, [0, 1, 2, 3])] and first.consumer.subscription() == {filled}
        poll_until(lambda: len(first.read) == 4 * COUNT, first)
        first.consumer.commit_sync()
        with Member(broker, filled, protocol) as second:
            second.subscribe(filled, timeout=None)
            poll_until(shared(first, second), first, second)
            theirs = sorted(second.partitions)
            assert second.told_of(ASSIGNED) == theirs and not second.read
        assert second.events[-1] == (REVOKED, theirs)
        poll_until(lambda: len(first.partitions) == 4, first)
        given = [partitions for event, partitions in first.events if event is REVOKED]
        assert given[0] == [0, 1, 2, 3] if protocol == "eager" else given == [theirs]
        assert len(first.read) == 4 * COUNT


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"eager", "cooperative"}))   # there the embedded cluster takes no commit
def test_a_commit_in_the_callback_is_exact(broker, filled, protocol):
    """C13: what was returned and committed as it was revoked comes once, although more was taken already."""
    def commit(consumer, event, partitions):
        if event is REVOKED:
            consumer.commit_sync()

    with Member(broker, filled, protocol, commit) as first, Member(broker, filled, protocol, commit) as second:
        first.subscribe(filled)
        while len(first.read) < 30:
            first.read += [(record.partition, record.offset) for record in first.consumer.poll(0.1, 7)]
        second.subscribe(filled, timeout=None)
        poll_until(lambda: shared(first, second)() and len(first.read) + len(second.read) >= 4 * COUNT, first, second)
        assert sorted(first.read + second.read) == [(partition, offset) for partition in range(4) for offset in range(COUNT)]


def test_the_order_of_calls(broker, topic):
    """C19, C20, C22: a group or a hand assigns, not both; unsubscribe() ends each."""
    with KafkaConsumer(properties(broker, {"group.id": topic})) as consumer:
        consumer.assign([(topic, 0)])
        with pytest.raises(KafkaException, match=r"subscribe\(\): .* call unsubscribe\(\) first") as raised:
            consumer.subscribe([topic])
        assert code(raised) == ErrorCode.RD_KAFKA_RESP_ERR__FAIL and consumer.assignment() == {(topic, 0)}
        consumer.unsubscribe()
        assert consumer.assignment() == set()
        consumer.subscribe([topic])
        with pytest.raises(KafkaException, match=r"assign\(\): .* call unsubscribe\(\) first") as raised:
            consumer.assign([(topic, 0)])
        assert code(raised) == ErrorCode.RD_KAFKA_RESP_ERR__FAIL and consumer.subscription() == {topic}
        consumer.unsubscribe()
        assert consumer.subscription() == set()
        consumer.assign([(topic, 0)])
        consumer.assign([])
        consumer.subscribe([topic])


@pytest.mark.parametrize(("topics", "error"), [
    ("t", TypeError), (None, TypeError), ([], ValueError), ([5], TypeError), ([""], ValueError), (["t", "t"], ValueError),
    (["x" * 600], ValueError), (["a\0b"], ValueError), (["^("], KafkaException)])
def test_wrong_topics_leave_the_subscription(broker, topic, topics, error):
    with KafkaConsumer(properties(broker)) as consumer:
        consumer.subscribe([topic])
        with pytest.raises(error, match="topic"):
            consumer.subscribe(topics)
        with pytest.raises(TypeError, match="on_rebalance"):
            consumer.subscribe([topic + "x"], 5)
        assert consumer.subscription() == {topic}
