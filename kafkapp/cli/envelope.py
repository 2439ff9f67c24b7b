"""Envelopes as they are written: the parts of a record as JSON, as `kafkapp produce --format envelope` reads them."""
import base64
import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any


def quoted(text: str) -> str:
    """As JSON, which keeps what is not ASCII."""
    return encode_basestring(text)


def envelope(place: str, headers: Sequence[tuple[str, Any]], key: Any, value: Any) -> bytes:
    """A record's envelope; what is not UTF-8 stands in base64.

    Args:
        place: its first fields, of the topic and the like, as JSON.
        headers: names and values, which are bytes-like, or None for null; so are the key and the value.
    """
    between = f"{header_field(headers)}, " if headers else ""
    return f'{{{place}, {between}{field("key", key)}, {field("value", value)}}}'.encode()     # UTF-8 in any locale


def field(name: str, data: Any) -> str:
    if data is None:
        return f'"{name}": null'
    try:
        return f'"{name}": {encode_basestring(str(data, "utf-8"))}'
    except UnicodeDecodeError:
        return f'"{name}_base64": "{base64.b64encode(data).decode()}"'


def header_field(pairs: Sequence[tuple[str, Any]]) -> str:
    try:
        plain = [[name, value if value is None else str(value, "utf-8")] for name, value in pairs]
        return f'"headers": {json.dumps(plain, ensure_ascii=False)}'
    except UnicodeDecodeError:
        coded = [[name, value if value is None else base64.b64encode(value).decode()] for name, value in pairs]
        return f'"headers_base64": {json.dumps(coded, ensure_ascii=False)}'
