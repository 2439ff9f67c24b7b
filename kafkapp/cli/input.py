"""Input of the command line: splits files into records and sends them without a copy.

A regular file is memory-mapped, anything else is read in blocks; a value is a slice of the map or of the block. Knows
no options, terminals or counts: a `Job` has the callables that send and report.
"""
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from errno import EBADF
from fcntl import F_GETFL, fcntl
from functools import partial
from io import FileIO
from typing import Any, NamedTuple

from kafkapp import Batch, Error, ErrorCode, KafkaException, ProducerRecord, SendOption
from kafkapp.cli.compressed import Read, ending, opener, reading
from kafkapp.cli.formats import BadLine, Fields, Format
from kafkapp.cli.limits import Limits
from kafkapp.cli.rejects import Line, LineId
from kafkapp.config.application import let_faults_through
from kafkapp.producer.line_splitter import Lines, exit_when_truncated, split_lines

MAX_LINES_PER_BATCH = 16384  # of which the progress is shown once
READ_BYTES = 1 << 20  # of one read() where nothing can be mapped; a pipe returns 64 KiB at most
STDIN = "-"
TRUNCATED_TEXT = b"kafkapp: a FILE has been truncated while it was being sent\n"
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar has hidden it

Report = Callable[[Any, Error | None], None]
Origin = Callable[[int], LineId]    # of a line by its index


class FatalError(Exception):
    """The producer has had a fatal error (RD_KAFKA_RESP_ERR__FATAL): no further record can be sent."""


@dataclass
class Job:
    """How the records of one file are split, filled in and sent.

    Attributes:
        send: takes record, report, option; raises KafkaException for a refused record.
        record: with topic, partition and headers; key, value and id are set for each line.
        report: delivery callback of each accepted record; may run on another thread.
        refused: called with the line and the Error of each record that was not enqueued.
        advance: called with the number of bytes of the file that are processed.
        send_batch: takes Lines and their Origin, returns the last Batch that it has sent; None: the lines are sent one
            by one.
        key: of each line without a key_delimiter.
        form: makes the records of the lines; None: a line is a value, behind a key where there is a key_delimiter.
        invalid: called with the line of which `form` makes no record, and with the reason.
        limits: how many records are sent, and how fast.
        keep: the id of a record is a Line with its text.
        tee: called with the text of what is sent; None: not wanted.
        line: the number of the next line, from 1.
    """

    send: Callable[[ProducerRecord, Report, SendOption], object]
    record: ProducerRecord
    report: Report
    refused: Callable[[LineId, Error], None]
    advance: Callable[[int], None]
    delimiter: bytes = b"\n"
    key_delimiter: bytes | None = None
    null_empty: bool = False
    option: SendOption = SendOption.NoCopyRecordValue
    send_batch: Callable[[Lines, Origin], Batch] | None = None
    key: bytes | None = None
    form: Format | None = None
    invalid: Callable[[LineId, str], None] = lambda line, reason: None
    limits: Limits = field(default_factory=Limits)
    keep: bool = False
    tee: Callable[[Any], None] | None = None
    line: int = field(default=1)


class Chunk(NamedTuple):
    """Some lines, and the text that they are in."""

    lines: Lines
    data: Any       # bytes or mmap
    start: int

    def text(self) -> memoryview:
        return memoryview(self.data)[self.start:self.lines.following]

    def origin(self, first: int, delimiter: bytes) -> Origin:
        """The lines with their text, which is cut once more when it is asked for: when one has failed."""
        whole: list[Lines] = []

        def line(index: int) -> LineId:
            if not whole:
                whole.append(split_lines(self.data, self.start, True, delimiter, None, False, len(self.lines)))
            return Line(first + index, whole[0][index][1])
        return line


def split(job: Job, data: Any, start: int, final: bool, most: int) -> Chunk:
    """The next lines of `data`, at most `most`.

    Args:
        data: bytes or mmap.
        start: the offset to begin at.
        final: nothing follows, so the last line needs no delimiter.
    """
    if job.form is None:
        lines = split_lines(data, start, final, job.delimiter, job.key_delimiter, job.null_empty, most)
    else:
        lines = split_lines(data, start, final, job.delimiter, None, False, most)
    return Chunk(lines, data, start)


