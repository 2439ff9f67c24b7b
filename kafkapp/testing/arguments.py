"""Arguments of MockCluster's methods: types, and checks before librdkafka sees them.

librdkafka trusts these arguments; some wrong ones abort the process.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from operator import index
from socket import socket
from typing import NamedTuple

from kafkapp.common.texts import check_text
from kafkapp.common.timeouts import rounded_up_to_ms

INT32_MAX = 2**31 - 1
MAX_BROKERS = 100           # each takes a socket, and one thread serves them all
SHOWN = 100                 # bytes of a key or value in a repr
MAX_PARTITIONS = 10_000     # librdkafka aborts the process when there is no memory for them


class ApiKey(IntEnum):
    """The requests of the Kafka protocol that the mock cluster answers, by their protocol number.

    Named as in Java's `ApiKeys`; the protocol's own spellings (`ApiKey.Produce`) are aliases.
    """

    __module__ = "kafkapp.testing"
    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68
    GET_TELEMETRY_SUBSCRIPTIONS = 71
    PUSH_TELEMETRY = 72

    Produce = PRODUCE
    Fetch = FETCH
    ListOffsets = LIST_OFFSETS
    Metadata = METADATA
    OffsetCommit = OFFSET_COMMIT
    OffsetFetch = OFFSET_FETCH
    FindCoordinator = FIND_COORDINATOR
    JoinGroup = JOIN_GROUP
    Heartbeat = HEARTBEAT
    LeaveGroup = LEAVE_GROUP
    SyncGroup = SYNC_GROUP
    ApiVersion = API_VERSIONS
    InitProducerId = INIT_PRODUCER_ID
    OffsetForLeaderEpoch = OFFSET_FOR_LEADER_EPOCH
    AddPartitionsToTxn = ADD_PARTITIONS_TO_TXN
    AddOffsetsToTxn = ADD_OFFSETS_TO_TXN
    EndTxn = END_TXN
    TxnOffsetCommit = TXN_OFFSET_COMMIT
    ConsumerGroupHeartbeat = CONSUMER_GROUP_HEARTBEAT
    GetTelemetrySubscriptions = GET_TELEMETRY_SUBSCRIPTIONS
    PushTelemetry = PUSH_TELEMETRY


class Request(NamedTuple):
    """A request that a broker of the cluster has received; the timestamp is on the clock of `time.monotonic`."""

    broker: int
    api: int
    timestamp: float


Request.__module__ = "kafkapp.testing"      # mypy takes it for a field in the class


class StoredRecord(NamedTuple):
    """A record that the cluster holds. `headers`: pairs of a name and a value, in order; `timestamp`: milliseconds.

    Its repr, which a failed assertion shows, has the first bytes of what is long.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int

    def __repr__(self) -> str:
        headers = ", ".join(f"({name!r}, {shortened(value)})" for name, value in self.headers)
        return (f"StoredRecord({self.topic!r}, {self.partition}, {self.offset}, key={shortened(self.key)}, "
                f"value={shortened(self.value)}, headers=[{headers}], timestamp={self.timestamp})")


StoredRecord.__module__ = "kafkapp.testing"


def shortened(data: bytes | None) -> str:
    if data is None or len(data) <= SHOWN:
        return repr(data)
    return f"{data[:SHOWN]!r}... of {len(data)}"


def check_int(value: object, name: str, low: int, high: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number


def check_api(api: object) -> int:
    if isinstance(api, str):
        if api not in ApiKey.__members__:
            raise ValueError(f"api must be one of {', '.join(key.name for key in ApiKey)}, not {api!r}")
        return ApiKey[api]
    return check_int(api, "api", 0, 32767)


def check_code(code: object) -> int:
    return check_int(code, "code", -32768, 32767)   # an int16 in the protocol


def check_broker(broker: object, name: str) -> int:
    return -1 if broker is None else check_int(broker, name, 1, INT32_MAX)


def check_late_error(error: object) -> tuple[int, int]:
    """A code or a pair (code, seconds), as (code, milliseconds)."""
    if not isinstance(error, tuple):
        return check_code(error), 0
    if len(error) != 2:
        raise ValueError(f"errors must be codes or pairs (code, seconds), not {error!r}")
    return check_code(error[0]), delay_to_ms(error[1], "seconds")


def check_some(values: Sequence[object], name: str) -> None:
    if not values:
        raise ValueError(f"{name} must not be empty: give at least one")


def encode_topic(topic: object, name: str) -> bytes:
    text = check_text(name, topic)
    if not 1 <= len(text) <= 512:
        raise ValueError(f"{name} must have 1 to 512 characters, not {len(text)}")
    return text.encode()


def encode_group(group: object) -> bytes:
    text = check_text("group", group)
    if not text:
        raise ValueError("group must be the name of a consumer group, not ''")
    return text.encode()


def delay_to_ms(seconds: object, name: str) -> int:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be an int, a float or a timedelta, not {type(seconds).__name__}")
    if not 0 <= seconds <= INT32_MAX // 1000:
        raise ValueError(f"{name} must be 0 to {INT32_MAX // 1000}, not {seconds}")
    return rounded_up_to_ms(seconds)


def check_descriptors(count: int) -> None:
    """Raise OSError unless `count` more descriptors can be opened: with too few, librdkafka aborts the process."""
    probes: list[socket] = []
    try:
        for _ in range(count):
            probes.append(socket())
    finally:
        for probe in probes:
            probe.close()
