"""Tally of `kafkapp consume`: how many records of each partition were written, and which one is next."""
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from kafkapp import ConsumedBatch, TopicPartition
from kafkapp.cli.tally import Clock, human


class ReadTally(Clock):
    """Counts of records that were written."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: Counter[TopicPartition] = Counter()
        self.ends: dict[TopicPartition, int] = {}       # the next offsets
        self.records = self.bytes = 0                   # bytes of keys and values
        self.last: str | None = None                    # the last record

    def count(self, batch: ConsumedBatch, rows: Sequence[int] | None) -> dict[TopicPartition, int]:
        """Count records of a batch, all of them for None. Returns which offsets are next."""
        topics, indices, partitions, offsets = batch.topics, batch.topic_indices, batch.partitions, batch.offsets
        if rows is None:
            rows, ends = range(len(batch)), batch.ends
            counts = Counter(zip(indices.tolist(), partitions.tolist(), strict=True))
            self.bytes += len(batch.key_data) + len(batch.value_data)
        else:
            ends = {TopicPartition(topics[indices[row]], partitions[row]): offsets[row] + 1 for row in rows}
            counts = Counter((indices[row], partitions[row]) for row in rows)
            self.bytes += sum(column[row + 1] - column[row] for column in (batch.key_offsets, batch.value_offsets)
                              for row in rows)
        for (topic, partition), count in counts.items():
            self.cells[TopicPartition(topics[topic], partition)] += count
        self.records += len(rows)
        self.ends.update(ends)
        if rows:
            self.last = f"{topics[indices[rows[-1]]]}-{partitions[rows[-1]]}@{offsets[rows[-1]]}"
        return ends

    @property
    def seconds(self) -> float:
        return max(super().seconds, 1e-6)

    def as_text(self) -> str:
        """The summary: one line, and one for each partition."""
        pace = f", {self.records / self.seconds:,.0f} records/s, {self.bytes / self.seconds / 1e6:,.2f} MB/s"
        head = (f"{click.style(f'{self.records:,} read', fg='green')}: {human(self.bytes)} in {self.seconds:.2f} s"
                f"{pace if self.records else ''}")
        return "\n".join([head, *(f"  {place.topic}-{place.partition}: {count:,} records, next offset "
                                  f"{self.ends[place]}" for place, count in sorted(self.cells.items()))])


@contextmanager
def progress(tally: ReadTally, total: int | None) -> Iterator[Callable[[], None]]:
    """A line of progress on standard error within the context, with a bar where `total` says how many are wanted."""
    from rich.console import Console  # takes 50 ms: imported only for a terminal
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True,
                  refresh_per_second=5) as shown:
        task = shown.add_task("", total=total)

        def advance() -> None:
            shown.update(task, completed=tally.records, description=(
                f"{tally.records:,} read, {tally.records / tally.seconds:,.0f} records/s, {human(tally.bytes)}"))

        yield advance
        shown.refresh()
