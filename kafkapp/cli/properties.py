"""Properties that `-X` takes: their list, with defaults and meanings, and their completion in the shell."""
import json
import re
import textwrap
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from kafkapp.config.application import REFUSED_PROPERTIES, librdkafka_properties
from kafkapp.config.defaults import CONSUMER, PRODUCER, SHORT_BACKOFF, program_name
from kafkapp.config.table import Row, cells

LIST = "list"       # what -X takes to list them
WIDTH = 120         # of the list where standard output is no terminal


class Property(NamedTuple):
    """A property of a client."""

    name: str
    type: str
    default: str
    values: str         # a range, or words with commas between them
    importance: str
    text: str


def client_properties(consumer: bool = False) -> list[Property]:
    """The properties that a command can set for a producer, or for a consumer, by name."""
    found: dict[str, Property] = {}
    ours = {**CONSUMER, **SHORT_BACKOFF} if consumer else PRODUCER
    defaults = {**ours, "client.id": program_name()}
    for name, role, values, default, importance, description in cells(librdkafka_properties()):
        row = Row(values, description)
        others = role == ("P" if consumer else "C")
        if others or row.kind == "see dedicated API" or name in found or name in REFUSED_PROPERTIES:
            continue        # a topic property of the same name comes later
        text = re.sub(r"\s*<br>\s*", "\n", description.rpartition("*Type: ")[0].replace("\\|", "|")).strip()
        found[name] = Property(name, row.kind, defaults.get(name, default), row.span or ", ".join(row.choice),
                               importance, text)
    return [found[name] for name in sorted(found)]


def properties_text(width: int | None = None, consumer: bool = False) -> str:
    """The list for a reader."""
    width = width or min(click.get_current_context().terminal_width or WIDTH, WIDTH)
    rows = []
    for one in client_properties(consumer):
        facts = [one.type, f"default {one.default}" if one.default else "no default"]
        if one.values:
            facts.append(one.values)
        rows.append(f"{one.name} ({'; '.join(facts)})")
        for line in one.text.splitlines():
            rows.append(textwrap.fill(line, width, initial_indent="    ", subsequent_indent="    ",
                                      break_long_words=False, break_on_hyphens=False))
    return "\n".join(rows)


def properties_json(consumer: bool = False) -> str:
    """The list for a machine: a line of JSON."""
    return json.dumps([one._asdict() for one in client_properties(consumer)])


def complete_pair(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names, and behind one the words that it takes."""
    name, equals, word = incomplete.partition("=")
    known = client_properties(context.info_name == "consume")
    if not equals:
        names: list[Any] = [CompletionItem(one.name + "=", help=one.text.splitlines()[0][:80])
                            for one in known if one.name.startswith(name)]
        return names + [CompletionItem(LIST)] * LIST.startswith(name)
    values = next((one.values for one in known if one.name == name), "")
    return [CompletionItem(f"{name}={value}") for value in values.split(", ")
            if value and ".." not in value and value.startswith(word)]
