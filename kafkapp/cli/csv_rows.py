"""CSV with a header: a row is a JSON object of its columns, whose values are strings.

Python's csv module cuts the rows, so that a quoted value may have line ends; the lines of each row are kept.
"""
import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kafkapp.cli.formats import BadInput, BadLine, Fields, Format, Parsed, compact, encoded

MOST_CHARACTERS = 1 << 24       # of a value: what an unclosed quote swallows is read again from the next line on


class Source:
    """The lines for a csv.reader, as text; keeps those that the row in work has taken, and takes them back."""

    def __init__(self, lines: Iterable[Any]) -> None:
        self._lines = enumerate(lines, 1)
        self._returned: deque[tuple[int, bytes]] = deque()
        self.taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._returned:
            number, line = self._returned.popleft()
        else:
            number, view = next(self._lines)
            line = bytes(view)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
        self.taken.append((number, line))
        return line.decode("utf-8", "surrogateescape") + "\n"

    def take_back(self) -> None:
        """Give all taken lines but the first once more."""
        self._returned.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def csv_rows(separator: str, key_field: str | None, key: bytes | None,
             on_header: Callable[[bytes], None] | None = None) -> Format:
    """A format of rows.

    Args:
        separator: between two columns.
        key_field: the column whose value is the key.
        key: of all rows, without a key_field.
        on_header: called with the text of the header.
    """
    csv.field_size_limit(MOST_CHARACTERS)

    def records(lines: Iterable[Any]) -> Iterator[Parsed]:
        source = Source(lines)
        reader = csv.reader(source, delimiter=separator, strict=True)
        header: list[str] = []
        while True:
            source.taken.clear()
            try:
                row = next(reader)
                fields = Fields(b"")
                if not row:
                    continue        # a blank line
                if header:
                    fields = fields_of(header, row)
            except StopIteration:
                return
            except (csv.Error, BadLine) as failure:
                if isinstance(failure, csv.Error):
                    source.take_back()      # what an unclosed quote has swallowed are rows of their own
                    failure = BadLine(f"not CSV: {failure}")
                if not header:
                    raise BadInput(f"its header is {failure}") from None
                number, text = source.taken[0][0], b"\n".join(line for _, line in source.taken)
                yield number, text, failure
                continue
            number, text = source.taken[0][0], b"\n".join(line for _, line in source.taken)
            if header:
                yield number, text, fields
            else:
                header = checked_header(row, key_field)
                if on_header is not None:
                    on_header(text)

    def fields_of(header: list[str], row: list[str]) -> Fields:
        if len(row) != len(header):
            raise BadLine(f"has {len(row)} columns, and the header has {len(header)}")
        found = dict(zip(header, row, strict=True))
        try:
            return Fields(compact(found), key if key_field is None else encoded(found[key_field]))
        except BadLine:
            raise BadLine("not UTF-8") from None

    return records


def checked_header(row: list[str], key_field: str | None) -> list[str]:
    twice = {name for name in row if row.count(name) > 1}
    if twice:
        raise BadInput(f"its header has the column {twice.pop()!r} more than once")
    if key_field is not None and key_field not in row:
        raise BadInput(f"it has no column {key_field}, which is the key: its columns are {', '.join(row)}")
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        raise BadInput("its header is not UTF-8") from None
    return row
