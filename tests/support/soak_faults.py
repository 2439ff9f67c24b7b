"""The faults of a soak: on an embedded cluster in a process of its own, or on three real nodes.

Must not import kafkapp's producer. Each fault is over when its function returns, but for errors that
wait for the next request. `name` begins with the number in docs/internals/reliability.md.
"""
import time

from cluster_process import FarCluster
from helpers import LIBRDKAFKA

from kafkapp import ErrorCode

PARTITIONS = 6


def code(name):
    return int(ErrorCode[f"RD_KAFKA_RESP_ERR_{name}"])


class Embedded:
    """Three brokers of librdkafka's mock cluster. It does not refuse what it has already: duplicates are no fault here."""

    # One request at a time: the embedded cluster would also append what comes after a batch that it refused.
    properties = {"max.in.flight": 1}
    allowed = {"duplicate"}
    broker = "embedded cluster"

    def __enter__(self):
        self.cluster = FarCluster(3).__enter__()
        self.bootstrap_servers = self.cluster.bootstrap_servers
        self.topic = "soak"
        self.cluster.create_topic(self.topic, PARTITIONS)
        return self

    def __exit__(self, *failure):
        self.cluster.__exit__(*failure)

    def undo(self):
        """Clear the errors that no request has met."""
        self.cluster.clear_request_errors("Produce")

    def push(self, count, *names):
        for name in names:
            self.cluster.push_request_errors("Produce", *[code(name)] * count)

    def down(self, dice, seconds, brokers):
        for broker in brokers:
            self.cluster.broker_down(broker)
        time.sleep(seconds)
        for broker in brokers:
            self.cluster.broker_up(broker)

    def lost_acknowledgements(self, dice):
        for broker in (1, 2, 3):
            self.cluster.push_broker_errors(broker, "Produce", *[(0, 1.5)] * dice.randint(1, 3))

    def slow(self, dice):
        self.cluster.set_rtt(None, 1.3)
        time.sleep(dice.uniform(0.5, 2))
        self.cluster.set_rtt(None, 0)

    def leaders_move(self, dice):
        for _ in range(20):
            self.cluster.set_leader(self.topic, dice.randrange(PARTITIONS), dice.randint(1, 3))
            time.sleep(0.1)

    def no_leader(self, dice):
        gone = dice.sample(range(PARTITIONS), 3)
        for partition in gone:
            self.cluster.set_leader(self.topic, partition, None)
        time.sleep(dice.uniform(0.5, 3))
        for partition in gone:
            self.cluster.set_leader(self.topic, partition, dice.randint(1, 3))

    def topic_error(self, dice):
        self.cluster.set_topic_error(self.topic, code("UNKNOWN_TOPIC_OR_PART"))
        time.sleep(dice.uniform(0.2, 2))
        self.cluster.set_topic_error(self.topic, 0)

    def faults(self):
        faults = {
            "F04 connections cut": lambda dice: self.push(dice.randint(1, 9), "_TRANSPORT"),
            "F05 acknowledgements lost": self.lost_acknowledgements,
            "F07 answers too late": self.slow,
            "F08 brokers hang": lambda dice: self.cluster.hang(dice.uniform(0.5, 3)),
            "F11 a broker down": lambda dice: self.down(dice, dice.uniform(0.1, 3), [dice.randint(1, 3)]),
            "F12 leaders move": self.leaders_move,
            "F13 no leader": self.no_leader,
            "F14 retriable codes": lambda dice: self.push(
                dice.randint(1, 4), "NOT_LEADER_FOR_PARTITION", "NOT_ENOUGH_REPLICAS", "REQUEST_TIMED_OUT"),
            "F15 a permanent code": lambda dice: self.push(1, dice.choice(["MSG_SIZE_TOO_LARGE", "POLICY_VIOLATION"])),
            "F17 the topic is unknown": self.topic_error,
            "F20 no broker for too long": lambda dice: self.down(dice, 6, [1, 2, 3]),
        }
        # From 2.4 on librdkafka's embedded cluster answers a fetch with the leader, and crashes where there is none.
        if LIBRDKAFKA >= (2, 4):
            del faults["F13 no leader"]
        return faults


class Real:
    """Three nodes of Apache Kafka, and a proxy before each: nothing may be doubled."""

    properties = {}
    allowed = set()
    broker = "Apache Kafka, three nodes"

    def __enter__(self):
        from kafka_cluster import KafkaCluster
        from proxy import ProxySet

        self.cluster = KafkaCluster(3).start()
        self.proxies = ProxySet(self.cluster).__enter__()
        self.bootstrap_servers = self.proxies.bootstrap_servers
        self.topic = self.cluster.create_topic(partitions=PARTITIONS)
        return self

    def __exit__(self, *failure):
        self.proxies.__exit__(*failure)
        self.cluster.stop()

    def undo(self):
        self.proxies.clear()
        self.cluster.heal()

    def node(self, dice):
        return dice.choice(list(self.cluster.nodes.values()))

    def each(self, rule):
        for proxy in self.proxies:
            rule(proxy)

    def cut_all(self, dice):
        for _ in range(dice.randint(1, 10)):
            self.each(lambda proxy: proxy.cut_all())
            time.sleep(0.1)

    def killed(self, dice):
        node = self.node(dice)
        node.kill()
        time.sleep(dice.uniform(0, 5))
        self.cluster.heal()

    def restarted(self, dice):
        self.node(dice).restart()
        self.cluster.wait_in_sync(self.topic)

    def faults(self):
        return {
            "F04 requests cut": lambda dice: self.each(lambda proxy: proxy.cut_request(2, at=dice.randrange(2000))),
            "F05 acknowledgements lost": lambda dice: self.each(lambda proxy: proxy.swallow_responses(1)),
            "F06 half an answer": lambda dice: self.each(lambda proxy: proxy.cut_response(2, at=dice.randrange(60))),
            "F07 answers too late": lambda dice: self.each(lambda proxy: proxy.delay_responses(1.3, times=2, api=0)),
            "F08 brokers hang": lambda dice: self.cluster.pause_for(dice.uniform(0.5, 3)).join(),
            "F09 a broker is killed": self.killed,
            "F10 a broker is restarted": self.restarted,
            "F41 connections reset": self.cut_all,
        }
