"""Formats of the command line: make records of lines that are more than a value with a key in front.

A format is called with the lines of one file and yields, for each record, the number of its first line, its text as it
stands in the file, and its Fields, or a BadLine where it cannot be made into a record.
"""
import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Headers = list[tuple[str, bytes | None]]


class BadLine(ValueError):
    """A line that cannot be made into a record, with the reason."""


class BadInput(Exception):
    """A file of which nothing more can be sent, with the reason."""


class Fields(NamedTuple):
    """What a record is made of; None for a header's value, the key or the value is null."""

    value: Any
    key: Any = None
    headers: Headers = []  # noqa: RUF012 - read only
    timestamp: int | None = None    # milliseconds
    partition: int | None = None


Parsed = tuple[int, Any, Fields | BadLine]
Format = Callable[[Iterable[Any]], Iterator[Parsed]]


def each_line(parse: Callable[[Any], Fields | None]) -> Format:
    """A format whose records are a line each; a line of which `parse` makes None is none."""
    def records(lines: Iterable[Any]) -> Iterator[Parsed]:
        for number, line in enumerate(lines, 1):
            try:
                fields = parse(line)
            except BadLine as failure:
                yield number, line, failure
                continue
            if fields is not None:
                yield number, line, fields
    return records


class Spelled(str):
    """A number as the JSON spells it: a float would lose digits."""


def parse_json(line: Any, **how: Any) -> Any:
    """The object of a line of JSON, whose numbers are Spelled; None for a blank line."""
    try:
        text = str(line, "utf-8-sig")
        if not text or text.isspace():
            return None
        found = json.loads(text, parse_int=Spelled, parse_float=Spelled, parse_constant=refuse_constant, **how)
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    except json.JSONDecodeError as failure:
        raise BadLine(f"not JSON: {failure.msg} at column {failure.colno}") from None
    except RecursionError:
        raise BadLine("not JSON that can be read: nested too deeply") from None
    except BadLine:
        raise
    except ValueError as failure:
        raise BadLine(f"not JSON that can be read: {failure}") from None
    if not isinstance(found, dict):
        raise BadLine(f"must be a JSON object, not {json_kind(found)}")
    return found


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these fields, each of which is there once: the value of another one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadLine(f"has the field {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def json_kind(thing: Any) -> str:
    if thing is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}.get(type(thing), "a number")


def compact(thing: Any) -> bytes:
    """As JSON without blanks; numbers are as they were spelled."""
    try:
        return encoded(written(thing))
    except RecursionError:
        raise BadLine("not JSON that can be written: nested too deeply") from None


def written(thing: Any) -> str:
    if isinstance(thing, Spelled):
        return thing
    if isinstance(thing, dict):
        return "{" + ",".join([f"{written(name)}:{written(value)}" for name, value in thing.items()]) + "}"
    if isinstance(thing, list):
        return "[" + ",".join([written(one) for one in thing]) + "]"
    return json.dumps(thing, ensure_ascii=False)


def encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadLine("has half of a surrogate pair, for which UTF-8 has no form") from None


def key_text(found: dict[str, Any], field: str) -> bytes | None:
    """The key that a field of a JSON object is."""
    try:
        value = found[field]
    except KeyError:
        raise BadLine(f"has no field {field}, which is the key") from None
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return encoded(value)
    raise BadLine(f"field {field} is the key, and must be a string, a number or a boolean, not {json_kind(value)}")


def json_lines(key_field: str | None, key: bytes | None) -> Format:
    """Lines that are a JSON object each, which is the value as it stands."""
    def parse(line: Any) -> Fields | None:
        found = parse_json(line)
        if found is None:
            return None
        value = line[3:] if line[:3] == b"\xef\xbb\xbf" else line      # a mark of UTF-8 at the start of the file
        return Fields(value, key if key_field is None else key_text(found, key_field))
    return each_line(parse)


