"""Objects of librdkafka's statistics, by the names and in the units of its JSON.

Nothing is parsed before a field is read, and no object is made of what is not read.
"""
import json
from typing import Any

from kafkapp.stats.fields import Field, Object, Optional, Part, Table


class Window(Part):
    """What was measured since the statistics before: values of the unit that the field says, all int."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    min = Field[int]("Smallest value.")
    max = Field[int]("Largest value.")
    avg = Field[int]("Average value.")
    sum = Field[int]("Sum of the values.")
    cnt = Field[int]("How many values there were; 0: all other fields are 0 too.")
    stddev = Field[int]("Standard deviation, of the histogram.")
    hdrsize = Field[int]("Memory of the histogram, bytes.")
    p50 = Field[int]("50th percentile.")
    p75 = Field[int]("75th percentile.")
    p90 = Field[int]("90th percentile.")
    p95 = Field[int]("95th percentile.")
    p99 = Field[int]("99th percentile.")
    p99_99 = Field[int]("99.99th percentile.")
    outofrange = Field[int]("Values that were out of the histogram's range, and are not in it.")


class BrokerPartition(Part):
    """A partition that a broker is the leader of."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    topic = Field[str]("The topic's name, str.")
    partition = Field[int]("The partition, int.")


class BrokerStatistics(Part):
    """A broker, and the connection to it. Counters are since the client was created."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    name = Field[str]("Host, port and id, str: `example.com:9092/13`.")
    nodeid = Field[int]("The broker's id, int; -1: not known yet (of `bootstrap.servers`), or not a broker.")
    nodename = Field[str]("Host and port, str.")
    source = Field[str]("`learned`, `configured`, `internal` or `logical` (a coordinator), str.")
    state = Field[str]("State of the connection, str: `UP`, `DOWN`, `INIT`, `CONNECT` and others.")
    stateage = Field[int]("Time in this state, int, microseconds.")
    outbuf_cnt = Field[int]("Requests that wait to be sent, int.")
    outbuf_msg_cnt = Field[int]("Records that wait to be sent, int.")
    waitresp_cnt = Field[int]("Requests in flight, int.")
    waitresp_msg_cnt = Field[int]("Records in flight, int.")
    tx = Field[int]("Requests sent, int, counter.")
    txbytes = Field[int]("Bytes sent, int, counter.")
    txerrs = Field[int]("Errors of sending, int, counter.")
    txretries = Field[int]("Requests sent again, int, counter.")
    txidle = Field[int]("Time since the last bytes were sent, int, microseconds; -1: none, or not connected.")
    req_timeouts = Field[int]("Requests that timed out, int, counter.")
    rx = Field[int]("Responses received, int, counter.")
    rxbytes = Field[int]("Bytes received, int, counter.")
    rxerrs = Field[int]("Errors of receiving, int, counter.")
    rxcorriderrs = Field[int]("Responses to no request, most of them to one that had timed out, int, counter.")
    rxpartial = Field[int]("Partial message sets received, int, counter; of consumers.")
    rxidle = Field[int]("Time since the last bytes were received, int, microseconds; -1: none, or not connected.")
    req = Field[dict[str, int]]("Requests sent by their kind, dict of str to int, counters.")
    zbuf_grow = Field[int]("How often the buffer for decompression grew, int, counter.")
    buf_grow = Field[int]("Unused by librdkafka, int.")
    wakeups = Field[int]("How often the broker's thread woke up, int, counter.")
    connects = Field[int]("Attempts to connect, those that failed included, int, counter.")
    disconnects = Field[int]("Connections that ended, int, counter.")
    int_latency = Object(Window, "From the `send` until the record is in a request: a Window of microseconds.")
    outbuf_latency = Object(Window, "From there until it is written to the socket: a Window of microseconds.")
    rtt = Object(Window, "From there until the response: a Window of microseconds.")
    throttle = Object(Window, "By how long the broker throttles the client: a Window of milliseconds.")
    toppars = Table(str, BrokerPartition, "Partitions it is the leader of: `topic-partition` to BrokerPartition.")


class PartitionStatistics(Part):
    """A partition of a topic. Offsets and what is fetched are a consumer's."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    partition = Field[int]("The partition, int; -1: records for which none is chosen yet.")
    broker = Field[int]("Id of the broker that serves it, int.")
    leader = Field[int]("Id of its leader, int.")
    desired = Field[bool]("Whether the program asked for it, bool.")
    unknown = Field[bool]("Whether the brokers do not know it, bool.")
    msgq_cnt = Field[int]("Records in its queue, int.")
    msgq_bytes = Field[int]("Bytes of these, int.")
    xmit_msgq_cnt = Field[int]("Always 0, int: librdkafka does not fill it.")
    xmit_msgq_bytes = Field[int]("Always 0, int.")
    fetchq_cnt = Field[int]("Records that are fetched and wait, int.")
    fetchq_size = Field[int]("Bytes of these, int.")
    fetch_state = Field[str]("State of fetching, str: `none`, `stopping`, `stopped`, `offset-query`, `active`, ...")
    query_offset = Field[int]("Logical offset that is asked for, int.")
    next_offset = Field[int]("Next offset to fetch, int.")
    app_offset = Field[int]("Offset behind the last record that the program was given, int.")
    stored_offset = Field[int]("Offset to be committed, int.")
    stored_leader_epoch = Field[int]("Leader's epoch of it, int; not of librdkafka 2.0.")
    commited_offset = Field[int]("`committed_offset` as librdkafka once spelled it, int.")
    committed_offset = Field[int]("Last offset that was committed, int.")
    committed_leader_epoch = Field[int]("Leader's epoch of it, int; not of librdkafka 2.0.")
    eof_offset = Field[int]("Last end of the partition that was signalled, int.")
    lo_offset = Field[int]("First offset at the broker, int.")
    hi_offset = Field[int]("Offset behind the last record at the broker, int.")
    ls_offset = Field[int]("Last stable offset at the broker, int.")
    consumer_lag = Field[int]("Records from the committed offset to the end, int; -1: unknown.")
    consumer_lag_stored = Field[int]("Records from the stored offset to the end, int; -1: unknown.")
    leader_epoch = Field[int]("Last epoch of the leader that is known, int; not of librdkafka 2.0.")
    txmsgs = Field[int]("Records sent, int, counter.")
    txbytes = Field[int]("Bytes of these, int, counter.")
    rxmsgs = Field[int]("Records received, int, counter.")
    rxbytes = Field[int]("Bytes of these, int, counter.")
    msgs = Field[int]("Records enqueued (of a consumer: received), int, counter.")
    rx_ver_drops = Field[int]("Outdated records that were dropped, int, counter.")
    msgs_inflight = Field[int]("Records in flight, int.")
    next_ack_seq = Field[int]("Next sequence to be acknowledged (idempotent producer), int.")
    next_err_seq = Field[int]("Next sequence to fail (idempotent producer), int.")
    acked_msgid = Field[int]("Last record that was acknowledged, by librdkafka's own number, int, counter.")


