"""The file of rejected lines (`--rejects`): those that were not delivered, byte for byte, to be sent again."""
import os
import stat
import threading
from typing import Any, NamedTuple

from kafkapp.cli.formats import BadInput
from kafkapp.cli.streams import note, say_bytes

HELD_NOTE = "the failed lines that it has no room for follow"


class Line(NamedTuple):
    """The number of a line, with its text."""

    number: int
    text: Any

    def __int__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return str(self.number)     # in the text of a delivery report too


LineId = int | Line     # what a record has as its id: with the text where it is kept


class Rejects:
    """Writes failed lines. Where the file takes no more they are kept, and printed on standard error at the end.

    Thread-safe: reports and refusals come from two threads.

    Args:
        path: of a file that is not there, or empty; or a device or pipe.
        end: what ends a line.
    Raises:
        BadInput: it holds lines already.
        OSError: it cannot be created or written.
    """

    def __init__(self, path: str, end: bytes) -> None:
        self.path = path
        self.count = 0                  # lines in the file
        self.held: list[bytes] = []     # lines that the file has no room for
        self.failure: OSError | None = None
        self._end = end
        self._head = b""
        self._size = 0
        self._lock = threading.Lock()
        self._created = not os.path.exists(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        state = os.fstat(self._descriptor)
        self._regular = stat.S_ISREG(state.st_mode)
        if self._regular and state.st_size:
            os.close(self._descriptor)
            raise BadInput(f"{path} holds lines already: send them, or move it away")

    def begin(self, head: bytes) -> None:
        """Have the file begin with this line: the header of the rows.

        Raises:
            BadInput: it begins with another one.
        """
        with self._lock:
            head = bytes(head) + self._end
            if self._head and head != self._head:
                raise BadInput("its header is not that of the file before: with --rejects, send them one by one")
            self._head = head

    def add(self, line: LineId) -> None:
        """Write a line, which has its text."""
        assert isinstance(line, Line)
        data = bytes(line.text) + self._end
        with self._lock:
            if self.failure is None:
                try:
                    self._write(data)
                    return
                except OSError as failure:
                    self.failure = failure
            self.held.append(data)

    def _write(self, line: bytes) -> None:
        """Write a whole line, or nothing."""
        data = line if self.count else self._head + line
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest):]
        except OSError:
            if self._regular:
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)
        self.count += 1

    def close(self) -> None:
        """Write what was kept, if there is room by now, or print it. Removes the file if it has nothing."""
        with self._lock:
            if self._descriptor < 0:
                return      # closed already
            try:
                while self.held:
                    self._write(self.held[0])
                    del self.held[0]
            except OSError as failure:
                self.failure = failure
            os.close(self._descriptor)
            self._descriptor = -1
            if self._regular and self._created and not self._size:
                os.unlink(self.path)
            if self.held:
                note(f"kafkapp: {self.path}: {self.failure.strerror if self.failure else ''}; {HELD_NOTE}")
                say_bytes((b"" if self.count else self._head) + b"".join(self.held), err=True)
