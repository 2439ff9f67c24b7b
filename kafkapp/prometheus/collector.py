"""KafkaCollector: a `stats_cb` that keeps the newest statistics of each client, for Prometheus to collect."""
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from kafkapp.client.client import clients
from kafkapp.prometheus.families import LABELS, Family, Metric, brokers
from kafkapp.stats import Statistics


class KafkaCollector(Collector):
    """The metrics of all clients whose `stats_cb` it is: `{"stats_cb": collector, "statistics.interval.ms": 10000}`.

    Thread-safe. The metrics of a client are as old as its last statistics, and are gone when it is closed. The number
    of series is bounded: 13 for each client, 25 for each of its brokers, 11 for each of its topics of which there are
    metrics, and 4 for each partition of these if `partitions` is True.

    Args:
        registry: where it registers itself, a CollectorRegistry; None: nowhere.
        max_topics: of how many topics there are metrics, int. Those seen first; one that no client has any more makes
            room for another.
        partitions: whether there are metrics of each partition of these topics, bool.
    Raises:
        TypeError, ValueError: an argument has a wrong type, or `max_topics` is negative.
        ValueError: `registry` has a KafkaCollector already.
    """

    __module__ = "kafkapp.prometheus"

    def __init__(self, registry: CollectorRegistry | None = REGISTRY, *, max_topics: int = 100,
                 partitions: bool = False) -> None:
        if isinstance(max_topics, bool) or not isinstance(max_topics, int):
            raise TypeError(f"KafkaCollector: max_topics must be an int, not {type(max_topics).__name__}")
        if max_topics < 0:
            raise ValueError(f"KafkaCollector: max_topics must not be negative: {max_topics}")
        self._max_topics, self._partitions = max_topics, partitions
        self._start()
        if registry is not None:
            registry.register(self)

    def __call__(self, text: str) -> None:
        """Take the statistics of a client: what `stats_cb` calls.

        Args:
            text: librdkafka's JSON.
        Raises:
            ValueError: it is none.
        """
        statistics = Statistics(text)
        if "name" not in statistics:
            raise ValueError("these are no statistics of a client: they have no name")
        name = statistics.name
        with self._of_this_process():
            if name not in self._latest:
                self._drop_closed()
            self._latest[name] = statistics

    def describe(self) -> Iterable[Family]:
        """The metrics, without samples: what registering it asks for."""
        return self._families().values()

    def collect(self) -> Iterable[Family]:
        """The metrics, with the newest figures of all clients that are open: what a scrape asks for."""
        with self._of_this_process():
            self._drop_closed()
            of_clients = list(self._latest.items())
            topics = self._chosen_topics([latest for _, latest in of_clients])
        families = self._families()
        for name, latest in of_clients:
            self._add_client(families, name, latest, topics)
        return families.values()

    def _start(self) -> None:
        # Reentrant: a signal handler may poll a producer, whose statistics come here, in the midst of a scrape.
        self._lock = threading.RLock()
        self._latest: dict[str, Statistics] = {}
        self._topics: set[str] = set()      # those that have metrics
        self._process = os.getpid()         # last: another thread of a child must not take the old lock for its own

    def _of_this_process(self) -> AbstractContextManager[bool]:
        """The lock. A forked child has none of its parent's clients, and a lock that perhaps nobody releases."""
        if self._process != os.getpid():
            self._start()
        return self._lock

    def _drop_closed(self) -> None:
        """With the lock."""
        there = _names_of_open_clients()
        for name in self._latest.keys() - there:
            self._latest.pop(name, None)

    def _chosen_topics(self, all_latest: Sequence[Statistics]) -> set[str]:
        """The topics that have metrics: once chosen they stay, so that no series comes and goes. With the lock."""
        there = dict.fromkeys(topic for latest in all_latest for topic in latest.topics)
        self._topics &= there.keys()
        new = [topic for topic in there if topic not in self._topics]
        self._topics.update(new[:self._max_topics - len(self._topics)])
        return set(self._topics)

    def _families(self) -> dict[Metric, Family]:
        return {metric: metric.family(labels) for level, (metrics, labels) in LABELS.items()
                if level != "partition" or self._partitions for metric in metrics}

    def _add_client(self, families: dict[Metric, Family], name: str, latest: Statistics, topics: set[str]) -> None:
        def add(level: str, labels: Sequence[str], part: object) -> None:
            for metric in LABELS[level][0]:
                metric.add(families[metric], labels, part)

        add("client", (name,), latest)
        add("left out", (name,), sum(topic not in topics for topic in latest.topics))
        for broker_id, broker in brokers(latest).items():
            add("broker", (name, broker_id), broker)
        for topic_name, topic in latest.topics.items():
            if topic_name not in topics:
                continue
            add("topic", (name, topic_name), topic)
            if self._partitions:
                for number, partition in topic.partitions.items():
                    if number >= 0:     # -1: for the records of which none is chosen yet
                        add("partition", (name, topic_name, str(number)), partition)


def _names_of_open_clients() -> set[str]:
    while True:
        try:
            return {client.name for client in list(clients)}
        except RuntimeError:
            continue        # another thread has created or closed one meanwhile
