"""Groups: what on_rebalance gets, in which order, and that nothing is read twice that was committed as it was revoked."""
import os
import re
import threading

import pytest
from groups import ASSIGNED, LOST, PROTOCOLS, REVOKED, Member, poll_until, shared, write
from helpers import LIBRDKAFKA, Stopwatch, properties, wait_for

from kafkapp import ConsumerGroupMetadata, ErrorCode, KafkaConsumer, KafkaException, KafkaSyncProducer
from kafkapp.config.application import librdkafka_is_patched
from kafkapp.testing import ApiKey

COUNT = 50


@pytest.fixture
def filled(broker, topic):
    """A topic with so many records in each of its four partitions."""
    write(broker, topic, [b"v"] * COUNT)
    return topic


def code(raised):
    return raised.value.error.code


def joins(member):
    """What librdkafka has said of the steps in which this member joins; "debug" is "cgrp"."""
    return "".join(text for _, name, text in list(member.lines) if name == "CGRPJOINSTATE")


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
        if protocol == "eager":
            assert given[0] == [0, 1, 2, 3]
        elif LIBRDKAFKA >= (2, 6, 1) or not first.told_of(LOST):    # before, a commit that comes too late loses them all
            assert {*theirs} <= {partition for partitions in given for partition in partitions} != {0, 1, 2, 3}
        assert len(first.read) == 4 * COUNT


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"eager", "cooperative"}))   # there the embedded cluster takes no commit
def test_a_commit_in_the_callback_is_exact(broker, filled, protocol):
    """C13: what was returned and committed as it was revoked comes once, although more was taken already."""
    def commit(consumer, event, partitions):
        if event is REVOKED:
            consumer.commit_sync()

    with Member(broker, filled, protocol, commit, enable_auto_commit=False) as first, Member(broker, filled, protocol, commit, enable_auto_commit=False) as second:
        first.subscribe(filled)
        while len(first.read) < 30:
            first.read += [(record.partition, record.offset) for record in first.consumer.poll(0.1, 7)]
        second.subscribe(filled, timeout=None)
        poll_until(shared(first, second), first, second)
        with KafkaSyncProducer(properties(broker)) as producer:
            for partition in range(4):
                producer.send_batch(filled, [b"last"], partition=partition)
        poll_until(lambda: {(partition, COUNT) for partition in range(4)} <= {*first.read, *second.read}, first, second)
        assert sorted(first.read + second.read) == [(partition, offset) for partition in range(4) for offset in range(COUNT + 1)]


def read_on(member, count):
    """A poll, whose records go on at the positions before it, and are of no partition that it has seen go."""
    consumer, said = member.consumer, len(member.events)
    before = {partition: consumer.position((topic, partition)) for topic, partition in consumer.assignment()}
    found = {}
    for record in consumer.poll(0.05, count):
        found.setdefault(record.partition, []).append(record.offset)
    member.read += [(partition, offset) for partition, offsets in found.items() for offset in offsets]
    changed = {partition for _, partitions in member.events[said:] for partition in partitions}
    assert found.keys() <= member.partitions, (found, member.events[said:])
    for topic, partition in consumer.assignment():
        offsets = found.get(partition, [])
        begin = before.get(partition) if partition not in changed else None
        if offsets and begin is None:       # where the group has committed
            begin = offsets[0]
        assert offsets == list(range(begin or 0, (begin or 0) + len(offsets)))
        assert consumer.position((topic, partition)) == (begin if begin is None else begin + len(offsets))
    return REVOKED in dict(member.events[said:])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_polls_in_which_rebalances_come_go_on_at_the_positions(broker, filled, protocol):
    """With a full queue, which librdkafka itself drops then; rows that the same poll has taken before are beyond this test."""
    with Member(broker, filled, protocol, debug="cgrp") as first, Member(broker, filled, protocol) as second:
        first.subscribe(filled)
        wait_for(lambda: read_on(first, 7) or len(first.read) >= 7)
        second.subscribe(filled, timeout=None)
        wait_for(lambda: second.poll() or any(re.search("delegating (incremental )?revoke", line[2]) for line in first.lines), 40)
        wait_for(lambda: read_on(first, 4 * COUNT))
        wait_for(lambda: (read_on(first, 7), read_on(second, 7)) and shared(first, second)(), 40)
        everything = {(partition, offset) for partition in range(4) for offset in range(COUNT)}
        wait_for(lambda: (read_on(first, 7), read_on(second, 7)) and {*first.read, *second.read} == everything, 40)


