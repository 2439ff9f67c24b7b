"""Values of the command line's options: parsed, each error a line of text that shows no secret."""
import math
import os
import re
from io import StringIO
from typing import Any

import click

from kafkapp import ProducerConfig
from kafkapp.cli.properties import LIST
from kafkapp.config.java_properties import Malformed, load


def parse_text(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """Refuse empty text: -b "$BROKERS" with an unset variable must not mean the default."""
    if text == "":
        raise click.BadParameter("must not be empty")
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter("must be UTF-8") from None
    return text


def parse_paths(context: click.Context, parameter: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    if "" in paths:
        raise click.BadParameter("must not be empty")
    return paths


def parse_bytes(context: click.Context, parameter: click.Parameter, text: str | None) -> bytes | None:
    r"""The bytes of an option, with the escapes \n, \r, \t, \0, \\ and \xHH."""
    if text is None:
        return None
    if not text:
        raise click.BadParameter("must not be empty")
    plain = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
    return re.sub(rb"\\(?:x([0-9A-Fa-f]{2})|([nrt0\\]))",
                  lambda match: bytes.fromhex(match[1].decode()) if match[1] else plain[match[2]], os.fsencode(text))


def parse_timeout(context: click.Context, parameter: click.Parameter, seconds: float) -> float:
    if not math.isfinite(seconds):
        raise click.BadParameter("expected a number of seconds")
    return seconds


def parse_rate(context: click.Context, parameter: click.Parameter, rate: float | None) -> float | None:
    if rate is not None and not 0 < rate < math.inf:
        raise click.BadParameter("expected a number of records a second, above 0")
    return rate


def parse_column_separator(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    separator = {r"\t": "\t"}.get(text, text)
    if len(separator) != 1 or separator in "\r\n\"\0 " or not separator.isascii():
        raise click.BadParameter(r"expected one character: a comma, a semicolon, \t")
    return separator


def parse_headers(context: click.Context, parameter: click.Parameter,
                  texts: tuple[str, ...]) -> list[tuple[str, bytes]]:
    headers = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not name.isprintable():
            raise click.BadParameter("expected name=value")
        headers.append((name, os.fsencode(value)))
    return headers


def parse_pairs(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if text == LIST:
            pairs[LIST] = text
            continue
        if not equals or not name.strip():
            raise click.BadParameter(f"expected key=value, or {LIST}")  # the text is not repeated: it may hold a secret
        if not value:
            raise click.BadParameter(f"{name.strip()} is empty: leave it out for its default")
        pairs[name.strip()] = value
    return pairs


def parse_files(context: click.Context, parameter: click.Parameter, paths: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for path in parse_paths(context, parameter, paths):
        try:
            with open(path, "rb") as file:
                data = file.read()
            pairs.update(load(StringIO(data.decode("utf-8-sig"), newline=None)))
        except OSError as failure:
            raise click.BadParameter(f"{path}: {failure.strerror}") from None
        except UnicodeDecodeError as failure:
            line = data.count(b"\n", 0, failure.start) + 1
            raise click.BadParameter(f"{path}:{line}: not UTF-8") from None
        except Malformed as failure:
            raise click.BadParameter(f"{path}:{failure}") from None
    return pairs


def without(properties: dict[str, Any], above: dict[str, str]) -> dict[str, Any]:
    """The properties, without bootstrap servers if `above` has some, under either name."""
    names = (ProducerConfig.BOOTSTRAP_SERVERS, "metadata.broker.list")
    if not any(name in above for name in names):
        return properties
    return {name: value for name, value in properties.items() if name not in names}


def compressed(properties: dict[str, Any], codec: str | None) -> dict[str, Any]:
    """The properties, and above them the codec."""
    if codec is None:
        return properties
    kept = {name: value for name, value in properties.items() if name not in ("compression.type", "compression.codec")}
    return {**kept, "compression.type": codec}


def merged(filed: dict[str, str], pairs: dict[str, str], bootstrap_servers: str | None) -> dict[str, Any]:
    """The properties: those of the files, above them -X, above them -b."""
    properties = {**without(filed, pairs), **pairs}
    if bootstrap_servers is None:
        return properties
    above = {ProducerConfig.BOOTSTRAP_SERVERS: bootstrap_servers}
    return {**without(properties, above), **above}
