"""Groups as Kafka's own coordinator runs them: static members, patterns, commits as partitions go, four members (rows C13, C32, C33)."""
import itertools
import threading
import uuid

import pytest
from groups import ASSIGNED, LOST, PROTOCOLS, REVOKED, Member, poll_until, shared, write
from helpers import wait_for

from kafkapp import ErrorCode, KafkaException, UnorderedOffsetCommitQueue

COUNT = 50
BOTH = [name for name in ("eager", "KIP-848") if name in PROTOCOLS]


@pytest.fixture
def filled(kafka, make_topic):
    topic = make_topic(partitions=4)
    write(kafka, topic, [b"v"] * COUNT)
    return topic


def static(kafka, topic, protocol, name):
    """A member that keeps its place for ten seconds when it is gone; with KIP-848 for the broker's three."""
    longer = {} if protocol == "KIP-848" else {"session_timeout_ms": 10_000}
    return Member(kafka, topic, protocol, group_instance_id=name, **longer)


# -- static members -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
def test_a_static_member_that_comes_back_in_time_finds_its_partitions(kafka, filled, protocol):
    with static(kafka, filled, protocol, "stays") as other:
        other.subscribe(filled)
        with static(kafka, filled, protocol, "restarts") as first:
            first.subscribe(filled, timeout=None)
            poll_until(shared(first, other), first, other)
            before = first.partitions
            assert first.consumer.group_metadata().group_instance_id == "restarts"
        told = list(other.events)
        with static(kafka, filled, protocol, "restarts") as again:
            again.subscribe(filled, timeout=None)
            poll_until(lambda: again.partitions, again, other)
            assert again.partitions == before and other.events == told


def fenced(call):
    with pytest.raises(KafkaException) as raised:
        call()
    return raised.value.error


@pytest.mark.parametrize("protocol", BOTH)
def test_of_two_with_one_name_one_is_fenced(kafka, filled, protocol):
    """The first one, by the classic protocols; with KIP-848 the second. It says so, and can be closed."""
    with static(kafka, filled, protocol, "same") as first, static(kafka, filled, protocol, "same") as second:
        first.subscribe(filled)
        second.subscribe(filled, timeout=None)
        loser, winner, code = ((second, first, ErrorCode.RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID) if protocol == "KIP-848"
                               else (first, second, ErrorCode.RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID))
        error = fenced(lambda: poll_until(lambda: False, loser, winner))
        assert error.code == code and error.is_fatal and "instance" in str(error)
        with pytest.raises(KafkaException) as raised:
            loser.consumer.poll(0)
        assert raised.value.error.code == code      # and not of what librdkafka makes of it
        loser.consumer.close(5)
        assert loser.consumer.closed
        poll_until(lambda: len(winner.partitions) == 4, winner)


# -- patterns -----------------------------------------------------------------------------------------------


def test_c33_a_pattern_follows_topics_that_come_and_go(kafka):
    """With librdkafka's own matching: with KIP-848 brokers match, and look for new topics every ten seconds or more."""
    family = f"family-{uuid.uuid4().hex[:8]}"
    made = [kafka.create_topic(f"{family}-a", 1)]
    try:
        with Member(kafka, family, "eager", topic_metadata_refresh_interval_ms=100) as member:
            def topics():
                return {topic for topic, _ in member.consumer.assignment()}

            member.subscribe(f"^{family}-[a-c]$")
            assert topics() == {made[0]} and member.consumer.subscription() == {f"^{family}-[a-c]$"}
            made += [kafka.create_topic(f"{family}-{name}", 1) for name in "bx"]
            poll_until(lambda: topics() == {f"{family}-a", f"{family}-b"}, member)
            write(kafka, f"{family}-b", [b"v"] * COUNT, [0])
            poll_until(lambda: len(member.read) == COUNT, member)
            kafka.delete_topic(made.pop(0))
            poll_until(lambda: topics() == {f"{family}-b"}, member)
            assert [event for event, _ in member.events][::2] == [ASSIGNED] * 3 and LOST not in dict(member.events)
    finally:
        for topic in made:
            kafka.delete_topic(topic)