@pytest.mark.skipif(not librdkafka_is_patched(), reason="librdkafka as others build it reads nothing then (offsets-fetched-again.patch)")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("error", [16, 14, 113])     # NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, STALE_MEMBER_EPOCH
def test_offsets_that_could_not_be_fetched_are_asked_for_again(cluster, topic, protocol, error):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * COUNT, partition=0)
    cluster.push_request_errors(ApiKey.OFFSET_FETCH, error, error)
    with Member(cluster, topic, protocol) as member:
        member.subscribe(topic, timeout=None)
        poll_until(lambda: len(member.read) == COUNT, member)


@pytest.mark.skipif(not librdkafka_is_patched(), reason="librdkafka as others build it begins at auto.offset.reset then (offsets-fetched-again.patch)")
@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each != "eager"])
def test_offsets_that_were_unstable_as_the_assignment_changed_are_asked_for_again(cluster, topic, protocol):
    """A transaction with them was open: members do not begin where auto.offset.reset says."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * COUNT, partition=partition)
    with KafkaConsumer(properties(cluster, {"group.id": topic})) as consumer:
        consumer.commit_sync({(topic, partition): 10 for partition in range(4)}, 20)
    cluster.push_request_errors(ApiKey.OFFSET_FETCH, *[ErrorCode.RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT.value] * 1000)
    with Member(cluster, topic, protocol) as first, Member(cluster, topic, protocol) as second:
        def reached(condition):
            try:
                poll_until(condition, first, second)
            except KafkaException as exc:       # this cluster says it of the whole request, too
                assert exc.error.code == ErrorCode.RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
                return False
            return True

        def asked():
            return sum(request.api == ApiKey.OFFSET_FETCH for request in cluster.requests())
        first.subscribe(topic)
        second.subscribe(topic, timeout=None)
        wait_for(lambda: reached(lambda: first.told_of(REVOKED)), 60)
        cluster.start_request_tracking()
        wait_for(lambda: reached(lambda: asked() > 1 or first.read), 60)     # one of them knows the new assignment
        cluster.clear_request_errors(ApiKey.OFFSET_FETCH)
        wait_for(lambda: reached(lambda: len(first.read + second.read) >= 4 * (COUNT - 10)), 60)
        assert sorted(first.read + second.read) == [(partition, offset) for partition in range(4) for offset in range(10, COUNT)]


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


QUICK = list(PROTOCOLS)[-1]     # the protocol whose rebalances take the embedded cluster the least time


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_calls_in_on_rebalance(broker, filled, protocol):
    """It may seek, pause, commit and ask; what polls, subscribes or closes says that it cannot."""
    refused, asked = [], []

    def then(consumer, event, partitions):
        for call in (lambda: consumer.poll(0), lambda: consumer.subscribe([filled]), lambda: consumer.assign([]), consumer.unsubscribe, consumer.close):
            with pytest.raises(RuntimeError, match=r"was called in on_rebalance") as raised:
                call()
            refused.append(raised)
        if event is ASSIGNED:
            consumer.seek((filled, 1), 40)
            consumer.pause([(filled, 2)])
            asked.append((consumer.position((filled, 1)), len(consumer.assignment()), consumer.committed(partitions)))

    with Member(broker, filled, protocol, then) as member:
        member.subscribe(filled)
        assert asked == [(40, 4, {})] and len(refused) == 5
        poll_until(lambda: len(member.read) == 2 * COUNT + 10, member)
        assert [offset for partition, offset in member.read if partition == 1] == list(range(40, COUNT))
        assert {partition for partition, _ in member.read} == {0, 1, 3}
        member.consumer.resume()
        poll_until(lambda: len(member.read) == 3 * COUNT + 10, member)


def test_what_on_rebalance_raises(broker, filled):
    """The call around it raises, when the rebalance is complete; nothing is lost."""
    def then(consumer, event, partitions):
        raise ZeroDivisionError(event.name)

    member = Member(broker, filled, QUICK, then)
    with pytest.raises(ZeroDivisionError, match="Assigned"):
        member.subscribe(filled)
    assert member.partitions == {0, 1, 2, 3}
    poll_until(lambda: len(member.read) == 4 * COUNT, member)
    with pytest.raises(ZeroDivisionError, match="Revoked"):
        member.consumer.close()
    assert member.consumer.closed and len(member.events) == 2


@pytest.mark.parametrize("when", [ASSIGNED, REVOKED])
def test_a_callback_that_forks(broker, filled, when):
    """In the child the call ends with an error; the parent goes on."""
    children = []

    def fork(consumer, event, partitions):
        if event is when:
            children.append(os.fork())

    with Member(broker, filled, "eager", fork) as member:
        try:
            member.subscribe(filled)
            member.consumer.unsubscribe()
        except RuntimeError as error:
            if children == [0]:
                os._exit(7 if "fork" in str(error) else 1)
            raise
        finally:
            if children == [0]:
                os._exit(2)
        ended, status = wait_for(lambda: (lambda found: found if found[0] else None)(os.waitpid(children[0], os.WNOHANG)), 20)
        assert (ended, os.waitstatus_to_exitcode(status)) == (children[0], 7)
        assert [event for event, _ in member.events] == [ASSIGNED, REVOKED] and member.consumer.assignment() == set()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unsubscribing_before_an_assignment_is_served(broker, filled, protocol):
    """librdkafka leaves when it is answered: else the group waits for a member that reads nothing."""
    with Member(broker, filled, protocol, debug="cgrp") as first, Member(broker, filled, protocol) as second:
        first.subscribe(filled, timeout=None)
        wait_for(lambda: "-> wait-assign-call" in joins(first), 20)
        known = len(joins(first))
        first.consumer.unsubscribe()
        wait_for(lambda: re.search(r"unassign\S* -> init", joins(first)[known:]))
        second.subscribe(filled)
        assert len(second.partitions) == 4 and not first.poll() and not first.read and not first.events
        first.subscribe(filled, timeout=None)
        poll_until(shared(first, second), first, second)


def test_assigning_by_hand_before_the_group_is_left(cluster, topic):
    """An eager member that owns nothing amid a rebalance leaves when that is over, behind unsubscribe(); what it loses then is said."""
    write(cluster, topic, [b"v"] * COUNT)
    with Member(cluster, topic, "eager", lambda _, event, __: event is REVOKED and cluster.set_rtt(1, 0.5),
                enable_auto_commit=False) as first, \
            Member(cluster, topic, "eager") as second:
        first.subscribe(topic)
        second.subscribe(topic, timeout=None)
        poll_until(lambda: not first.partitions, first)
        first.consumer.unsubscribe()
        first.consumer.assign({(topic, 0): 0})
        first.consumer.pause()
        with pytest.raises(KafkaException, match=r"call assign\(\) again"):
            poll_until(lambda: False, first, timeout=20)
        cluster.set_rtt(1, 0)
        assert first.consumer.assignment() == set()
        first.read.clear()
        first.consumer.assign({(topic, 0): 0})
        poll_until(lambda: first.read.count((0, COUNT - 1)), first)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unsubscribing_while_another_member_comes(broker, filled, protocol):
    with Member(broker, filled, protocol, debug="cgrp") as first, Member(broker, filled, protocol) as second:
        first.subscribe(filled)
        known = len(joins(first))
        second.subscribe(filled, timeout=None)
        wait_for(lambda: second.poll() or "-> wait-" in joins(first)[known:], 20)
        first.consumer.unsubscribe()
        assert first.consumer.assignment() == set() and first.told_of(REVOKED) == [0, 1, 2, 3] == first.told_of(ASSIGNED)
        poll_until(lambda: len(second.partitions) == 4, second, first)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pauses_outlast_rebalances(broker, filled, protocol):
    """C27: still paused after another member has come and gone, where the partition has stayed."""
    with Member(broker, filled, protocol) as first:
        first.subscribe(filled)
        first.consumer.pause()
        with Member(broker, filled, protocol) as second:
            second.subscribe(filled, timeout=None)
            poll_until(shared(first, second), first, second)
            kept = first.partitions
        poll_until(lambda: len(first.partitions) == 4, first)
        poll_until(lambda: {partition for partition, _ in first.read} == {0, 1, 2, 3} - kept, first)
        while batch := first.consumer.poll(0.3):
            assert not {record.partition for record in batch} & kept
        first.consumer.resume([(filled, partition) for partition in kept])
        poll_until(lambda: {partition for partition, _ in first.read} == {0, 1, 2, 3}, first)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_pause_outlasts_the_subscription(broker, filled, protocol):
    with Member(broker, filled, protocol) as member:
        member.subscribe(filled)
        member.consumer.pause()
        member.consumer.unsubscribe()
        member.subscribe(filled)
        poll_until(lambda: len(member.read) == 4 * COUNT, member)
        member.consumer.pause()
        member.consumer.seek_to_beginning()
        assert not member.consumer.poll(0.3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_pause_outlasts_a_loss(cluster, topic, protocol):
    """Whoever has the partitions next reads them, this member too."""
    write(cluster, topic, [b"v"] * COUNT)
    with Member(cluster, topic, protocol) as member:
        member.subscribe(topic)
        member.consumer.pause()
        cluster.push_request_errors(ApiKey.CONSUMER_GROUP_HEARTBEAT if protocol == "KIP-848" else ApiKey.HEARTBEAT,
                                    ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.value)
        poll_until(lambda: len(member.events) > 1 and member.partitions, member)
        assert [event for event, _ in member.events] == [ASSIGNED, LOST, ASSIGNED]
        poll_until(lambda: len(member.read) == 4 * COUNT, member)
        member.consumer.pause()
        member.consumer.seek_to_beginning()
        assert not member.consumer.poll(0.3)


def test_group_metadata(broker, topic):
    with Member(broker, topic, QUICK) as member:
        alone = member.consumer.group_metadata()
        assert (alone.group_id, alone.generation_id, alone.group_instance_id) == (topic, -1, None)
        member.subscribe(topic, timeout=None)
        poll_until(lambda: member.partitions, member)
        found = member.consumer.group_metadata()
        assert isinstance(found, ConsumerGroupMetadata)
        assert found.group_id == topic and found.generation_id > 0 and found.member_id and found.group_instance_id is None


def test_a_consumer_that_no_group_has_taken_in_has_no_metadata():
    with KafkaConsumer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "error_cb": lambda error: None}) as consumer:
        consumer.subscribe(["t"])
        with pytest.raises(KafkaException, match="not a member of its group now") as raised:
            consumer.group_metadata()
        assert code(raised) == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID


def test_nothing_is_assigned_in_time(broker, topic):
    """C30: the subscription stands."""
    with Member(broker, topic, QUICK) as member:
        with pytest.raises(KafkaException, match="assigned nothing in time") as raised:
            member.subscribe(topic + "-absent", timeout=0.2)
        assert code(raised) == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT and member.consumer.subscription() == {topic + "-absent"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_topic_more_of_which_another_member_has_all(cluster, topic, protocol):
    """With KIP-848 there is no rebalance then: the group's answer ends the wait, and what is assigned stays."""
    cluster.create_topic(other := topic + "-other", 1)
    for _ in range(20):     # until the one that had it keeps it: which one gets it is chance
        with Member(cluster, topic, protocol) as owner, Member(cluster, topic, protocol) as member:
            stop = threading.Event()
            owner.subscribe(other)
            member.subscribe(topic, timeout=None)
            poll_until(lambda: owner.partitions and member.partitions, owner, member)
            polling = threading.Thread(target=lambda: [owner.poll() for _ in iter(stop.is_set, True)])
            polling.start()
            try:
                with Stopwatch() as watch:
                    member.subscribe(topic, other, timeout=20)
            finally:
                stop.set()
                polling.join()
            topics = {place.topic for place in member.consumer.assignment()}
            assert watch.seconds < 10 and topic in topics
            if topics == {topic}:
                return
    raise AssertionError("the group has always given it to the other one")


@pytest.mark.skipif(LIBRDKAFKA < (2, 1), reason="librdkafka takes the dispatcher's polls for the program's")
@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"KIP-848"}))
def test_polls_that_come_too_late(broker, filled, protocol):
    """max.poll.interval.ms: raised with a cure, the partitions are lost, and later polls have them back."""
    with Member(broker, filled, protocol, max_poll_interval_ms=2500) as member:
        member.subscribe(filled)
        wait_for(lambda: "MAXPOLL" in str(member.lines), 20)
        with pytest.raises(KafkaException, match="Poll more often, take fewer records at a time, or raise") as raised:
            poll_until(lambda: False, member)
        assert code(raised) == ErrorCode.RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED
        poll_until(lambda: len(member.events) == 3 and member.partitions, member)
        assert [event for event, _ in member.events] == [ASSIGNED, LOST, ASSIGNED]