# -- envelopes ---------------------------------------------------------------------------------------------------------

# Other names of kcat's, and what it writes that says nothing about the record to be sent.
ALIASES = {"payload": "value", "ts": "timestamp"}
IGNORED = frozenset(("topic", "offset", "tstype", "broker"))
NAMES = ("key", "key_base64", "value", "value_base64", "headers", "headers_base64", "timestamp", "partition")


def envelopes(key: bytes | None) -> Format:
    """Lines that are a JSON object each, whose fields are the parts of a record; also what `kcat -J` writes."""
    def parse(line: Any) -> Fields | None:
        found = parse_json(line, object_pairs_hook=without_repetition)
        if found is None:
            return None
        fields: dict[str, Any] = {}
        for spelled, value in found.items():
            name = ALIASES.get(spelled, spelled)
            if name in NAMES:
                if name in fields:
                    raise BadLine(f"has {name} twice")
                fields[name] = value
            elif name not in IGNORED:
                raise BadLine(f"unknown field {name!r}: {', '.join(NAMES)} are known")
        value, given = one_of(fields, "value")
        if not given:
            raise BadLine('has no value: a null one is written as "value": null')
        own_key, given = one_of(fields, "key")
        return Fields(value, own_key if given else key, headers_of(fields),
                      whole_number(fields, "timestamp"), whole_number(fields, "partition"))
    return each_line(parse)


def one_of(fields: dict[str, Any], name: str) -> tuple[bytes | None, bool]:
    """A key or value, and whether there is one: as text or JSON, or in base64."""
    if name + "_base64" not in fields:
        found = fields.get(name)
        data = None if found is None else encoded(found) if isinstance(found, str) else compact(found)
        return data, name in fields
    if name in fields:
        raise BadLine(f"has both {name} and {name}_base64")
    return from_base64(fields[name + "_base64"], name + "_base64"), True


def from_base64(text: Any, name: str) -> bytes | None:
    if text is None:
        return None
    if type(text) is not str:       # a Spelled one is a number
        raise BadLine(f"{name} must be a string or null, not {json_kind(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadLine(f"{name} is no base64") from None


def headers_of(fields: dict[str, Any]) -> Headers:
    headers: Headers = []
    for field, decode in (("headers", plain_header), ("headers_base64", from_base64)):
        for name, value in header_pairs(fields.get(field), field):
            if type(name) is not str:
                raise BadLine(f"{field}: the name of a header must be a string, not {json_kind(name)}")
            headers.append((name, decode(value, f"{field}: the value of {name}")))
    return headers


def plain_header(value: Any, what: str) -> bytes | None:
    if value is None:
        return None
    if type(value) is not str:
        raise BadLine(f"{what} must be a string or null, not {json_kind(value)}")
    return encoded(value)


def header_pairs(given: Any, field: str) -> Iterator[tuple[Any, Any]]:
    """The pairs of an object, whose values may be arrays, of an array of pairs, or of names and values in turn."""
    if given is None:
        return
    if isinstance(given, dict):
        for name, value in given.items():
            for one in value if isinstance(value, list) else [value]:
                yield name, one
        return
    if not isinstance(given, list):
        raise BadLine(f"{field} must be an object or an array of pairs, not {json_kind(given)}")
    if given and all(isinstance(pair, list) for pair in given):
        for pair in given:
            if len(pair) != 2:
                raise BadLine(f"{field}: a pair has a name and a value, not {len(pair)} items")
            yield pair[0], pair[1]
        return
    if len(given) % 2:
        raise BadLine(f"{field}: a name has no value")
    yield from zip(given[::2], given[1::2], strict=True)


def whole_number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, Spelled):
            return int(value)
    except ValueError:      # has a fraction, an exponent, or too many digits for Python
        raise BadLine(f"{name} must be a whole number, not {value[:32]}") from None
    raise BadLine(f"{name} must be a whole number, not {json_kind(value)}")
