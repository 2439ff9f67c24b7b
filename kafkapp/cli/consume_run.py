"""One run of `kafkapp consume`: connects, reads, writes, commits what was written, and says what was read.

A record is committed only after it was written: what is killed in between reads it again, and loses nothing.
"""
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from kafkapp import (
    ConsumedBatch,
    Error,
    ErrorCode,
    KafkaConsumer,
    KafkaException,
    Offset,
    RebalanceEvent,
    TopicPartition,
)
from kafkapp.cli.causes import Causes
from kafkapp.cli.consume_output import ArrowOutput, Output
from kafkapp.cli.consume_places import STORED, Range, named, starts, stops
from kafkapp.cli.consume_tally import ReadTally, progress
from kafkapp.cli.request import UNREACHABLE, Misuse, message_of, require_servers
from kafkapp.cli.signals import Interrupts
from kafkapp.cli.streams import note
from kafkapp.common.texts import one_line
from kafkapp.config.redaction import redact

POLL_SECONDS = 0.1          # without a look at signals, and at who reads the output
COMMIT_SECONDS = 1.0        # between two commits, where auto.commit.interval.ms does not say
INTERVAL = "auto.commit.interval.ms"
COMMIT_TIMEOUT = 5.0        # seconds
STUCK_SECONDS = 1.0         # that nobody reads the output, after a signal
MOST_RECORDS = 100_000      # of a batch
TOPICS_SECONDS = 2.0        # between two looks whether topics that have an end are still there
GONE_SECONDS = 5.0          # that one is missing before it counts as deleted: a broker that has just begun knows none
REBALANCING = (ErrorCode.RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, ErrorCode.RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION)


@dataclass
class ConsumeOptions:
    """The parsed options."""

    topics: list[str]
    properties: dict[str, Any]
    output: Output
    headers: bool
    range: Range
    partitions: list[int]
    group: bool
    commit: bool
    count: int | None
    exit_at_end: bool
    timeout: float
    quiet: bool


