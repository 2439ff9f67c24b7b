"""Faults of real brokers under load (killed, restarted, replaced, cut off, slowed, reassigned): every record is accounted for.

Each test ends with the ledger's verdict: what the producer said of each record against what the log holds.
"""

import contextlib
import time

import pytest
from kafka_disk import SmallDisk, may_mount
from ledger import Ledger, unpack
from ledger_load import Load, ProducerIsFatal, open_sender
from readback import read_log
from helpers import LIBRDKAFKA

from kafkapp import ErrorCode

MSG_TIMED_OUT = ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT

# The codes by which a record may fail when its topic goes away; each says so, none is a success.
TOPIC_GONE = {
    MSG_TIMED_OUT,
    ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
    ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
}


@pytest.fixture
def sender(kafka_nodes, ledger):
    with open_sender(ledger, kafka_nodes.bootstrap_servers) as sender:
        yield sender


@contextlib.contextmanager
def leaders_moving(sender):
    """While in the block leaders change, which an old librdkafka does not always survive.

    Before 2.4.0 it believes a returning broker's old metadata, goes back to that leader, and learns that its sequence is
    out of order: a fatal error that ends the producer, and must still not lie of any record (check() sees to that).
    """
    try:
        yield
    except ProducerIsFatal:
        assert LIBRDKAFKA < (2, 4)
        assert ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER in sender.ledger.codes()


def check(sender, verdict_of, topic, at_least=100):
    """All was delivered, once, in order, intact."""
    sender.close()
    assert verdict_of(topic).faults() == {}
    if not sender.fatal:
        assert sender.ledger.counts() == {"delivered": sender.accepted}
        assert sender.accepted >= at_least


def test_the_leader_is_killed_and_restarted(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1]])
    with leaders_moving(sender), Load(sender, topic, partitions=[0, 1]):
        kafka_nodes.nodes[1].kill()
        kafka_nodes.leader(topic, 0, other_than=1)
        sender.wait_delivered(500)
        kafka_nodes.nodes[1].start()
        kafka_nodes.wait_in_sync(topic)
        sender.wait_delivered(500)
    check(sender, verdict_of, topic, at_least=1000)


def test_a_rolling_restart(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    with leaders_moving(sender), Load(sender, topic, partitions=[0, 1, 2]):
        for node in kafka_nodes.nodes.values():
            node.restart()
            kafka_nodes.wait_in_sync(topic)
            sender.wait_delivered(100)
    check(sender, verdict_of, topic, at_least=1000)


def test_a_new_leader_is_elected_when_the_leader_is_stopped(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[2, 3, 1]])
    with leaders_moving(sender), Load(sender, topic, partitions=[0]):
        kafka_nodes.nodes[2].stop()
        assert kafka_nodes.leader(topic, 0, other_than=2) in (1, 3)
        sender.wait_delivered(500)
        kafka_nodes.nodes[2].start()
        kafka_nodes.wait_in_sync(topic)
        kafka_nodes.elect_preferred_leader(topic, 0)  # and back again, with both brokers alive
        assert kafka_nodes.leader(topic, 0) == 2
        sender.wait_delivered(500)
    check(sender, verdict_of, topic, at_least=1000)


def test_a_leader_hangs_until_it_is_replaced_and_then_wakes_up(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[3, 1, 2]])
    with leaders_moving(sender), Load(sender, topic, partitions=[0]):
        with kafka_nodes.paused([3]):
            assert kafka_nodes.leader(topic, 0, other_than=3) in (1, 2)
            sender.wait_delivered(500)
        kafka_nodes.wait_in_sync(topic)  # the old leader knows that it no longer leads, and has caught up
        sender.wait_delivered(500)
    check(sender, verdict_of, topic, at_least=1000)


def test_all_brokers_hang_for_a_while(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(partitions=3)
    with Load(sender, topic, partitions=[0, 1, 2]):
        kafka_nodes.pause_for(2).join()
        sender.wait_delivered(500)
    check(sender, verdict_of, topic, at_least=500)


def test_too_few_replicas_refuse_and_recover(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[1, 2]], config={"min.insync.replicas": "2"})
    with Load(sender, topic, partitions=[0], rate=200):
        kafka_nodes.nodes[2].kill()
        kafka_nodes.wait_isr(topic, 0, {1})
        delivered = sender.delivered
        # With its own short time: the record that no broker accepts is reported as failed, and is nowhere.
        with open_sender(sender.ledger, kafka_nodes.bootstrap_servers, message_timeout_ms=1500) as impatient:
            for _ in range(20):
                impatient.send(topic, 0, producer=1)
            impatient.wait_all()
        assert sender.ledger.codes() == {MSG_TIMED_OUT}
        assert sender.delivered == delivered, "nothing may be acknowledged with too few replicas"
        kafka_nodes.nodes[2].start()
        kafka_nodes.wait_in_sync(topic)
        sender.wait_delivered(200)
    sender.close()
    verdict = verdict_of(topic)
    assert verdict.faults() == {}
    assert (verdict.delivered, verdict.failed) == (sender.accepted, 20)
    assert not [record for record in read_log(kafka_nodes.bootstrap_servers, topic) if unpack(record.value)[1] == 1]