def room_for_lines(job: Job) -> int:
    """How many lines may be cut now. What a format makes of them counts when it is sent."""
    if job.form is None:
        return job.limits.room(MAX_LINES_PER_BATCH)
    return 0 if job.limits.over else MAX_LINES_PER_BATCH


def mapped_chunks(job: Job, data: mmap.mmap, start: int) -> Iterator[Chunk]:
    """The lines of a memory-mapped file from `start` on."""
    end = len(data)
    while start < end and (room := room_for_lines(job)):
        chunk = split(job, data, start, True, room)
        yield chunk
        start = chunk.lines.following
        job.advance(start)


def streamed_chunks(job: Job, read: Read, position: Callable[[], int] | None = None) -> Iterator[Chunk]:
    """The lines that are read from a pipe or the like, as they come; `position` tells how far the reading is."""
    width = len(job.delimiter)
    parts: list[bytes] = []  # of a line that no block has ended yet
    tail = b""  # the end of the parts: a delimiter may span two blocks
    done = 0
    while not job.limits.over:
        block = read()
        done += len(block)
        if block and job.delimiter not in tail + block:
            parts.append(block)
            tail = (tail + block)[-(width - 1):] if width > 1 else b""
            continue
        data = b"".join([*parts, block])
        start = 0
        while start < len(data) and (room := room_for_lines(job)):
            chunk = split(job, data, start, not block, room)
            if chunk.lines.following == start:
                break
            yield chunk
            start = chunk.lines.following
        job.advance(done if position is None else position())
        if not block:
            return
        parts = [data[start:]]
        tail = parts[0][-(width - 1):] if width > 1 else b""


def send_chunks(job: Job, chunks: Iterator[Chunk]) -> None:
    """Send lines as they come.

    Raises:
        FatalError: the producer has had a fatal error.
    """
    if job.form is not None:
        send_records(job, (line for chunk in chunks for _, line in chunk.lines))
        return
    for chunk in chunks:
        lines, first = chunk.lines, job.line
        if job.tee is not None:
            job.tee(bytes(chunk.text()))
        job.line += len(lines)
        job.limits.spend(len(lines))
        origin = chunk.origin(first, job.delimiter) if job.keep else first.__add__
        if job.send_batch is None:
            send_each(job, lines, origin)
        elif len(lines):
            batch = job.send_batch(lines, origin)
            if batch.next_index and batch.errors[batch.next_index - 1] == ErrorCode.RD_KAFKA_RESP_ERR__FATAL:
                raise FatalError(batch.failures()[-1][1].message)


def send_each(job: Job, lines: Lines, origin: Origin) -> None:
    """Send lines one by one."""
    record = job.record
    for index, (key, record.value) in enumerate(lines):  # type: ignore[arg-type]
        if job.limits.stopped():
            break
        record.key = job.key if job.key_delimiter is None else key
        record.id = origin(index)
        send_one(job)
    record.key = record.value = None  # the last slice would keep the map open


def send_one(job: Job) -> None:
    """Send the record of the job as it stands."""
    try:
        job.send(job.record, job.report, job.option)
    except KafkaException as failure:
        job.refused(job.record.id, failure.error)
        if failure.error.is_fatal:
            raise FatalError(failure.error.message) from failure


def send_records(job: Job, lines: Iterator[Any]) -> None:
    """Send the records that the format makes of the lines, one by one.

    Raises:
        BadInput: the format can make nothing of the file.
        FatalError: the producer has had a fatal error.
    """
    assert job.form is not None
    record, common = job.record, list(job.record.headers)
    partition = record.partition
    parsed = job.form(lines)
    while not job.limits.over:
        found = next(parsed, None)
        if found is None:
            break
        number, text, fields = found
        line: LineId = Line(number, text) if job.keep else number
        if isinstance(fields, BadLine):
            job.invalid(line, str(fields))
            continue
        record.id = line
        try:
            fill(record, fields, job.null_empty)
            record.headers = [*common, *fields.headers] if fields.headers else common
            record.partition = partition if fields.partition is None else fields.partition
            if not job.limits.room():
                break       # a failure has ended the run meanwhile
            job.limits.spend(1)
            if job.tee is not None:
                job.tee(bytes(text) + job.delimiter)
            send_one(job)
        except (TypeError, ValueError, OverflowError) as failure:
            job.invalid(line, str(failure))
    record.key = record.value = None