class Run:
    """`run` does all of it and returns the exit status."""

    def __init__(self, request: ConsumeOptions) -> None:
        self.request, self.output = request, request.output
        self.tally = ReadTally()
        self.interrupts = Interrupts()
        self.causes = Causes(request.properties)
        self.consumer: KafkaConsumer
        self.stops: dict[TopicPartition, int] = {}      # offsets that are not read any more
        self.at_end: set[TopicPartition] = set()
        self.topics = {topic for topic in request.topics if not topic.startswith("^")}      # and what is read of others
        self.topics_asked_at = time.monotonic()
        self.missing_since: dict[str, float] = {}       # by topic
        self.pending: dict[TopicPartition, int] = {}    # written, and not committed
        self.committed_at, self.commit_seconds = time.monotonic(), COMMIT_SECONDS
        self.end_reason = ""    # why the run ended early, except for a signal
        self.status = 0         # exit status for that reason

    def run(self) -> int:
        request = self.request
        require_servers(request.properties, "")
        with self.interrupts.watched(), ExitStack() as stack:
            self._open_consumer()
            stack.callback(self.consumer.close)
            try:
                with self.causes.told(lambda: True, lambda: self.tally.records):
                    places = self._check_topics()
                    self._open_output()
                    self._begin(places)
                    self.interrupts.be_patient(STUCK_SECONDS, self.output.descriptor.be_careful)
                    self._read_all()
                    if not self.output.descriptor.is_file:
                        self._end_output()      # as long as a signal ends it: it may wait for a reader
                    self.interrupts.hold()
            except KeyboardInterrupt:
                if self.interrupts.signal is None:
                    raise
            self.interrupts.hold()
            self.tally.stop()
            if self.output.descriptor.is_file:
                self._end_output()
            self._commit_last()
        self._print_results()
        return 128 + self.interrupts.signal if self.interrupts.signal else self.status

    # -- the beginning ----------------------------------------------------------------------------

    def _open_consumer(self) -> None:
        try:
            self.consumer = KafkaConsumer({"error_cb": self.causes.on_error, **self.request.properties})
        except (KafkaException, TypeError, ValueError) as failure:
            raise Misuse(message_of(failure)) from None     # librdkafka's text, without secrets
        if INTERVAL in self.request.properties:
            self.commit_seconds = int(self.consumer.get_property(INTERVAL) or 0) / 1000

    def _check_topics(self) -> list[TopicPartition]:
        """The partitions that were asked for, of topics that are all there."""
        request = self.request
        names = [topic for topic in request.topics if not topic.startswith("^")]
        try:
            if not names:
                self.consumer.list_topics(request.timeout)      # an expression may match a topic later
            return [place for topic in names for place in self._places_of(topic)]
        except KafkaException as failure:
            raise self._unreachable(failure.error) from None

    def _places_of(self, topic: str) -> list[TopicPartition]:
        wanted = self.request.partitions
        try:
            numbers = sorted(self.consumer.fetch_broker_metadata(topic, self.request.timeout).partitions)
        except KafkaException as failure:
            if failure.error.code == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
                raise Misuse(f"topic {topic} is not there; `kafkapp produce -L` lists those that are") from None
            if failure.error.code < 0:
                raise
            raise Misuse(f"topic {topic}: {failure.error.message}") from None
        if missing := set(wanted).difference(numbers):
            raise Misuse(f"topic {topic} has partitions 0 to {numbers[-1]}, and not {min(missing)}")
        return [TopicPartition(topic, number) for number in wanted or numbers]

    def _unreachable(self, error: Error) -> Misuse:
        if error.code not in UNREACHABLE:
            return Misuse(redact(error.message, self.request.properties))
        servers = require_servers(self.request.properties)
        reason = (self.causes.error or error).message
        return Misuse(redact(f"no broker reachable at {servers} within {self.request.timeout:g} s: {reason}",
                             self.request.properties))

    def _open_output(self) -> None:
        if isinstance(self.output, ArrowOutput):
            self.output.open()

    def _begin(self, places: list[TopicPartition]) -> None:
        """Assign the partitions, or subscribe as a member of the group."""
        self.tally.start()
        request = self.request
        wanted, timeout = request.range, request.timeout
        try:
            if request.group and not request.partitions:
                self.consumer.subscribe(request.topics, self._on_rebalance)
                return
            if wanted.until is not None:
                self.stops = stops(self.consumer, places, wanted.until, timeout)
            if wanted.start == STORED or request.group and not wanted.given:
                self.consumer.assign(places)
            else:
                begin = starts(self.consumer, places, wanted, timeout)
                self.consumer.assign(begin)
                self._leave_out_what_is_over(begin)
        except KafkaException as failure:
            raise self._unreachable(failure.error) from None

    def _leave_out_what_is_over(self, begin: dict[TopicPartition, int | Offset]) -> None:
        for place, stop in self.stops.items():
            if begin[place] >= stop:
                self._end_partition(place)

    def _on_rebalance(self, event: RebalanceEvent, places: list[TopicPartition]) -> None:
        """Runs inside a poll: what earlier ones have returned is written by then."""
        if event is RebalanceEvent.Assigned:
            return
        self.at_end.difference_update(places)
        written = {place: self.pending.pop(place) for place in places if place in self.pending}
        if not written or not self.request.commit:
            return
        reason = "another member has the partitions already"
        if event is RebalanceEvent.Revoked:
            error = self._commit(written)
            reason = "" if error is None else error.message
        if reason:
            note(one_line(f"kafkapp: {self._uncommitted(written, reason)}"))

    # -- reading ----------------------------------------------------------------------------------

    def _read_all(self) -> None:
        try:
            if os.isatty(2) and not os.isatty(1):
                with progress(self.tally, self.request.count) as advance:
                    while self._read_more(advance):
                        pass
                return
            while self._read_more(lambda: None):
                pass
        except KafkaException as failure:
            self._end_early(1, redact(failure.error.message, self.request.properties))
        except OSError as failure:
            self._cannot_write(failure)

    def _read_more(self, advance: Callable[[], None]) -> bool:
        """Read a batch and write it. Returns whether there is more to be read."""
        request = self.request
        left = MOST_RECORDS if request.count is None else min(MOST_RECORDS, request.count - self.tally.records)
        try:
            batch = self.consumer.poll_batch(POLL_SECONDS, max_records=left, headers=request.headers)
        except KafkaException as failure:
            if failure.error.code != ErrorCode.RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
                raise
            note(f"nobody has read the output for too long, and the group goes on without this member: "
                 f"{one_line(failure.error.message)}")
            return True     # the next poll joins it again
        self._write(batch)
        advance()
        for place in batch.eofs:
            self._end_partition(place)
        if time.monotonic() - self.committed_at >= self.commit_seconds:
            self._commit(self.pending)
        if not batch and self.output.descriptor.has_no_reader():
            raise BrokenPipeError
        if self.interrupts.signal is not None or self.tally.records == request.count:
            return False
        return not self._is_at_end() and not self._has_lost_a_topic()

    def _is_at_end(self) -> bool:
        ends = self.at_end if self.request.exit_at_end else self.at_end.intersection(self.stops)
        assigned = self.consumer.assignment()
        return bool(assigned) and ends >= assigned

    def _has_lost_a_topic(self) -> bool:
        """Whether a topic was deleted, so that the end of its partitions never comes."""
        now = time.monotonic()
        if not (self.request.exit_at_end or self.stops) or now - self.topics_asked_at < TOPICS_SECONDS:
            return False
        self.topics_asked_at = now
        assigned = self.consumer.assignment()
        self.topics.update(place.topic for place in assigned)
        wanted = {place.topic for place in assigned.difference(self.at_end)} if assigned else self.topics
        try:
            for topic in sorted(wanted):
                self.consumer.fetch_broker_metadata(topic, POLL_SECONDS)
                self.missing_since.pop(topic, None)
        except KafkaException as failure:
            if failure.error.code != ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
                self.missing_since.clear()
            elif now - self.missing_since.setdefault(topic, now) >= GONE_SECONDS:
                self._end_early(1, f"topic {topic} is not there any more: it was deleted before its end was read")
                return True
        return False

    def _end_partition(self, place: TopicPartition) -> None:
        """Nothing more of it is to be read; what comes all the same is, where it ends because of no time."""
        self.at_end.add(place)
        if place in self.stops:
            self.consumer.pause([place])

    def _write(self, batch: ConsumedBatch) -> None:
        rows = self._rows_to_write(batch)
        try:
            self.output.write(batch, rows)
        except BaseException:
            written = (range(len(batch)) if rows is None else rows)[:self.output.complete]
            self.pending.update(self.tally.count(batch, written))
            raise
        if batch:
            self.pending.update(self.tally.count(batch, rows))

    def _rows_to_write(self, batch: ConsumedBatch) -> list[int] | None:
        """Those before the ends of their partitions; None: all."""
        over = [place for place, end in batch.ends.items() if end >= self.stops.get(place, end + 1)]
        if not over:
            return None
        for place in over:
            self._end_partition(place)
        topics, places = batch.topics, zip(batch.topic_indices, batch.partitions, batch.offsets, strict=True)
        return [row for row, (topic, partition, offset) in enumerate(places)
                if offset < self.stops.get(TopicPartition(topics[topic], partition), offset + 1)]

    # -- the end ----------------------------------------------------------------------------------

    def _commit(self, offsets: dict[TopicPartition, int]) -> Error | None:
        """Commit what was written, for the group if there is one. Returns what went wrong: it can be tried again."""
        self.committed_at = time.monotonic()
        if not self.request.commit or not offsets:
            return None
        try:
            self.consumer.commit_sync({(place.topic, place.partition): offset for place, offset in offsets.items()},
                                      COMMIT_TIMEOUT)
        except KafkaException as failure:
            return failure.error
        for place in list(offsets):
            self.pending.pop(place, None)
        return None

    def _commit_last(self) -> None:
        """As `_commit`, which a group does not take during a rebalance: polls see that through."""
        deadline = time.monotonic() + COMMIT_TIMEOUT
        while (error := self._commit(self.pending)) is not None:
            if error.code not in REBALANCING or time.monotonic() >= deadline:
                self._end_early(1, self._uncommitted(self.pending, error.message))
                return
            with suppress(KafkaException):
                self.consumer.poll_batch(POLL_SECONDS)      # of which nothing is written, nor committed

    def _uncommitted(self, offsets: dict[TopicPartition, int], reason: str) -> str:
        return (f"what was written of {', '.join(map(named, sorted(offsets)))} is not committed, and will be read "
                f"again: {redact(reason, self.request.properties)}")

    def _end_output(self) -> None:
        if self.status == 2 or self.status > 128:
            return      # it takes nothing
        try:
            self.output.close()
        except OSError as failure:
            self._cannot_write(failure)

    def _cannot_write(self, failure: OSError) -> None:
        if isinstance(failure, BrokenPipeError):
            self.status = 128 + signal.SIGPIPE      # as of any program whose reader has seen enough
            return
        last = f"the last record written is {self.tally.last}" if self.tally.last else "no record is written"
        self._end_early(2, f"{self.output.descriptor.name}: {failure.strerror or failure}: {last}")

    def _end_early(self, status: int, end_reason: str) -> None:
        if not self.status:
            self.status, self.end_reason = status, end_reason

    def _print_results(self) -> None:
        if self.status > 128:
            return
        if not self.request.quiet:
            note(self.tally.as_text())
        if self.end_reason:
            note(one_line(f"kafkapp: {self.end_reason}"))

