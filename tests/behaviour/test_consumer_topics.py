"""Subscriptions beside topics that come, statistics that come very often, and the threads of a consumer.

Rows C16, C31, C33 and C34 of the C++ API's own tests.
"""
import threading
from pathlib import Path

import pytest
from groups import PROTOCOLS, Member, poll_until
from helpers import properties, thread_names, wait_for

from kafkapp import KafkaConsumer, KafkaSyncProducer


def send(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send(topic, "first", partition=0)


def test_a_topic_that_comes_after_it_was_subscribed_to(cluster, topic):
    """C31: the group has it soon after. C33: asking for its metadata is enough for librdkafka to look."""
    with Member(cluster, topic, "eager", topic_metadata_refresh_interval_ms=500) as member:
        cluster.set_topic_error(topic, 3)
        member.subscribe(topic, timeout=None)
        member.poll(0.2)
        assert member.partitions == set()
        cluster.set_topic_error(topic, 0)
        send(cluster, topic)
        member.consumer.fetch_broker_metadata(topic)
        poll_until(lambda: member.read == [(0, 0)], member)


@pytest.mark.parametrize("protocol", ["eager", "cooperative"])
def test_statistics_that_come_very_often_disturb_no_subscription(broker, topic, protocol):
    """C34."""
    send(broker, topic)
    seen = threading.Event()
    with KafkaConsumer(properties(broker, {"group.id": topic, "statistics.interval.ms": 5, "stats_cb": lambda json: seen.set(), **PROTOCOLS[protocol]})) as consumer:
        for _ in range(20):
            consumer.subscribe([topic])
            consumer.poll(0.005)
            consumer.unsubscribe()
            consumer.assign([(topic, 0)])
            consumer.poll(0.005)
            consumer.unsubscribe()
            assert (consumer.subscription(), consumer.assignment()) == (set(), set())
        assert seen.wait(20)


def threads():
    """librdkafka's threads of this process: their names, by number."""
    return {number: name for number, name in thread_names().items() if name.startswith("rdk:")}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_no_thread_is_left(broker, topic):
    """C16: librdkafka's main thread, one for each broker and three more; none afterwards."""
    send(broker, topic)
    before = threads()      # of the embedded cluster, and of clients that end
    with KafkaConsumer(properties(broker, {"group.id": topic})) as consumer:
        consumer.assign({(topic, 0): 0})
        assert len(consumer.poll(20)) == 1
        own = {number: name for number, name in threads().items() if number not in before}
        assert [*own.values()].count("rdk:main") == 1
        assert 2 <= len(own) <= 1 + broker.brokers + 3, own     # the bootstrap server's, the internal broker's, the coordinator's
    wait_for(lambda: not threads().keys() & own.keys(), 20)
