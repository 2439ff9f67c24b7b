"""Tally of the command line: counts delivery reports, shown as a progress bar, a summary or JSON.

Knows no files or options. Counting is cheap, since it runs once for each record.
"""
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from kafkapp import Batch, Error
from kafkapp.cli.rejects import LineId
from kafkapp.common.texts import one_line
from kafkapp.producer.line_splitter import Lines

FIRST_FAILURES = 10  # are kept and shown
INVALID_LINE = "INVALID_LINE"  # stands beside the codes of librdkafka


class Failure(NamedTuple):
    """One record that was not delivered."""

    file: str
    line: int
    code: str
    message: str


class Clock:
    """What a tally's rates are of."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._end: float | None = None

    def start(self) -> None:
        """Restart the clock: before now nothing was sent or read."""
        self._begin = time.monotonic()

    def stop(self) -> None:
        """Stop the clock: every outcome is known, and nothing more is read."""
        self._end = time.monotonic()

    @property
    def seconds(self) -> float:
        return (self._end or time.monotonic()) - self._begin


class Tally(Clock):
    """Counts of delivered and failed records. Reports come from one thread, refusals may come from another."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[str, dict[int, list[int]]] = {}  # topic, partition: records, bytes
        self.codes: Counter[str] = Counter()
        self.first: list[Failure] = []
        self.unreported = 0  # sent, and interrupted before the delivery report
        self.on_failure: Callable[[LineId], object] = int  # called with the line of each failure; any thread
        self._lock = threading.Lock()

    def reporter(self, file: str, topic: str) -> Callable[[Any, Error | None], None]:
        """The delivery callback for the records of one file."""
        cells = self.cells.setdefault(topic, {})

        def report(metadata: Any, error: Error | None) -> None:
            if error is not None:
                self.failed(file, metadata.record_id, error)
                return
            partition = metadata.partition
            try:
                cell = cells[partition]
            except KeyError:
                cell = cells[partition] = [0, 0]
            cell[0] += 1
            cell[1] += metadata.key_size + metadata.value_size

        return report

    def batch_reporter(self, file: str, topic: str,
                       key_size: int = 0) -> Callable[[Callable[[int], LineId], int, Lines, Batch], None]:
        """As `reporter`, for batches; takes what numbers the lines, and the index of the batch's first one.

        Args:
            key_size: bytes of a key that all records share.
        """
        cells = self.cells.setdefault(topic, {})

        def report(number: Callable[[int], LineId], start: int, lines: Lines, batch: Batch) -> None:
            delivered, failed = lines.tally(batch)
            for partition, (records, size) in delivered.items():
                cell = cells.setdefault(partition, [0, 0])
                cell[0] += records
                cell[1] += size + records * key_size
            if failed:
                for index, error in batch.failures():
                    if index < batch.next_index:  # those that found the queue full are sent again
                        self.failed(file, number(start + index), error)

        return report

    def failed(self, file: str, line: LineId, error: Error) -> None:
        """Count a record that will not be delivered."""
        self._count(file, line, error.code.name, error.message)

    def invalid(self, file: str, line: LineId, reason: str) -> None:
        """Count a line that cannot be made into a record."""
        self._count(file, line, INVALID_LINE, reason)

    def _count(self, file: str, line: LineId, code: str, message: str) -> None:
        with self._lock:
            self.codes[code] += 1
            if len(self.first) < FIRST_FAILURES:
                self.first.append(Failure(file, int(line), code, message))
        self.on_failure(line)

    @property
    def delivered(self) -> int:
        return sum(cell[0] for cells in list(self.cells.values()) for cell in list(cells.values()))

    @property
    def bytes(self) -> int:
        return sum(cell[1] for cells in list(self.cells.values()) for cell in list(cells.values()))

    @property
    def undelivered(self) -> int:
        return sum(list(self.codes.values())) + self.unreported

    def as_dict(self) -> dict[str, Any]:
        """All counts, for `--json`."""
        seconds, delivered, size = self.seconds, self.delivered, self.bytes
        return {
            "records": delivered + self.undelivered,
            "delivered": delivered,
            "failed": self.undelivered,
            "unreported": self.unreported,
            "bytes": size,
            "seconds": round(seconds, 6),
            "records_per_second": round(delivered / seconds, 1) if seconds else 0.0,
            "bytes_per_second": round(size / seconds, 1) if seconds else 0.0,
            "partitions": [{"topic": topic, "partition": partition, "records": cell[0], "bytes": cell[1]}
                           for topic, cells in sorted(self.cells.items()) for partition, cell in sorted(cells.items())],
            "failures": dict(self.codes),
            "first_failures": [failure._asdict() for failure in self.first],
        }

    def as_text(self, dry_run: bool = False) -> str:
        """The summary: one line, and one for each partition."""
        seconds, delivered, size = self.seconds, self.delivered, self.bytes
        pace = ""
        if not dry_run:
            pace = f" in {seconds:.2f} s"
            if seconds and delivered:
                pace += f", {delivered / seconds:,.0f} records/s, {size / seconds / 1e6:,.2f} MB/s"
        outcome = click.style(f"{delivered:,} {'would be sent' if dry_run else 'delivered'}", fg="green")
        head = f"{outcome}, {self._failed_text()}: {human(size)}{pace}"
        rows = [f"  {topic}{f'-{partition}' * (partition >= 0)}: {cell[0]:,} records, {human(cell[1])}"
                for topic, cells in sorted(self.cells.items()) for partition, cell in sorted(cells.items())]
        return "\n".join([head, *rows])

    def _failed_text(self) -> str:
        text = f"{self.undelivered:,} failed"
        return click.style(text, fg="red") if self.undelivered else text

    def failures_text(self) -> str:
        """The failures by code, then the first ones with their line numbers; empty without failures."""
        rows = [f"{count:,} x {click.style(code, fg='red')}" for code, count in self.codes.most_common()]
        if self.unreported:
            rows.append(f"{self.unreported:,} without a delivery report: it may have been delivered")
        rows += [one_line(f"  {file}:{line}: {message}") for file, line, _, message in sorted(self.first)]
        more = sum(self.codes.values()) - len(self.first)
        return "\n".join([*rows, f"  ... and {more:,} more"] if more else rows)


def human(size: float) -> str:
    """A number of bytes for people: `64.0 kB`."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            break
    return f"{size:,.1f} {unit}"


@contextmanager
def progress_bar(tally: Tally, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error within the context; it is erased at the end.

    Args:
        total: bytes of all files, None: unknown.
    Returns:
        A callable that takes the number of bytes that are processed.
    """
    from rich.console import Console  # takes 50 ms: imported only for a terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task
    from rich.text import Text

    class Outcome(ProgressColumn):
        """Reads the tally when drawn, so that the bar goes on while only reports come."""

        def render(self, task: Task) -> Text:
            delivered, failed = tally.delivered, tally.undelivered
            text = Text(f"{delivered:,} delivered, {delivered / max(tally.seconds, 1e-6):,.0f} records/s, ")
            return text.append(f"{failed:,} failed", style="red" if failed else "")

    columns = (BarColumn(), DownloadColumn(), Outcome())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)
        progress.refresh()
