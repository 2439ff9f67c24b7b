"""Where `kafkapp consume` begins and ends: the spelling of `-o`, and the offsets that it means in each partition."""
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import click

from kafkapp import KafkaConsumer, Offset, TopicPartition
from kafkapp.cli.request import Misuse

SPELLINGS = ("beginning, end, stored, an offset, -N for the last N offsets, s@TIME or @TIME for the first record of a "
             "time, or e@TIME for the end before it; TIME in milliseconds or as 2026-11-28T12:00Z")
BEGINNING, END, STORED = "beginning", "end", "stored"
MAX_OFFSET = 2**63 - 2


class Range(NamedTuple):
    """What is read of each partition."""

    start: str | None = None        # BEGINNING, END or STORED
    offset: int | None = None       # the first one
    last: int | None = None         # so many records before the end
    since: int | None = None        # milliseconds
    until: int | None = None        # milliseconds

    @property
    def given(self) -> bool:
        """Whether it says where to begin."""
        return any(one is not None for one in self[:4])


def parse_range(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> Range:
    """The range of all that was given: a start and an end at most."""
    whole = Range()
    for text in texts:
        one = parse_one(text)
        if one.given and whole.given or one.until is not None and whole.until is not None:
            raise click.BadParameter("expected one start and one e@TIME at most")
        whole = whole._replace(**{name: value for name, value in one._asdict().items() if value is not None})
    if whole.since is not None and whole.until is not None and whole.until <= whole.since:
        raise click.BadParameter("the end is not behind the start")
    return whole


def parse_one(text: str) -> Range:
    if text in (BEGINNING, END, STORED):
        return Range(start=text)
    if re.fullmatch(r"-?[0-9]{1,19}", text) and abs(int(text)) <= MAX_OFFSET:
        return Range(last=-int(text)) if text.startswith("-") else Range(offset=int(text))
    kind, at, time = text.partition("@")
    if at and kind in ("", "s"):
        return Range(since=milliseconds(time))
    if at and kind == "e":
        return Range(until=milliseconds(time))
    raise click.BadParameter(f"{text!r}: expected {SPELLINGS}")


def milliseconds(text: str) -> int:
    """A time in milliseconds since the epoch; one without a zone is UTC, as for Kafka's own tools."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
        found = round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        found = -1
    if found < 0:       # those have meanings of their own for a broker
        raise click.BadParameter(f"{text!r} is no time: expected milliseconds since 1970, or 2026-11-28T12:00Z")
    return found


def named(place: TopicPartition) -> str:
    return f"{place.topic} [{place.partition}]"


def starts(consumer: KafkaConsumer, places: Iterable[TopicPartition], wanted: Range,
           timeout: float) -> dict[TopicPartition, int | Offset]:
    """Where each partition begins; not for what is stored.

    Raises:
        Misuse: an offset lies behind the end of its partition.
        KafkaException: as `end_offsets`.
    """
    places = list(places)
    if wanted.start == END:
        return dict.fromkeys(places, Offset.End)
    if wanted.offset is None and wanted.last is None and wanted.since is None:
        return dict.fromkeys(places, Offset.Beginning)
    ends = consumer.end_offsets(places, timeout)     # first: later ones would be behind what comes meanwhile
    if wanted.since is not None:
        found = consumer.offsets_for_times(dict.fromkeys(places, wanted.since), timeout)
        return {place: found.get(place, ends[place]) for place in places}
    firsts = consumer.beginning_offsets(places, timeout)
    if wanted.last is not None:
        return {place: max(firsts[place], ends[place] - wanted.last) for place in places}
    offset = wanted.offset or 0
    for place in places:
        if offset > ends[place]:
            raise Misuse(f"{named(place)} has offsets {firsts[place]} to {ends[place]}, and not {offset}: name one of "
                         "these, other partitions by -p, or -o -N for the last N")
    return {place: max(firsts[place], offset) for place in places}


def stops(consumer: KafkaConsumer, places: Iterable[TopicPartition], until: int,
          timeout: float) -> dict[TopicPartition, int]:
    """Where each partition ends: before its first record of this time, or where it ends now if it has none."""
    places = list(places)
    ends = consumer.end_offsets(places, timeout)
    found = consumer.offsets_for_times(dict.fromkeys(places, until), timeout)
    return {place: found.get(place, ends[place]) for place in places}
