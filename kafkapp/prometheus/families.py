"""Metrics of the Prometheus collector: a table of names, units and the statistics that they are read from.

By Prometheus' conventions: base units (seconds, bytes), counters that end in `_total`, labels instead of names.
"""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kafkapp.stats import BrokerStatistics, Statistics, TopicStatistics, Window

Family = CounterMetricFamily | GaugeMetricFamily
QUANTILES = {"0.5": "p50", "0.9": "p90", "0.99": "p99"}


@dataclass(frozen=True)
class Metric:
    """A metric; `read` gives its value, or the Window that its quantiles are in, times `scale`."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    read: Callable[[Any], Any]
    scale: float = 1.0
    window: bool = False

    def family(self, labels: Sequence[str]) -> Family:
        return self.kind(f"kafkapp_{self.name}", self.text, labels=[*labels, *(("quantile",) if self.window else ())])

    def add(self, family: Family, labels: Sequence[str], part: object) -> None:
        """Add the samples of a part of the statistics; a Window in which nothing was measured has none.

        Nor has what the librdkafka in use does not write: an error here would end a scrape, of all collectors.
        """
        try:
            found = self.read(part)
        except AttributeError:
            return
        if not isinstance(found, Window):
            family.add_metric(labels, found * self.scale)
        elif found.cnt:
            for quantile, name in QUANTILES.items():
                family.add_metric([*labels, quantile], getattr(found, name) * self.scale)


def reader(source: str | Callable[[Any], int]) -> Callable[[Any], Any]:
    return attrgetter(source) if isinstance(source, str) else source


def counter(name: str, text: str, source: str | Callable[[Any], int]) -> Metric:
    return Metric(CounterMetricFamily, name, text, reader(source))


def gauge(name: str, text: str, source: str | Callable[[Any], int]) -> Metric:
    return Metric(GaugeMetricFamily, name, text, reader(source))


def window(name: str, text: str, source: str, scale: float = 1.0) -> Metric:
    return Metric(GaugeMetricFamily, name, text, reader(source), scale, window=True)


def summed(field: str) -> Callable[[TopicStatistics], int]:
    """A field of all partitions of a topic."""
    return lambda topic: sum(getattr(partition, field) for partition in topic.partitions.values())


def brokers(one: Statistics) -> dict[str, BrokerStatistics]:
    """The brokers by their ids: no bootstrap server whose id is unknown, and no coordinator, which is one of them."""
    return {str(broker.nodeid): broker for broker in one.brokers.values()
            if broker.nodeid >= 0 and broker.source != "logical"}


def is_up(broker: BrokerStatistics) -> int:
    return int(broker.state in ("UP", "UPDATE"))


def count_up(one: Statistics) -> int:
    return sum(map(is_up, brokers(one).values()))


CLIENT = (
    gauge("outstanding_records", "Records in the queue and in flight.", "msg_cnt"),
    gauge("outstanding_bytes", "Bytes of the records in the queue and in flight.", "msg_size"),
    gauge("queue_limit_records", "At how many outstanding records the queue is full.", "msg_max"),
    gauge("queue_limit_bytes", "At how many outstanding bytes the queue is full.", "msg_size_max"),
    gauge("undispatched_events", "Delivery reports and other events that wait for the thread that dispatches them.",
          "replyq"),
    gauge("brokers_up", "Brokers with a connection that can be used.", count_up),
    counter("sent_records", "Records sent, again those sent again; not all of them were delivered.", "txmsgs"),
    counter("sent_records_bytes", "Bytes of the records sent.", "txmsg_bytes"),
    counter("requests", "Requests sent.", "tx"),
    counter("sent_bytes", "Bytes sent.", "tx_bytes"),
    counter("responses", "Responses received.", "rx"),
    counter("received_bytes", "Bytes received.", "rx_bytes"),
)
BROKER = (
    gauge("broker_up", "1: the connection can be used, 0: it cannot.", is_up),
    gauge("broker_waiting_requests", "Requests that wait to be sent.", "outbuf_cnt"),
    gauge("broker_requests_in_flight", "Requests without a response yet.", "waitresp_cnt"),
    counter("broker_requests", "Requests sent.", "tx"),
    counter("broker_sent_bytes", "Bytes sent.", "txbytes"),
    counter("broker_send_errors", "Errors of sending.", "txerrs"),
    counter("broker_retries", "Requests sent again.", "txretries"),
    counter("broker_timeouts", "Requests that timed out.", "req_timeouts"),
    counter("broker_responses", "Responses received.", "rx"),
    counter("broker_received_bytes", "Bytes received.", "rxbytes"),
    counter("broker_receive_errors", "Errors of receiving.", "rxerrs"),
    counter("broker_connects", "Attempts to connect, those that failed included.", "connects"),
    counter("broker_disconnects", "Connections that ended.", "disconnects"),
    window("broker_queue_latency_seconds", "From the send until the record is in a request.", "int_latency", 1e-6),
    window("broker_outbuf_latency_seconds", "From there until the request is written to the socket.",
           "outbuf_latency", 1e-6),
    window("broker_rtt_seconds", "From there until the response.", "rtt", 1e-6),
    window("broker_throttle_seconds", "By how long the broker throttles the client.", "throttle", 1e-3),
)
TOPIC = (
    gauge("topic_queue_records", "Records in the queue, those in flight not among them.", summed("msgq_cnt")),
    gauge("topic_queue_bytes", "Bytes of the records in the queue.", summed("msgq_bytes")),
    gauge("topic_records_in_flight", "Records sent without a response yet.", summed("msgs_inflight")),
    counter("topic_sent_records", "Records sent, again those sent again.", summed("txmsgs")),
    counter("topic_sent_records_bytes", "Bytes of the records sent.", summed("txbytes")),
    window("topic_batch_bytes", "Sizes of the batches sent.", "batchsize"),
    window("topic_batch_records", "Records in the batches sent.", "batchcnt"),
)
PARTITION = (
    gauge("partition_queue_records", "Records in the queue, those in flight not among them.", "msgq_cnt"),
    gauge("partition_records_in_flight", "Records sent without a response yet.", "msgs_inflight"),
    counter("partition_sent_records", "Records sent, again those sent again.", "txmsgs"),
    counter("partition_sent_records_bytes", "Bytes of the records sent.", "txbytes"),
)
TOPICS_LEFT_OUT = gauge("topics_left_out", "Topics without metrics: there are more than max_topics.", int)
LABELS: Mapping[str, tuple[tuple[Metric, ...], tuple[str, ...]]] = {
    "client": (CLIENT, ("client",)),
    "left out": ((TOPICS_LEFT_OUT,), ("client",)),
    "broker": (BROKER, ("client", "broker")),
    "topic": (TOPIC, ("client", "topic")),
    "partition": (PARTITION, ("client", "topic", "partition")),
}
