"""Partitions and offsets as arguments: TopicPartition, Offset, and the checks of what a user gives for them."""
from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Mapping
from enum import IntEnum
from operator import index

from kafkapp.common.texts import check_text
from kafkapp.common.timestamp import Timestamp, datetime_to_ms

TYPE_CHECKING = False
MAX_PARTITION = 2**31 - 1
MAX_TOPIC_BYTES = 512       # librdkafka takes no longer names
MAX_OFFSET = 2**63 - 1
INVALID = -1001     # RD_KAFKA_OFFSET_INVALID: the committed offset, else as `auto.offset.reset` says


if TYPE_CHECKING:
    from typing import NamedTuple  # which an import of kafkapp does not need

    class _Pair(NamedTuple):
        topic: str
        partition: int
else:
    _Pair = namedtuple("_Pair", ("topic", "partition"))


class TopicPartition(_Pair):
    """A partition of a topic; equals the plain tuple. Source: TopicPartition."""

    __module__ = "kafkapp"
    __slots__ = ()


class Offset(IntEnum):
    """Where to begin, in place of a number."""

    __module__ = "kafkapp"

    Beginning = -2
    """The first record that the partition has."""
    End = -1
    """Behind its last one."""


def checked_integer(what: str, number: object, limit: int) -> int:
    try:
        if isinstance(number, bool):
            raise TypeError
        value = index(number)       # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{what} must be an int, not {type(number).__name__}") from None
    if not 0 <= value <= limit:
        raise ValueError(f"{what} must be from 0 to {limit}")
    return value


def checked_topic(topic: object) -> str:
    name = check_text("topic", topic)
    if not 0 < len(name.encode()) <= MAX_TOPIC_BYTES:
        raise ValueError(f"topic must have from 1 to {MAX_TOPIC_BYTES} bytes")
    return name


def checked_partition(partition: object) -> TopicPartition:
    """A partition that is given as (topic, number), or as an object with `topic` and `partition`."""
    if isinstance(partition, tuple):
        pair = partition
    else:
        pair = getattr(partition, "topic", None), getattr(partition, "partition", None)
        if None in pair:
            raise TypeError("a partition must be a (topic, number) tuple or an object with topic and partition, not "
                            f"{type(partition).__name__}")
    if len(pair) != 2:
        raise ValueError(f"a partition must be a (topic, number) tuple, not one of {len(pair)}")
    return TopicPartition(checked_topic(pair[0]), checked_integer("partition", pair[1], MAX_PARTITION))


def checked_offset(offset: object) -> int:
    """An offset: an int, or an Offset."""
    return int(offset) if isinstance(offset, Offset) else checked_integer("offset", offset, MAX_OFFSET)


def checked_partitions(partitions: object, what: str = "partitions") -> list[TopicPartition]:
    """The partitions of an iterable, each once."""
    if isinstance(partitions, (str, bytes)) or not isinstance(partitions, Iterable):
        raise TypeError(f"{what} must be (topic, number) tuples, not {type(partitions).__name__}")
    found = [checked_partition(partition) for partition in partitions]
    if len(set(found)) < len(found):
        raise ValueError(f"{what} has a partition twice: {max(found, key=found.count)}")
    return found


def checked_time(time: object) -> Timestamp | None:
    """A Timestamp, also of an aware datetime; None: it is neither."""
    if not isinstance(time, Timestamp):
        ms = datetime_to_ms(time)
        if ms is None:
            return None
        time = Timestamp(ms)
    checked_integer("a time in ms", time.ms, MAX_OFFSET)
    return time


def checked_times(times: object) -> dict[TopicPartition, int]:
    """Milliseconds since the epoch of partitions, of a mapping to times."""
    if not isinstance(times, Mapping):
        raise TypeError(f"times must be a mapping of partitions to times, not {type(times).__name__}")
    return {place: checked_milliseconds(time)
            for place, time in zip(checked_partitions(times, "times"), times.values(), strict=True)}


def checked_milliseconds(time: object) -> int:
    found = None if isinstance(time, int) else checked_time(time)
    return checked_integer("a time in ms", time, MAX_OFFSET) if found is None else found.ms


def checked_start(start: object) -> int | Timestamp:
    """Where to begin: an offset, or a time."""
    return checked_offset(start) if isinstance(start, int) else checked_time(start) or checked_offset(start)


def checked_starts(partitions: object) -> dict[TopicPartition, int | Timestamp]:
    """Partitions, and where to begin: of a mapping to offsets and times, else INVALID."""
    if isinstance(partitions, Mapping):
        starts = [checked_start(start) for start in partitions.values()]
        return dict(zip(checked_partitions(partitions), starts, strict=True))
    return dict.fromkeys(checked_partitions(partitions), INVALID)
