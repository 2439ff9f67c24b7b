"""What `kafkapp consume` writes for the records of a batch: values, a format as kcat has it, or envelopes.

A format makes pieces of bytes, one for each record, from the batch's columns: for values and keys no object of a record
is made in Python.
"""
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import click

from kafkapp import ConsumedBatch
from kafkapp.consumer.envelopes import envelope_lines

NULL = b"NULL"              # a header's null value, as kcat writes it
KNOWN = ("%t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %s value, %S its length, %R that in "
         "four bytes, %h headers, %%")

Column = list[Any]
Pieces = Callable[["Rows"], list[bytes] | bytes]      # bytes: whole lines, each of a record


class Rows:
    """Columns of the records that are written of a batch, as lists.

    Args:
        rows: the records' indices; None: all.
        null: what stands for a null key or value.
    """

    def __init__(self, batch: ConsumedBatch, rows: Sequence[int] | None = None, null: bytes = b"") -> None:
        self.batch, self.indices, self._null = batch, rows, null

    def __len__(self) -> int:
        return len(self.batch) if self.indices is None else len(self.indices)

    def chosen(self, column: Column) -> Column:
        return column if self.indices is None else [column[row] for row in self.indices]

    def topics(self) -> Column:
        names = [name.encode() for name in self.batch.topics]
        return self.chosen([names[index] for index in self.batch.topic_indices.tolist()])

    def partitions(self) -> list[int]:
        return self.chosen(self.batch.partitions.tolist())

    def offsets(self) -> list[int]:
        return self.chosen(self.batch.offsets.tolist())

    def timestamps(self) -> list[int]:
        return self.chosen(self.batch.timestamps.tolist())

    def keys(self) -> list[bytes]:
        return self.chosen(items(*self._key_columns(), self._null))

    def values(self) -> list[bytes]:
        return self.chosen(items(*self._value_columns(), self._null))

    def key_sizes(self) -> list[int]:
        """-1 for null."""
        return self.chosen(sizes(*self._key_columns()))

    def value_sizes(self) -> list[int]:
        return self.chosen(sizes(*self._value_columns()))

    def packed_value_sizes(self) -> list[bytes]:
        return [size.to_bytes(4, "big", signed=True) for size in self.value_sizes()]

    def headers(self) -> list[list[tuple[str, bytes | None]]]:
        every = range(len(self.batch)) if self.indices is None else self.indices
        return [[(header.key, None if header.value.data is None else bytes(header.value))
                 for header in self.batch[row].headers] for row in every]

    def joined_headers(self) -> list[bytes]:
        null = self._null or NULL
        return [b",".join([b"%b=%b" % (name.encode(), null if value is None else value) for name, value in one])
                for one in self.headers()]

    def _key_columns(self) -> tuple[Any, Any, Any]:
        return self.batch.key_offsets, self.batch.key_data, self.batch.key_validity

    def _value_columns(self) -> tuple[Any, Any, Any]:
        return self.batch.value_offsets, self.batch.value_data, self.batch.value_validity


def items(offsets: Any, data: Any, validity: Any, null: Any) -> Column:
    """The items of a column of bytes."""
    whole = bytes(data)     # whose slices take half the time of a view's
    found: Column = [whole[start:end] for start, end in pairwise(offsets.tolist())]
    if validity is not None and null != b"":
        for row in nulls(validity, len(found)):
            found[row] = null
    return found


def sizes(offsets: Any, data: Any, validity: Any) -> list[int]:
    found = [end - start for start, end in pairwise(offsets.tolist())]
    if validity is not None:
        for row in nulls(validity, len(found)):
            found[row] = -1
    return found


def nulls(validity: Any, count: int) -> list[int]:
    bits = bytes(validity)
    return [row for row in range(count) if not bits[row >> 3] >> (row & 7) & 1]


# -- formats -----------------------------------------------------------------------------------------------------------

# What stands behind a %: how it is written, and where it comes from.
TOKENS: dict[bytes, tuple[bytes, Callable[[Rows], Column]]] = {
    b"t": (b"%b", Rows.topics), b"p": (b"%d", Rows.partitions), b"o": (b"%d", Rows.offsets),
    b"T": (b"%d", Rows.timestamps), b"k": (b"%b", Rows.keys), b"K": (b"%d", Rows.key_sizes),
    b"s": (b"%b", Rows.values), b"S": (b"%d", Rows.value_sizes), b"R": (b"%b", Rows.packed_value_sizes),
    b"h": (b"%b", Rows.joined_headers)}


def parse_format(text: bytes) -> tuple[bytes, list[Callable[[Rows], Column]]]:
    """A template for the operator %, and the columns that it takes.

    Raises:
        click.BadParameter: it is none.
    """
    template, columns = b"", []
    for match in re.finditer(rb"[^%]+|%(.?)", text, re.S):
        token = match[1]
        if token in TOKENS:
            template += TOKENS[token][0]
            columns.append(TOKENS[token][1])
        elif token is None:
            template += match[0]
        elif token == b"%":
            template += b"%%"
        else:
            raise click.BadParameter(f"%{token.decode(errors='replace')} is not known: {KNOWN}")
    return template, columns


def values(rows: Rows) -> list[bytes]:
    return rows.values()


def by_format(template: bytes, columns: list[Callable[[Rows], Column]]) -> Pieces:
    def pieces(rows: Rows) -> list[bytes]:
        found = [column(rows) for column in columns]
        return [template % row for row in zip(*found, strict=True)] if found else [template % ()] * len(rows)
    return pieces


def envelopes(rows: Rows) -> bytes:
    """A JSON object for each record, as `kafkapp produce --format envelope` reads it."""
    return envelope_lines(rows.batch, rows.indices)