# The codes by which a record fails when the one broker that may take it cannot write.
NO_ROOM = {MSG_TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR}


def test_the_leaders_disk_is_full_and_is_freed(kafka_nodes, make_topic, sender, faults, tmp_path, verdict_of):
    if not faults.thorough or not may_mount(tmp_path):
        pytest.skip("takes half a minute (--faults=thorough), and the right to mount a small disk")
    topic, alone = make_topic(assignment=[[1, 2, 3]]), make_topic(assignment=[[1]], config={"min.insync.replicas": "1"})
    own = Ledger()
    for _ in range(faults.rounds(0, 3)):
        with SmallDisk(kafka_nodes, kafka_nodes.nodes[1]) as disk:
            kafka_nodes.wait_in_sync()
            kafka_nodes.elect_preferred_leader(topic, 0)
            with leaders_moving(sender), Load(sender, topic, partitions=[0], size=2000), \
                    open_sender(own, kafka_nodes.bootstrap_servers, message_timeout_ms=3000) as impatient:
                disk.fill()
                for _ in range(50):
                    impatient.send(alone, 0, size=2000)
                disk.wait_dead()
                assert disk.left() < 4096
                kafka_nodes.leader(topic, 0, other_than=1)
                sender.wait_delivered(200)      # by the others
                impatient.wait_all()
                assert own.codes() <= NO_ROOM and own.codes(), own.codes()
                disk.free()
                disk.start()
                kafka_nodes.wait_in_sync()
                sender.wait_delivered(200)
                impatient.send(alone, 0)
                impatient.wait_all()
    assert own.verdict(read_log(kafka_nodes.bootstrap_servers, alone)).faults() == {}
    check(sender, verdict_of, topic)
    faults.figure(accepted=sender.accepted, without_room=sorted(ErrorCode(code).name for code in own.codes()))


def test_a_topic_is_deleted(kafka_nodes, make_topic, ledger, verdict_of):
    doomed, other = make_topic(), make_topic()
    with open_sender(ledger, kafka_nodes.bootstrap_servers, message_timeout_ms=3000) as sender:
        with Load(sender, other, partitions=[0], producer=2), Load(sender, doomed, partitions=[0], producer=1) as load:
            kafka_nodes.delete_topic(doomed)
            goal, end = load.sent + 500, time.monotonic() + 60
            while load.sent < goal or not ledger.codes():  # a loaded cluster deletes it later than it says so
                sender.wait_delivered(50)  # the other topic's go on, or this fails
                assert time.monotonic() < end, "records for a topic that is deleted are delivered"
        sender.wait_all()
    assert ledger.codes()
    assert ledger.codes() <= TOPIC_GONE
    verdict = verdict_of(other, complete=False)
    assert verdict.faults() == {}
    counts = ledger.counts()
    assert None not in counts, "every record has an outcome"
    assert sum(counts.values()) == verdict.sent


def test_partitions_are_added(kafka_nodes, make_topic, ledger, verdict_of):
    topic = make_topic(partitions=1)
    with open_sender(ledger, kafka_nodes.bootstrap_servers, sticky_partitioning_linger_ms=0) as sender:
        with Load(sender, topic):
            kafka_nodes.add_partitions(topic, 4)
            for _ in range(20):
                sender.wait_delivered(100)
                places = {partition for said in list(ledger.outcomes().values()) for _, partition, _, _ in said}
                if places >= {0, 1, 2, 3}:
                    break
        check(sender, verdict_of, topic)
    assert places >= {0, 1, 2, 3}, "the new partitions are used while the load goes on"


def test_a_broker_is_slow(kafka_nodes, make_topic, sender, verdict_of):
    topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    with Load(sender, topic, partitions=[0, 1, 2]):
        with kafka_nodes.nodes[1].slowed(share=0.15):
            sender.wait_delivered(1000)
        sender.wait_delivered(100)
    check(sender, verdict_of, topic, at_least=1000)
