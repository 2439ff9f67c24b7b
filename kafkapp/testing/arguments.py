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
MAX_PARTITIONS = 10_000     # librdkafka aborts the process when there is no memory for them


class ApiKey(IntEnum):
    """The requests of the Kafka protocol that the mock cluster answers, by their protocol number."""

    __module__ = "kafkapp.testing"
    Produce = 0
    Fetch = 1
    ListOffsets = 2
    Metadata = 3
    OffsetCommit = 8
    OffsetFetch = 9
    FindCoordinator = 10
    JoinGroup = 11
    Heartbeat = 12
    LeaveGroup = 13
    SyncGroup = 14
    ApiVersion = 18
    InitProducerId = 22
    OffsetForLeaderEpoch = 23
    AddPartitionsToTxn = 24
    AddOffsetsToTxn = 25
    EndTxn = 26
    TxnOffsetCommit = 28
    ConsumerGroupHeartbeat = 68
    GetTelemetrySubscriptions = 71
    PushTelemetry = 72


class Request(NamedTuple):
    """A request that a broker of the cluster has received; the timestamp is on the clock of `time.monotonic`."""

    broker: int
    api: int
    timestamp: float


Request.__module__ = "kafkapp.testing"      # mypy takes it for a field in the class


class StoredRecord(NamedTuple):
    """A record that the cluster holds. `headers`: pairs of a name and a value, in order; `timestamp`: milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int


StoredRecord.__module__ = "kafkapp.testing"


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
            raise ValueError(f"api must be one of {', '.join(ApiKey.__members__)}, not {api!r}")
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
