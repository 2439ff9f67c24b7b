"""Input of the command line: splits files into records and sends them without a copy.

A regular file is memory-mapped, anything else is read in blocks; a value is a slice of the map or of the block. Knows
no options, terminals or counts: a `Job` has the callables that send and report.
"""
import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EBADF
from fcntl import F_GETFL, fcntl
from typing import Any

from kafkapp import Batch, Error, ErrorCode, KafkaException, ProducerRecord, SendOption
from kafkapp.config.application import let_faults_through
from kafkapp.producer.line_splitter import Lines, exit_when_truncated, split_lines

MAX_LINES_PER_BATCH = 16384  # of which the progress is shown once
READ_BYTES = 1 << 20  # of one read() where nothing can be mapped; a pipe returns 64 KiB at most
STDIN = "-"
TRUNCATED_TEXT = b"kafkapp: a FILE has been truncated while it was being sent\n"
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar has hidden it

Report = Callable[[Any, Error | None], None]


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
        send_batch: takes Lines and the number of the first, returns the last Batch that it has sent; None: the lines
            are sent one by one.
        line: the number of the next line, from 1.
    """

    send: Callable[[ProducerRecord, Report, SendOption], object]
    record: ProducerRecord
    report: Report
    refused: Callable[[int, Error], None]
    advance: Callable[[int], None]
    delimiter: bytes = b"\n"
    key_delimiter: bytes | None = None
    null_empty: bool = False
    option: SendOption = SendOption.NoCopyRecordValue
    send_batch: Callable[[Lines, int], Batch] | None = None
    line: int = field(default=1)


def send_next_lines(job: Job, data: Any, start: int, final: bool) -> int:
    """Send the next lines of `data`, at most MAX_LINES_PER_BATCH.

    Args:
        data: bytes or mmap.
        start: the offset to begin at.
        final: nothing follows, so the last line needs no delimiter.
    Returns:
        The offset of the next line; `start` when there is no complete line.
    Raises:
        FatalError: the producer has had a fatal error.
    """
    lines = split_lines(data, start, final, job.delimiter, job.key_delimiter, job.null_empty, MAX_LINES_PER_BATCH)
    first = job.line
    job.line += len(lines)
    if job.send_batch is None:
        send_each(job, lines, first)
    elif len(lines):
        batch = job.send_batch(lines, first)
        if batch.next_index and batch.errors[batch.next_index - 1] == ErrorCode.RD_KAFKA_RESP_ERR__FATAL:
            raise FatalError(batch.failures()[-1][1].message)
    return lines.following


def send_each(job: Job, lines: Lines, first: int) -> None:
    """Send lines one by one."""
    record = job.record
    for line, (record.key, record.value) in enumerate(lines, first):  # type: ignore[arg-type]
        record.id = line
        try:
            job.send(record, job.report, job.option)
        except KafkaException as failure:
            job.refused(line, failure.error)
            if failure.error.is_fatal:
                raise FatalError(failure.error.message) from failure
    record.key = record.value = None  # the last slice would keep the map open


def send_mapped(job: Job, data: mmap.mmap, start: int) -> None:
    """Send the lines of a memory-mapped file from `start` on."""
    end = len(data)
    while start < end:
        start = send_next_lines(job, data, start, True)
        job.advance(start)


def send_streamed(job: Job, descriptor: int) -> None:
    """Send the lines that are read from a pipe or the like, as they come."""
    width = len(job.delimiter)
    parts: list[bytes] = []  # of a line that no block has ended yet
    tail = b""  # the end of the parts: a delimiter may span two blocks
    done = 0
    while True:
        block = os.read(descriptor, READ_BYTES)
        done += len(block)
        if block and job.delimiter not in tail + block:
            parts.append(block)
            tail = (tail + block)[-(width - 1):] if width > 1 else b""
            continue
        data = b"".join([*parts, block])
        position = _send_block(job, data, not block)
        job.advance(done)
        if not block:
            return
        parts = [data[position:]]
        tail = parts[0][-(width - 1):] if width > 1 else b""


def _send_block(job: Job, data: bytes, final: bool) -> int:
    start = 0
    while (following := send_next_lines(job, data, start, final)) != start:
        start = following
    return start


def send_text(job: Job, text: bytes) -> None:
    """Send typed text: every line, also a last one without delimiter."""
    _send_block(job, text, True)


def send_file(job: Job, path: str) -> None:
    """Send the lines of a file, of a pipe with a name, or of standard input (`-`).

    The map is not closed explicitly: each slice in flight holds it, and the last delivery report unmaps it. Blocks
    while the producer does. A file that is truncated meanwhile ends the process: its map can no longer be read.

    Raises:
        OSError: the file cannot be opened or read.
        FatalError: the producer has had a fatal error.
    """
    descriptor = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data, start = _map(descriptor)
        if data is None:
            send_streamed(job, descriptor)
        else:
            send_mapped(job, data, start)
    finally:
        if descriptor:
            os.close(descriptor)


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
