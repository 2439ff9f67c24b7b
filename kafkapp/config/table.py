"""librdkafka's own table of properties, as rd_kafka_conf_properties_show() prints it, for what error messages say."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

ACKS = "all (-1), 1, 0"     # librdkafka takes more, which brokers refuse


class Row:
    """One property."""

    __slots__ = ("alias_of", "choice", "kind", "span")

    def __init__(self, values: str, description: str) -> None:
        self.kind = description.rpartition("*Type: ")[2].rstrip("*")
        self.span = values.replace(" .. ", "..") if ".." in values else ""
        self.choice = [word for word in values.split(", ") if word and not self.span]
        if self.kind == "string" and not self.choice:
            supported = re.search(r"Supported: ([A-Z0-9, -]+)\.", description)      # of sasl.mechanisms
            described = re.findall("`([a-z0-9_]+)` - ", description)    # "`random` - random distribution, ..."
            self.choice = supported[1].split(", ") if supported else described
        alias = re.search("Alias for `([^`]+)`", description)
        self.alias_of = alias[1] if alias else ""


def cells(text: str) -> Iterator[list[str]]:
    """Name, `P`, `C` or `*` (producers, consumers, both), values, default, importance, description of each row."""
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(" | ", 5)]
        if len(fields) == 6 and fields[0] != "Property":
            yield fields


def rows(text: str) -> dict[str, Row]:
    """The table's rows by name, aliases among them."""
    known: dict[str, Row] = {}
    for name, _role, values, _default, _importance, description in cells(text):
        known.setdefault(name, Row(values, description))        # a topic property of the same name comes later
    return known


def allowed(name: str, table: Mapping[str, Row]) -> str:
    """What a property takes, for the end of a message; empty where it takes any text."""
    row = table.get(name)
    if row is None:
        return ""
    if "request.required.acks" in (name, row.alias_of):
        return f"; allowed: {ACKS}"
    words = ", ".join(row.choice) if len(row.choice) > 1 else row.span
    return f"; allowed: {words}" if words else ""


def in_own_names(text: str, given: Mapping[str, object], table: Mapping[str, Row]) -> str:
    """The text with the names that were given: librdkafka says another one where it was given an alias."""
    for name in given:
        row = table.get(name)
        if row is not None and row.alias_of and row.alias_of in text and row.alias_of not in given:
            text = re.sub(rf"(?<![\w.]){re.escape(row.alias_of)}(?!\w|\.\w)", name, text)
    return text
