"""Where `kafkapp consume` writes: a descriptor, as text or as an Arrow stream, in whole records.

Whatever ends a write, it is known how many records of the batch are there; the next ones leave no trace in a file.
"""
import os
import select
import stat
from collections.abc import Sequence
from importlib import import_module
from itertools import accumulate
from typing import Any

from kafkapp import ConsumedBatch
from kafkapp.cli.consume_formats import Pieces, Rows
from kafkapp.cli.request import Misuse
from kafkapp.cli.streams import STDOUT

STDOUT_PATH = "-"


class Descriptor:
    """A file, a pipe or a terminal that is written to, without a buffer.

    Attributes:
        is_file: it can be cut, and waits for no reader.
    """

    def __init__(self, number: int, name: str) -> None:
        self.name, self.is_file = name, stat.S_ISREG(os.fstat(number).st_mode)
        self.written = 0        # bytes of the last data
        self._most: int | None = None       # at a time
        self._number = number
        self._poll = select.poll()
        self._poll.register(number, 0)

    def write(self, data: bytes) -> None:
        """Write all of it. Blocks.

        Raises:
            OSError, KeyboardInterrupt: `written` says how much is there.
        """
        self.written = 0
        rest = memoryview(data)
        while rest:
            try:
                count = os.write(self._number, rest[:self._most])
            except BlockingIOError:     # another process has set it so
                select.select([], [self._number], [])
                continue
            self.written += count
            rest = rest[count:]

    def be_careful(self) -> None:
        """From here on a signal may raise: a pipe takes so much whole or not at all, and of more that a signal ends
        nobody would know how much is there."""
        self._most = select.PIPE_BUF

    def cut(self, size: int) -> None:
        """Take so many of the bytes that were written last from the end of a file; not from what is none."""
        if size and self.is_file:
            end = os.lseek(self._number, 0, os.SEEK_CUR)
            if end == os.fstat(self._number).st_size:
                os.ftruncate(self._number, end - size)
                os.lseek(self._number, end - size, os.SEEK_SET)

    def has_no_reader(self) -> bool:
        """Whether nobody reads the pipe any more."""
        return any(events & select.POLLERR for _, events in self._poll.poll(0))

    def close(self) -> None:
        os.close(self._number)


class TextOutput:
    """Records as pieces of bytes, each with an end behind it."""

    def __init__(self, descriptor: Descriptor, pieces: Pieces, end: bytes, null: bytes) -> None:
        self.descriptor, self.complete = descriptor, 0
        self._pieces, self._end, self._null = pieces, end, null

    def write(self, batch: ConsumedBatch, rows: Sequence[int] | None) -> None:
        """Write records.

        Args:
            rows: which ones; None: all.
        Raises:
            OSError, KeyboardInterrupt: `complete` says how many of them are there.
        """
        self.complete = 0
        found = self._pieces(Rows(batch, rows, self._null))
        data = found if isinstance(found, bytes) else self._end.join([*found, b""])
        try:
            self.descriptor.write(data)
        except BaseException:
            written = self.descriptor.written
            pieces = data.split(self._end)[:-1] if isinstance(found, bytes) else found
            ends = [end for end in accumulate(len(piece) + len(self._end) for piece in pieces) if end <= written]
            self.complete = len(ends)
            self.descriptor.cut(written - (ends[-1] if ends else 0))
            raise

    def close(self) -> None:
        """Standard output stays open."""


class ArrowOutput:
    """An Arrow IPC stream, a record batch for each batch; valid wherever it ends."""

    def __init__(self, path: str) -> None:
        try:
            self._pyarrow = import_module("pyarrow")
        except ImportError:
            raise Misuse("--arrow needs pyarrow, which is not here: pip install 'kafkapp[arrow]'") from None
        self.complete = 0
        self.descriptor = Descriptor(1, STDOUT)
        self._path = path
        self._buffer = bytearray()
        self._writer: Any = None

    def open(self) -> None:
        """Create the file.

        Raises:
            Misuse: it cannot be, or holds something.
        """
        if self._path == STDOUT_PATH:
            return
        try:
            number = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
            if os.fstat(number).st_size:
                os.close(number)
                raise Misuse(f"--arrow {self._path}: holds something already: remove it, or name another file")
        except OSError as failure:
            raise Misuse(f"--arrow {self._path}: {failure.strerror}") from None
        self.descriptor = Descriptor(number, self._path)

    def write(self, batch: ConsumedBatch, rows: Sequence[int] | None) -> None:
        """As TextOutput's: all of them are there, or none. The first batch, which may be empty, begins the stream."""
        self.complete = 0
        table = self._pyarrow.record_batch(batch)
        if rows is not None:
            table = table.take(self._pyarrow.array(rows, "int64"))
        if self._writer is None:
            self._writer = self._pyarrow.ipc.new_stream(self._pyarrow.PythonFile(Appender(self._buffer), "w"),
                                                        table.schema)
            self._flush()
        if table.num_rows:
            self._writer.write_batch(table)
            self._flush()

    def _flush(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        try:
            self.descriptor.write(data)
        except BaseException:
            self.descriptor.cut(self.descriptor.written)
            raise

    def close(self) -> None:
        """End the stream."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._flush()
        if self.descriptor.name != STDOUT:
            self.descriptor.close()


class Appender:
    """A file, as pyarrow writes to one."""

    closed = False

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def write(self, data: Any) -> int:
        self._buffer += data
        return memoryview(data).nbytes

    def flush(self) -> None:
        """All is there at once."""

    def close(self) -> None:
        """Nothing is open."""


Output = TextOutput | ArrowOutput
