"""Topics, leaders and replicas of a running cluster, through confluent-kafka's admin client.

It needs an address and knows nothing of processes, so it works with an existing cluster as well.
"""

import time
import uuid

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kafka_wire import Partition, View


def wait_until(condition, timeout, what):
    """Poll until `condition()` is true and return its result; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.05)


PASSING = {
    "_TRANSPORT",
    "_TIMED_OUT",
    "_ALL_BROKERS_DOWN",
    "REQUEST_TIMED_OUT",
    "NOT_CONTROLLER",
    "INVALID_REPLICATION_FACTOR",
    "BROKER_NOT_AVAILABLE",
}


def in_sync(partitions):
    """Whether each partition has a leader and all its replicas in sync."""
    return bool(partitions) and all(p.leader != -1 and len(p.isrs) == len(p.replicas) for p in partitions.values())


class ClusterAdmin:
    """Queries and changes of a cluster, ours or an existing one."""

    def __init__(self, bootstrap_servers):
        self.bootstrap_servers = bootstrap_servers
        self.nodes = {}  # id -> node; empty when the cluster is not ours to stop
        self._admin = None

    @property
    def admin(self):
        """The AdminClient, for what has no method here."""
        if self._admin is None:
            self._admin = AdminClient(
                {
                    "bootstrap.servers": self.bootstrap_servers,
                    "log_level": 0,  # brokers go down on purpose here: no lines about it on stderr
                    "reconnect.backoff.max.ms": 500,
                    "topic.metadata.refresh.interval.ms": -1,
                }
            )
        return self._admin

    def metadata(self, topic=None, timeout=10):
        return self.admin.list_topics(topic, timeout=timeout)

    def views(self, topic=None):
        """The metadata of one topic or all, as each broker sees it that can be asked; here: as one of them does."""
        try:
            found = self.metadata(topic)
        except KafkaException:
            return []
        topics = {
            name: {number: Partition(p.leader, p.replicas, p.isrs) for number, p in each.partitions.items()}
            for name, each in found.topics.items()
            if each.error is None
        }
        return [View(set(found.brokers), topics)]

    def brokers(self):
        """The ids of the brokers that the cluster says are alive; empty when nobody answers."""
        views = self.views()
        return set.intersection(*(view.brokers for view in views)) if views else set()

    def replica_count(self):
        return min(3, len(self.brokers()))

    def create_topic(self, name=None, partitions=1, replicas=None, *, config=None, assignment=None, timeout=30):
        """Create a topic, wait until every partition has its leader and all its replicas in sync; returns its name.

        Args:
            assignment: a list of broker ids for each partition, the first of which will lead it; else the
                cluster places `replicas` (all brokers, at most three) as it likes.
        """
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        if assignment is not None:
            topic = NewTopic(name, num_partitions=len(assignment), replica_assignment=assignment, config=config or {})
        else:
            topic = NewTopic(name, partitions, replicas or self.replica_count(), config=config or {})
        self._retry(lambda: self.admin.create_topics([topic], operation_timeout=timeout)[name], timeout, "EXISTS")
        self.wait_in_sync(name, timeout=timeout)
        return name

    def delete_topic(self, name, timeout=30):
        # Of a topic that was there "unknown" says that it is gone: the client, too, asks again when an answer is lost.
        known = name in self.metadata(timeout=timeout).topics
        self._retry(lambda: self.admin.delete_topics([name], operation_timeout=timeout)[name], timeout, "UNKNOWN", known)

    def add_partitions(self, name, total, timeout=30):
        request = NewPartitions(name, total)
        self._retry(lambda: self.admin.create_partitions([request], operation_timeout=timeout)[name], timeout, None)
        everywhere = [total] * max(1, sum(node.running for node in self.nodes.values()))
        wait_until(
            lambda: [len(view.topics.get(name, ())) for view in self.views(name)] == everywhere,
            timeout,
            f"{total} partitions of {name}",
        )
        self.wait_in_sync(name, timeout=timeout)

    def _retry(self, request, timeout, already_done, at_first=False):
        # A cluster that has just lost its controller or a broker refuses for a moment; asked again, the work may prove
        # done already by the attempt that was not answered.
        deadline = time.monotonic() + timeout
        attempts = 0
        while True:
            attempts += 1
            try:
                return request().result(timeout=timeout)
            except KafkaException as failure:
                name = failure.args[0].name()
                if (at_first or attempts > 1) and already_done and already_done in name:
                    return None
                if time.monotonic() > deadline or name not in PASSING:
                    raise
                time.sleep(0.2)

    def partitions(self, topic, partition):
        """The partition as every view has it; empty when one of them does not know it."""
        found = [view.topics.get(topic, {}).get(partition) for view in self.views(topic)]
        return [] if None in found else found

    def leader(self, topic, partition=0, *, other_than=None, timeout=30):
        """The id of the partition's leader, once all brokers agree on one (that is not `other_than`)."""

        def ask():
            leaders = {found.leader for found in self.partitions(topic, partition)}
            return leaders if len(leaders) == 1 and not leaders & {-1, other_than} else None

        return wait_until(ask, timeout, f"a leader of {topic}-{partition}").pop()

    def elect_preferred_leader(self, topic, partition, timeout=30):
        """Make the first of the partition's replicas its leader, and wait until it is."""

        def ask():
            return all(found.leader == found.replicas[0] for found in self.partitions(topic, partition))

        place = TopicPartition(topic, partition)
        self.admin.elect_leaders(ElectionType.PREFERRED, [place]).result(timeout=timeout)
        wait_until(ask, timeout, f"the preferred leader of {topic}-{partition}")

    def wait_in_sync(self, topic=None, timeout=30):
        """Wait until every broker knows the topic (all topics) with a leader and all replicas in sync everywhere."""

        def ask():
            views = self.views(topic)
            sizes = [{name: len(partitions) for name, partitions in view.topics.items()} for view in views]
            if not views or any(each != sizes[0] for each in sizes) or (topic is not None and topic not in sizes[0]):
                return False
            return all(in_sync(partitions) for view in views for partitions in view.topics.values())

        wait_until(ask, timeout, f"all replicas of {topic or 'all topics'} in sync")

    def wait_isr(self, topic, partition, ids, timeout=30):
        """Wait until all brokers agree that the in-sync replicas of the partition are exactly `ids`."""

        def ask():
            found = self.partitions(topic, partition)
            return found and all(set(each.isrs) == set(ids) for each in found)

        wait_until(ask, timeout, f"in-sync replicas {sorted(ids)} of {topic}-{partition}")

    def close(self):
        self._admin = None