class TopicStatistics(Part):
    """A topic that the client has used."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    topic = Field[str]("The topic's name, str.")
    age = Field[int]("Time since the client first used it, int, milliseconds.")
    metadata_age = Field[int]("Age of its metadata, int, milliseconds.")
    batchsize = Object(Window, "Sizes of the batches sent: a Window of bytes.")
    batchcnt = Object(Window, "Records in the batches sent: a Window of numbers.")
    partitions = Table(int, PartitionStatistics, "Its partitions: int (-1: none chosen yet) to PartitionStatistics.")


class ConsumerGroup(Part):
    """The state of a consumer in its group."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    state = Field[str]("State of the group's handler, str: `up`, ...")
    stateage = Field[int]("Time in this state, int, milliseconds.")
    join_state = Field[str]("State of joining, str: `steady`, ...")
    rebalance_age = Field[int]("Time since the last rebalance, int, milliseconds.")
    rebalance_cnt = Field[int]("Rebalances, int, counter.")
    rebalance_reason = Field[str]("Why the last one was, str; empty: there was none.")
    assignment_size = Field[int]("Partitions that are assigned, int.")


class ExactlyOnce(Part):
    """The state of an idempotent or transactional producer."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    idemp_state = Field[str]("State of the producer's id, str: `Assigned`, ...")
    idemp_stateage = Field[int]("Time in this state, int, milliseconds.")
    txn_state = Field[str]("State of the transaction, str: `Init`, `Ready`, `InTransaction`, ...")
    txn_stateage = Field[int]("Time in this state, int, milliseconds.")
    txn_may_enq = Field[bool]("Whether records may be sent now, bool.")
    producer_id = Field[int]("The producer's id, int; -1: none.")
    producer_epoch = Field[int]("Its epoch, int; -1: none.")
    epoch_cnt = Field[int]("How many ids were assigned, int, counter.")


class Fatal(Part):
    """The fatal error that a client has had."""

    __module__ = "kafkapp.stats"
    __slots__ = ()
    error = Field[str]("The error, str.")
    reason = Field[str]("Why, str.")
    cnt = Field[int]("How many there were, int, counter.")


class Statistics(Part):
    """The statistics of a client, from the text that `stats_cb` is given.

    A field that the librdkafka in use does not write is an AttributeError; what it writes beyond those that have an
    attribute is in `json`. Counters only grow, all else is of the moment.

    Args:
        text: a JSON object, str or bytes. It is parsed when a field is read first.
    Raises:
        TypeError: `text` is neither.
        ValueError: when a field is read: `text` is no JSON object.
    Source: rd_kafka_event_stats(); STATISTICS.md; KafkaMetrics.
    """

    __module__ = "kafkapp.stats"
    __slots__ = ("_text",)
    name = Field[str]("Name of the client in logs, str: `orders#producer-1`.")
    client_id = Field[str]("The `client.id`, str.")
    type = Field[str]("`producer` or `consumer`, str.")
    ts = Field[int]("librdkafka's monotonic clock, int, microseconds.")
    time = Field[int]("When this was written, int, seconds since the epoch.")
    age = Field[int]("Time since the client was created, int, microseconds.")
    replyq = Field[int]("Events (delivery reports, logs, ...) that wait to be dispatched, int.")
    msg_cnt = Field[int]("Records in the queue and in flight, int.")
    msg_size = Field[int]("Bytes of these, int.")
    msg_max = Field[int]("At how many records the queue is full, int.")
    msg_size_max = Field[int]("At how many bytes the queue is full, int.")
    simple_cnt = Field[int]("Internal to librdkafka, int.")
    metadata_cache_cnt = Field[int]("Topics whose metadata is cached, int.")
    brokers = Table(str, BrokerStatistics, "Brokers: name (`example.com:9092/13`) to BrokerStatistics.")
    topics = Table(str, TopicStatistics, "Topics: name to TopicStatistics.")
    cgrp = Optional(ConsumerGroup, "ConsumerGroup; None: the client is in no consumer group.")
    eos = Optional(ExactlyOnce, "ExactlyOnce; None: the producer is neither idempotent nor transactional.")
    fatal = Optional(Fatal, "Fatal; None: there was no fatal error.")
    tx = Field[int]("Requests sent, int, counter.")
    tx_bytes = Field[int]("Bytes sent, int, counter.")
    rx = Field[int]("Responses received, int, counter.")
    rx_bytes = Field[int]("Bytes received, int, counter.")
    txmsgs = Field[int]("Records sent, int, counter: also those that failed then, and again those sent again.")
    txmsg_bytes = Field[int]("Bytes of these, int, counter.")
    rxmsgs = Field[int]("Records received, int, counter.")
    rxmsg_bytes = Field[int]("Bytes of these, int, counter.")

    def __init__(self, text: str | bytes) -> None:
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"Statistics(text) takes the text that stats_cb is given, str or bytes, not {_name(text)}")
        super().__init__({})
        self._text: str | bytes | None = text

    @property
    def json(self) -> dict[str, Any]:
        """All fields by their names, as librdkafka wrote them: those of a newer librdkafka as well."""
        text = self._text           # once: another thread that has read a field sets it to None
        if text is not None:
            fields = json.loads(text, strict=False)
            if not isinstance(fields, dict):
                raise ValueError(f"statistics are a JSON object, not {_name(fields)}")
            self._fields, self._text = fields, None     # in this order, for the same reason
        return self._fields

    def find(self, *path: str) -> list[tuple[tuple[str, ...], Any]]:
        """All values at a path of names, where `"*"` is any name: `find("brokers", "*", "rtt", "p99")`.

        Returns:
            Pairs of the names that `"*"` stood for and of what the JSON has there; none if the path is not there.
        Source: KafkaMetrics::getInt, KafkaMetrics::getString.
        """
        found: list[tuple[tuple[str, ...], Any]] = [((), self.json)]
        for name in path:
            found = [((*names, key) if name == "*" else names, value[key]) for names, value in found
                     if isinstance(value, dict) for key in (value if name == "*" else (name,)) if key in value]
        return found

    def __repr__(self) -> str:
        try:
            return f"<Statistics of {self.name}>"
        except (ValueError, AttributeError):
            return "<Statistics that are not librdkafka's>"


def _name(thing: object) -> str:
    return type(thing).__name__
