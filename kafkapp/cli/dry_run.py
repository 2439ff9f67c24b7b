"""Mode of the command line that sends nothing (`--dry-run`): prints each record as an envelope, a line of JSON."""
from collections.abc import Callable
from typing import Any, NamedTuple

from kafkapp import Error, ProducerRecord, SendOption
from kafkapp.cli.envelope import envelope, quoted
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
        say_bytes(envelope_of(record) + b"\n")
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


def envelope_of(record: ProducerRecord) -> bytes:
    place = f'"topic": {quoted(record.topic)}'
    if record.partition is not None:
        place += f', "partition": {record.partition}'
    if record.timestamp is not None:
        place += f', "timestamp": {record.timestamp}'
    return envelope(place, [(header.key, header.value) for header in record.headers], record.key, record.value)
