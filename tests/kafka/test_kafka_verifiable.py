"""Kafka's own judge: its VerifiableConsumer reads what `kafkapp verifiable-producer` says was acknowledged.

The rule of Kafka's system tests (ProduceConsumeValidateTest): acknowledged less consumed is empty, while nodes are killed,
restarted one after the other, or lose their leaderships. Both programs print JSON, one object a line.
"""
import random
import signal
import sys
from collections import Counter

import pytest
from json_program import SECONDS, Program, kafka_tool
from kafka_admin import wait_until

IDEMPOTENCE = pytest.mark.parametrize("idempotence", [True, False], ids=["idempotent", "plain"])


@pytest.fixture
def programs(kafka_nodes, tmp_path):
    """Starts the two programs; they are gone after the test."""
    started = []

    def producer(topic, *arguments, properties=None):
        config = tmp_path / "producer.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in (properties or {}).items()))
        command = [sys.executable, "-m", "kafkapp", "verifiable-producer", "--topic", topic,
                   "--bootstrap-server", kafka_nodes.bootstrap_servers, "--command-config", str(config), *arguments]
        started.append(Program(command, tmp_path / "producer.txt"))
        return started[-1]

    def consumer(topic):
        command = kafka_tool(kafka_nodes, tmp_path, "VerifiableConsumer") + ["--bootstrap-server", kafka_nodes.bootstrap_servers,
                    "--topic", topic, "--group-id", topic, "--reset-policy", "earliest", "--verbose"]
        started.append(Program(command, tmp_path / "consumer.txt"))
        return started[-1]

    yield producer, consumer
    for each in started:
        each.close()
    if kafka_nodes.nodes:
        kafka_nodes.heal()


def place(event):
    return event["topic"], event["partition"], event["offset"], event["key"], event["value"]


def missing(producer, consumer):
    """What was acknowledged and not consumed, each with the place that the acknowledgement gave it."""
    acknowledged = Counter(map(place, producer.named("producer_send_success")))
    assert set(acknowledged.values()) == {1}, "no record is acknowledged twice, no place is given twice"
    return acknowledged - Counter(map(place, consumer.named("record_data")))


def judge(producer, consumer):
    """End the producer, and wait until the consumer has read all that was acknowledged. Returns the failures."""
    assert producer.end() == 128 + signal.SIGTERM
    names = [event["name"] for event in producer.events]
    assert names[0] == "startup_complete" and names[-2:] == ["shutdown_complete", "tool_data"]
    acknowledged, failed = producer.named("producer_send_success"), producer.named("producer_send_error")
    summary = producer.events[-1]
    assert (summary["sent"], summary["acked"]) == (len(acknowledged) + len(failed), len(acknowledged))
    assert len(acknowledged) >= 100
    wait_until(lambda: not missing(producer, consumer), SECONDS, "the consumer to read all that was acknowledged")
    return failed


def disturb_by_kill(cluster, topic, goes_on):
    for number in (1, 2):
        cluster.nodes[number].kill()
        cluster.leader(topic, number - 1, other_than=number)
        goes_on()
        cluster.nodes[number].start()
        cluster.wait_in_sync(topic)
        goes_on()


def disturb_by_rolling_restart(cluster, topic, goes_on):
    for node in cluster.nodes.values():
        node.restart()
        cluster.wait_in_sync(topic)
        goes_on()


def disturb_by_moves(cluster, topic, goes_on):
    for number in (1, 2, 3):
        with cluster.nodes[number].paused():
            cluster.leader(topic, number - 1, other_than=number)
        cluster.wait_in_sync(topic)
        cluster.elect_preferred_leader(topic, number - 1)
        goes_on()


DISTURBANCES = {"SIGKILL of leaders": disturb_by_kill, "rolling restart": disturb_by_rolling_restart,
                "leaders move": disturb_by_moves}


@IDEMPOTENCE
@pytest.mark.timeout(900)
def test_all_that_was_acknowledged_is_consumed(programs, kafka_nodes, make_topic, faults, idempotence):
    start_producer, start_consumer = programs
    topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    consumer = start_consumer(topic)
    producer = start_producer(topic, "--throughput", "500", "--repeating-keys", "50", properties={
        "enable.idempotence": str(idempotence).lower(), "linger.ms": 5, "message.timeout.ms": 60000,
        "socket.timeout.ms": 3000, "reconnect.backoff.max.ms": 300})
    producer.wait_for_more("producer_send_success", 100)
    turns = list(DISTURBANCES) if faults.thorough else [random.Random(faults.seed).choice(list(DISTURBANCES))]
    for turn in turns:
        DISTURBANCES[turn](kafka_nodes, topic, lambda: producer.wait_for_more("producer_send_success", 100))
    failed = judge(producer, consumer)
    if idempotence:
        assert failed == []
        seen = Counter(event["value"] for event in consumer.named("record_data"))
        assert max(seen.values()) == 1, "with idempotence no record is twice in the log"
    faults.figure(acknowledged=len(producer.named("producer_send_success")), failed=len(failed))


def test_control_a_record_that_is_not_in_the_log_is_missed(programs, make_topic):
    start_producer, start_consumer = programs
    topic = make_topic()
    consumer, producer = start_consumer(topic), start_producer(topic, "--max-messages", "200")
    assert producer.process.wait(SECONDS) == 0
    wait_until(lambda: len(consumer.named("record_data")) == 200, SECONDS, "the consumer to read all")
    assert not missing(producer, consumer)
    lost = {**producer.named("producer_send_success")[50], "offset": 10**9}
    producer.events.append(lost)
    assert list(missing(producer, consumer)) == [place(lost)]
