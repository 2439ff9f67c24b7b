"""Delimited lines with headers or a null marker: `headers|key|value`, as Java's console producer has them."""
from collections.abc import Callable
from typing import Any

from kafkapp.cli.formats import BadLine, Fields, Format, Headers, each_line


def delimited(header_delimiter: bytes | None, separators: tuple[bytes, bytes], key_delimiter: bytes | None,
              key: bytes | None, null_marker: bytes | None) -> Format:
    """A format of lines.

    Args:
        header_delimiter: ends the headers, which come first; None: there are none.
        separators: between two headers, and between the name and the value of one.
        key_delimiter: ends the key; None: there are none.
        key: of the lines without one.
        null_marker: a key, value or header's value that is this text is null.
    """
    def nulled(text: bytes) -> bytes | None:
        return None if text == null_marker else text

    def parse(line: Any) -> Fields:
        text = bytes(line)
        headers: Headers = []
        if header_delimiter is not None:
            front, found, text = text.partition(header_delimiter)
            if not found:
                raise BadLine("has no headers: the delimiter that ends them is missing")
            headers = parse_headers(front, separators, nulled) if nulled(front) else []
        own_key: bytes | None = key
        if key_delimiter is not None:
            front, found, rest = text.partition(key_delimiter)
            if found:
                own_key, text = nulled(front), rest
        return Fields(nulled(text), own_key, headers)

    return each_line(parse)


def parse_headers(text: bytes, separators: tuple[bytes, bytes], nulled: Callable[[bytes], bytes | None]) -> Headers:
    headers: Headers = []
    between, inside = separators
    for pair in text.split(between):
        name, found, value = pair.partition(inside)
        if not found or not name:
            raise BadLine(f"a header must be name{inside.decode(errors='replace')}value, not {pair[:64]!r}")
        try:
            headers.append((name.decode(), nulled(value)))
        except UnicodeDecodeError:
            raise BadLine("the name of a header is not UTF-8") from None
    return headers
