"""Timestamps of records: milliseconds since the epoch, and who set them.

Imports nothing of kafkapp. `datetime` is imported on demand: that takes a millisecond.
"""
from __future__ import annotations

import time
from enum import IntEnum
from operator import index

TYPE_CHECKING = False  # type checkers know the name: this spares everybody else the import of typing
if TYPE_CHECKING:
    import datetime as dt


class Timestamp:
    """A timestamp and who set it. Immutable.

    Args:
        ms: milliseconds since the epoch.
        type: a `Timestamp.Type`.
    Source: rd_kafka_message_timestamp(); Timestamp.
    """

    __module__ = "kafkapp"
    __slots__ = ("_ms", "_type")

    class Type(IntEnum):
        """Who set it: nobody, the producer or the broker. Source: rd_kafka_timestamp_type_t; Timestamp::Type."""

        __module__ = "kafkapp"
        NotAvailable = 0
        CreateTime = 1
        LogAppendTime = 2

    def __init__(self, ms: int, type: int = Type.CreateTime) -> None:
        try:
            if isinstance(ms, bool):
                raise TypeError
            self._ms = index(ms)
        except TypeError:
            raise TypeError(f"ms must be an int of milliseconds since the epoch, not {ms.__class__.__name__}") from None
        self._type = type if type.__class__ is Timestamp.Type else Timestamp.Type(type)  # that looks for it

    @property
    def ms(self) -> int:
        """Milliseconds since the epoch, int."""
        return self._ms

    @property
    def type(self) -> Type:
        """Who set it: a `Timestamp.Type`."""
        return self._type

    @property
    def datetime(self) -> dt.datetime:
        """The timestamp as an aware `datetime` in UTC.

        Raises:
            OverflowError: `datetime` ends with the year 9999.
        """
        return datetime_from_ms(self._ms)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timestamp):
            return NotImplemented
        return self._ms == other._ms and self._type == other._type

    def __hash__(self) -> int:
        return hash((self._ms, self._type))

    def __str__(self) -> str:
        try:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._ms // 1000)) + f".{self._ms % 1000:03d}"
        except (OverflowError, ValueError, OSError):
            text = f"{self._ms} ms"  # beyond the years of a calendar
        return f"{self._type.name}[{text}]" if self._type else text

    def __repr__(self) -> str:
        return f"Timestamp({self._ms}, Timestamp.Type.{self._type.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return Timestamp, (self._ms, self._type)


def datetime_from_ms(ms: int) -> dt.datetime:
    """The aware `datetime`, in UTC, of milliseconds since the epoch."""
    from datetime import UTC, datetime, timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def datetime_to_ms(moment: object) -> int | None:
    """The milliseconds since the epoch of an aware `datetime`, rounded down; `None`: it is not a `datetime`."""
    from datetime import UTC, datetime, timedelta

    if not isinstance(moment, datetime):
        return None
    if moment != moment:  # pandas' NaT is a datetime
        raise ValueError("timestamp must not be NaT, which is no point in time; None: now")
    if moment.utcoffset() is None:
        raise ValueError("timestamp must be an aware datetime: .astimezone() takes a naive one as local time")
    try:
        return index((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    except (OverflowError, TypeError, ValueError) as error:  # a subclass with limits of its own
        raise ValueError(f"timestamp: {moment!r} cannot be converted to milliseconds: {error}") from None
