"""Mode of the command line that sends nothing (`--dry-run`): prints each record as an envelope, a line of JSON."""
import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kafkapp import Error, ProducerRecord, SendOption
from kafkapp.cli.streams import say_bytes

NO_PARTITION = -1       # the partitioner would choose


class DryMetadata(NamedTuple):
    """What the tally wants to know of a delivered record."""

    record_id: Any
    partition: int
    key_size: int
    value_size: int


class DryMode:
    """A mode, as those of the module `modes`, without a producer."""

    unreported = 0
    pending = 0

    def send(self, record: ProducerRecord, report: Callable[[Any, Error | None], None], option: SendOption) -> None:
        say_bytes(json.dumps(envelope(record), ensure_ascii=False).encode() + b"\n")     # UTF-8 in any locale
        partition = NO_PARTITION if record.partition is None else record.partition
        report(DryMetadata(record.id, partition, len(record.key or b""), len(record.value or b"")), None)

    def metadata(self, topic: str, timeout: float) -> None:
        """No broker is asked."""

    def outstanding(self) -> bool:
        return False

    def drain(self) -> None:
        """Nothing is in flight."""

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""


def envelope(record: ProducerRecord) -> dict[str, Any]:
    """The record as `--format envelope` reads it; what is not UTF-8 in base64."""
    parts: dict[str, Any] = {"topic": record.topic}
    if record.partition is not None:
        parts["partition"] = record.partition
    if record.timestamp is not None:
        parts["timestamp"] = record.timestamp
    pairs = [(header.key, header.value) for header in record.headers]
    if pairs:
        plain = [[name, as_text(value)] for name, value in pairs]
        if any(text is None and value is not None for (_, text), (_, value) in zip(plain, pairs, strict=True)):
            parts["headers_base64"] = [[name, in_base64(value)] for name, value in pairs]
        else:
            parts["headers"] = plain
    for name, data in (("key", record.key), ("value", record.value)):
        text = as_text(data)
        if text is None and data is not None:
            parts[name + "_base64"] = in_base64(data)
        else:
            parts[name] = text
    return parts


def as_text(data: Any) -> str | None:
    """None also for what is not UTF-8."""
    try:
        return None if data is None else str(data, "utf-8")
    except UnicodeDecodeError:
        return None


def in_base64(data: Any) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
