"""Members of consumer groups for tests: calls of on_rebalance, and polls of several members in turn."""
import time

from helpers import LIBRDKAFKA, properties

from kafkapp import KafkaConsumer, KafkaSyncProducer, RebalanceEvent

# The embedded cluster rebalances a second before the session would end, and at once in its first librdkafkas with KIP-848.
CLASSIC = {"session.timeout.ms": 2500, "heartbeat.interval.ms": 100}
PROTOCOLS = {"eager": CLASSIC, "cooperative": CLASSIC | {"partition.assignment.strategy": "cooperative-sticky"},
             "KIP-848": {"group.protocol": "consumer"}}
if LIBRDKAFKA < (2, 12):
    del PROTOCOLS["KIP-848"]


def write(cluster, topic, values, partitions=range(4)):
    """These values into each of these partitions."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in partitions:
            assert not producer.send_batch(topic, values, partition=partition).failures()


class Member:
    """A consumer, which joins when it subscribes. `events`: calls of on_rebalance, the partitions' numbers sorted."""

    def __init__(self, cluster, group, protocol, then=None, **more):
        self.events, self.read, self.lines, self.then = [], [], [], then
        self.consumer = KafkaConsumer(properties(cluster, {
            "group.id": group, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20, **PROTOCOLS[protocol],
            "log_cb": lambda *line: self.lines.append(line)}, **more))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.consumer.close()

    def told(self, event, partitions):
        self.events.append((event, sorted(partition for _, partition in partitions)))
        if self.then:
            self.then(self.consumer, event, partitions)

    def subscribe(self, *topics, timeout=30):
        self.consumer.subscribe(topics, self.told, timeout)

    def poll(self, timeout=0.02):
        self.read += [(record.partition, record.offset) for record in self.consumer.poll(timeout)]

    @property
    def partitions(self):
        return {partition for _, partition in self.consumer.assignment()}

    def told_of(self, event):
        return sorted(partition for what, partitions in self.events if what is event for partition in partitions)


def poll_until(condition, *members, timeout=40):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, [(member.partitions, member.events) for member in members]
        for member in members:
            member.poll()


def shared(*members, partitions=4):
    """Whether each has some of the partitions, and together they have all, each once."""
    def answer():
        found = [member.partitions for member in members]
        return all(found) and sum(map(len, found)) == partitions == len(set().union(*found))
    return answer


ASSIGNED, REVOKED, LOST = RebalanceEvent