def fill(record: ProducerRecord, fields: Fields, null_empty: bool) -> None:
    record.key, record.value, record.timestamp = fields.key, fields.value, fields.timestamp
    if null_empty:
        record.key, record.value = fields.key or None, fields.value or None


def send_streamed(job: Job, descriptor: int) -> None:
    """Send the lines that are read from a pipe or the like, as they come."""
    send_chunks(job, streamed_chunks(job, partial(os.read, descriptor, READ_BYTES)))


def send_text(job: Job, text: bytes) -> None:
    """Send typed text: every line, also a last one without delimiter."""
    blocks = iter([text] if text else [])
    send_chunks(job, streamed_chunks(job, lambda: next(blocks, b"")))


def send_file(job: Job, path: str) -> None:
    """Send the lines of a file, of a pipe with a name, or of standard input (`-`).

    The map is not closed explicitly: each slice in flight holds it, and the last delivery report unmaps it. Blocks
    while the producer does. A file that is truncated meanwhile ends the process: its map can no longer be read.

    Raises:
        OSError: the file cannot be opened or read.
        BadInput: it cannot be decompressed, or the format can make nothing of it.
        FatalError: the producer has had a fatal error.
    """
    if end := ending(path):
        with open_unbuffered(path) as file:
            send_chunks(job, streamed_chunks(job, reading(opener(end)(file)), partial(bytes_read, file)))
        return
    descriptor = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data, start = _map(descriptor)
        if data is None:
            send_streamed(job, descriptor)
        else:
            send_chunks(job, mapped_chunks(job, data, start))
    finally:
        if descriptor:
            os.close(descriptor)


def open_unbuffered(path: str) -> FileIO:
    """A file whose read() returns what is there: a pipe is live."""
    return open(path, "rb", buffering=0)


def bytes_read(file: FileIO) -> int:
    return file.tell() if file.seekable() else 0


def send_whole(job: Job, path: str) -> None:
    """Send a whole file as one record; its map is the value. Raises as `send_file`."""
    data: Any
    if end := ending(path):
        with open_unbuffered(path) as file:
            data = b"".join(iter(reading(opener(end)(file)), b""))
    else:
        descriptor = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data, start = _map(descriptor)
            data = (b"".join(iter(partial(os.read, descriptor, READ_BYTES), b"")) if data is None
                    else memoryview(data)[start:])
        finally:
            if descriptor:
                os.close(descriptor)
    job.form = lambda lines: iter([(1, path.encode(errors="surrogateescape"), Fields(data, job.key))])
    send_records(job, iter(()))
    job.advance(len(data))


def _map(descriptor: int) -> tuple[mmap.mmap | None, int]:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size == 0:  # files in /proc have size 0 and are not empty: read them
        return None, 0
    try:
        start = os.lseek(descriptor, 0, os.SEEK_CUR)  # a redirected standard input may be half read
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), start
    except OSError:  # a file system without memory maps
        return None, 0


def watch_for_truncation() -> None:
    """End the process with a line of text if a file is truncated while it is sent. Call before creating a producer."""
    exit_when_truncated((SHOW_CURSOR if os.isatty(2) else b"") + TRUNCATED_TEXT, 2)
    let_faults_through()


def check_readable(path: str) -> int | None:
    """Check that a file can be read, without opening a pipe that a writer waits at.

    Returns:
        Its size in bytes, or None: unknown.
    Raises:
        OSError: why it cannot be read.
    """
    state = os.fstat(0) if path == STDIN else os.stat(path)
    if path == STDIN and fcntl(0, F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise OSError(EBADF, os.strerror(EBADF))
    if path != STDIN and (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        with open(path, "rb"):
            pass
    return state.st_size if stat.S_ISREG(state.st_mode) else None
