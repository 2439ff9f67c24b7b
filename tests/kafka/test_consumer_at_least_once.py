"""At least once: members of a group are killed and stopped, brokers killed and restarted, while Kafka's VerifiableProducer writes.

Nothing that was acknowledged is lost, and what is read twice was not committed when its partition changed hands.
"""
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from group_history import faults_of, polled, repeated
from helpers import LIBRDKAFKA
from json_program import SECONDS, Program, kafka_tool
from kafka_admin import wait_until

MEMBER = Path(__file__).parents[1] / "support" / "group_member.py"
SESSION = 3         # seconds: a member that is silent for longer is put out; for KIP-848 the broker's
CLASSIC = {"session.timeout.ms": 1000 * SESSION, "heartbeat.interval.ms": 500}
PROTOCOLS = {
    "eager": CLASSIC | {"partition.assignment.strategy": "range"},
    "cooperative": CLASSIC | {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}


class Group:
    """Members of one group; each process is one, also those that are gone."""

    def __init__(self, kafka, topic, folder, properties, *bugs):
        self.properties = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest",
                           "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 300, "socket.timeout.ms": 5000, **properties}
        library = os.environ.get("KAFKAPP_TEST_MEMBER", "kafkapp")
        self.command = [sys.executable, MEMBER, library, topic, json.dumps(self.properties), *bugs]
        self.folder, self.all, self.alive = folder, [], []

    def start(self):
        member = Program(self.command, self.folder / f"member-{len(self.all)}.txt")
        self.all.append(member)
        self.alive.append(member)

    def journals(self):
        return {number: list(member.events) for number, member in enumerate(self.all)}

    def read(self):
        """The places that some member has read."""
        return {(partition, offset) for events in self.journals().values() for event in events if event["name"] == "poll"
                for partition, offset, _ in event["records"]}

    def goes_on(self, more=100):
        goal = len(self.read()) + more
        wait_until(lambda: self.all_live() and len(self.read()) >= goal, SECONDS, f"{more} records more")

    def all_live(self):
        """True; a member that has ended by itself fails the test."""
        assert [member.process.poll() for member in self.alive] == [None] * 3, f"see {self.folder}"
        return True

    def kill(self, member):
        member.process.kill()
        member.process.wait(SECONDS)
        self.alive.remove(member)
        self.start()

    def pause(self, member):
        """A zombie: the group moves on meanwhile."""
        member.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * SESSION)       # the length of the fault itself
        member.process.send_signal(signal.SIGCONT)

    def end(self):
        for member in self.alive:
            wait_until(lambda member=member: member.named("started"), SECONDS, "a member to start")
            member.process.terminate()
        return [member.process.wait(SECONDS) for member in self.alive]

    def close(self):
        for member in self.all:
            member.close()


@pytest.fixture
def disturbed(kafka_nodes, make_topic, tmp_path, faults):
    """Reads what VerifiableProducer writes by three members, disturbs them: (their Group, the acknowledged places)."""
    kafka, dice = kafka_nodes, random.Random(faults.seed)

    def node_dies(node):
        node.kill()
        node.start()
        kafka.wait_ready({node.id})
        kafka.wait_in_sync()

    def node_restarts(node):
        node.restart()
        kafka.wait_in_sync()

    def disturb(group, turn):
        member, node = dice.choice(group.alive), dice.choice(list(kafka.nodes.values()))
        if turn == "kill":
            group.kill(member)
        elif turn == "pause":
            group.pause(member)
        elif turn == "leave":
            member.end()
            group.alive.remove(member)
            group.start()
        else:
            {"node dies": node_dies, "node restarts": node_restarts}[turn](node)

    def disturbed(properties, turns, *bugs):
        topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3]])
        (tmp_path / "producer.properties").write_text("linger.ms=5\nrequest.timeout.ms=3000\nreconnect.backoff.max.ms=300\n")
        writer = Program([*kafka_tool(kafka, tmp_path, "VerifiableProducer"), "--bootstrap-server", kafka.bootstrap_servers, "--topic", topic,
                          "--throughput", "500", "--repeating-keys", "50", "--command-config", str(tmp_path / "producer.properties")],
                         tmp_path / "producer.txt")
        group = Group(kafka, topic, tmp_path, properties, *bugs)
        try:
            for _ in range(3):
                group.start()
            group.goes_on()
            for turn in turns:
                disturb(group, turn)
                group.goes_on()
            writer.end()
            acknowledged = {(event["partition"], event["offset"], event["value"]) for event in writer.named("producer_send_success")}
            missing = {place[:2] for place in acknowledged}
            if not bugs:
                wait_until(lambda: missing <= group.read(), SECONDS, "all that was acknowledged to be read")
            assert group.end() == [0] * 3
        finally:
            writer.close()
            group.close()
        return group, acknowledged

    return disturbed


@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_and_only_what_was_not_committed_is_read_again(protocol, disturbed, faults):
    if protocol == "consumer" and LIBRDKAFKA < (2, 12):
        pytest.skip("this librdkafka has no group.protocol=consumer")
    turns = ["kill", "pause", "leave", "node dies", "node restarts"] * 3
    faults.random.shuffle(turns)
    if not faults.thorough:
        chosen = random.Random(faults.seed).choice(list(PROTOCOLS))
        turns = ["kill"] + [faults.random.choice(["pause", "node dies", "node restarts"])] * (protocol == chosen)
    group, acknowledged = disturbed(PROTOCOLS[protocol], turns)
    journals = group.journals()
    assert faults_of(journals, acknowledged) == {}
    faults.figure(acknowledged=len(acknowledged), read=len(polled(journals)), read_again=repeated(journals), members=len(journals),
                  failed=sorted({event["code"] for events in journals.values() for event in events if event["name"] == "failed"}),
                  lost=sum(event["name"] == "lost" for events in journals.values() for event in events))


@pytest.mark.timeout(900)
def test_control_a_member_that_commits_before_it_has_written_is_found(disturbed, faults):
    if not faults.thorough:
        pytest.skip("takes ten seconds (--faults=thorough); test_group_controls.py plants the same")
    group, acknowledged = disturbed(PROTOCOLS["eager"], ["kill"], "forget")
    assert "committed unread" in faults_of(group.journals(), acknowledged)