# -- commits while members come and go ------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"KIP-848"}))     # which the embedded cluster can do too
def test_c13_a_commit_in_the_callback_is_exact(kafka, filled, protocol):
    def commit(consumer, event, partitions):
        if event is REVOKED:
            consumer.commit_sync(timeout=20)

    with (Member(kafka, filled, protocol, commit, enable_auto_commit=False) as first,
          Member(kafka, filled, protocol, commit, enable_auto_commit=False) as second):
        first.subscribe(filled)
        while len(first.read) < 30:
            first.read += [(record.partition, record.offset) for record in first.consumer.poll(0.1, 7)]
        second.subscribe(filled, timeout=None)
        poll_until(shared(first, second), first, second)
        write(kafka, filled, [b"last"])
        poll_until(lambda: {(partition, COUNT) for partition in range(4)} <= {*first.read, *second.read}, first, second)
        assert sorted(first.read + second.read) == [(partition, offset) for partition in range(4) for offset in range(COUNT + 1)]


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"eager"}))
def test_c32_four_members_come_and_go_and_none_gets_what_it_has_just_lost(kafka, make_topic, protocol):
    topic = make_topic(partitions=8)
    write(kafka, topic, [b"v"] * COUNT, range(8))
    members = [Member(kafka, topic, protocol) for _ in range(4)]
    try:
        for number, member in enumerate(members, 1):
            member.subscribe(topic, timeout=None)
            poll_until(shared(*members[:number], partitions=8), *members[:number])
        for number in (3, 2, 1):
            members[number].consumer.close()
            poll_until(shared(*members[:number], partitions=8), *members[:number])
        poll_until(lambda: sum(len(member.read) for member in members) >= 8 * COUNT, members[0])
        for member in members:
            assert LOST not in dict(member.events)
            for (event, gone), (following, come) in itertools.pairwise(member.events):
                assert (event, following) != (REVOKED, ASSIGNED) or not {*gone} & {*come}, member.events
        assert sorted(place for member in members for place in member.read) == [
            (partition, offset) for partition in range(8) for offset in range(COUNT)]
    finally:
        for member in members:
            member.consumer.close()


@pytest.mark.parametrize("protocol", BOTH)
def test_callbacks_of_commits_come_once_each_and_what_they_committed_is_read_no_more(kafka, filled, protocol):
    """Records that are processed in another order are committed by UnorderedOffsetCommitQueue, while members come and go."""
    answers, begun, last, lock = [], [], {}, threading.Lock()

    class Worker:
        """A member whose records are done last one first."""

        def __init__(self):
            self.queues, self.seen, self.refused = {}, [], {}
            self.member = Member(kafka, filled, protocol, self.told, enable_auto_commit=False)

        def told(self, consumer, event, places):
            for place in places:        # what was acknowledged was committed before
                self.queues.pop(place.partition, None)
                self.refused.pop(place, None)

        def poll(self):
            batch = self.member.consumer.poll(0.02, 7)
            for record in batch:
                self.seen.append((record.partition, record.offset))
                self.queues.setdefault(record.partition, UnorderedOffsetCommitQueue()).wait_offset(record.offset)
            for record in reversed(batch):
                self.queues[record.partition].ack_offset(record.offset)
            due = self.refused | {(filled, partition): offset for partition, queue in self.queues.items()
                                  if (offset := queue.pop_offset_to_commit()) is not None}
            if due:
                self.refused = {}
                begun.append(due)
                self.member.consumer.commit_async(due, self.answered)

        def answered(self, offsets, error):
            with lock:
                answers.append(offsets)
                if error is None:
                    last.update({place: max(offset, last.get(place, 0)) for place, offset in offsets.items()})
                else:       # a rebalance: of what stays it is committed again
                    self.refused = {place: offset for place, offset in offsets.items() if place.partition in self.queues} | self.refused

    first, second = Worker(), Worker()
    with first.member, second.member:
        first.member.subscribe(filled)
        wait_for(lambda: first.poll() or len(first.seen) >= 30)
        second.member.consumer.subscribe([filled], second.member.told)
        wait_for(lambda: (first.poll(), second.poll()) and shared(first.member, second.member)(), 40)
        wait_for(lambda: (first.poll(), second.poll()) and len({*first.seen, *second.seen}) == 4 * COUNT, 40)
        wait_for(lambda: (first.poll(), second.poll()) and last == {(filled, partition): COUNT for partition in range(4)}, 40)
        wait_for(lambda: len(answers) == len(begun))
        assert sorted(map(sorted, (batch.items() for batch in answers))) == sorted(map(sorted, (batch.items() for batch in begun)))
        assert last == second.member.consumer.committed([(filled, partition) for partition in range(4)])
