"""Modes of the command line: the three producers behind one interface.

A mode sends records, drains what is in flight and closes. Knows no files, counts or output.
"""
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from kafkapp import (
    Batch,
    BrokerMetadata,
    Error,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    ProducerRecord,
    SendOption,
)
from kafkapp.cli.rejects import LineId
from kafkapp.cli.signals import Interrupts
from kafkapp.producer.line_splitter import Lines

SIGNAL_CHECK_SECONDS = 0.1  # how long the main thread dispatches reports without a check for Ctrl-C
RECORDS_PER_POLL = 500  # records that are sent between two polls

BatchReport = Callable[[int, Lines, Batch], None]  # index of the batch's first line, the lines, the batch
Report = Callable[[Any, Error | None], None]


class AsyncMode:
    """The asynchronous producer: callbacks run on its background thread, a full queue blocks."""

    unreported = 0
    pending: LineId = 0

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaAsyncProducer(properties)
        self._held = interrupts.held
        self.outstanding: Callable[[], int] = self.producer.__len__
        self.send: Callable[[ProducerRecord, Report, SendOption], object] = self.producer.send

    def send_batch(self, lines: Lines, record: ProducerRecord, report: BatchReport, option: SendOption) -> Batch:
        """Send lines in one call, with what else the record has. Blocks while the queue is full."""
        return send_as_batch(self.producer, lines, record, partial(report, 0, lines), option, self._held)

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def drain(self) -> None:
        """Block until every record has its outcome; `message.timeout.ms` bounds that."""
        self.producer.flush()

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


class ManualMode:
    """The asynchronous producer with manual polling: callbacks run on this thread, between two sends."""

    unreported = 0
    pending: LineId = 0

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
        self.outstanding: Callable[[], int] = self.producer.__len__
        self._held = interrupts.held  # an exception in a callback would lose its count
        self._records_to_poll = RECORDS_PER_POLL

    def send(self, record: ProducerRecord, report: Report, option: SendOption) -> None:
        self._records_to_poll -= 1
        if self._records_to_poll == 0:
            self._poll(0)
        while error := self.producer.try_send(record, report, option):
            if error.code != ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL:
                raise KafkaException(error)
            self._poll(SIGNAL_CHECK_SECONDS)

    def send_batch(self, lines: Lines, record: ProducerRecord, report: BatchReport, option: SendOption) -> Batch:
        """Send lines, in as many calls as the room in the queue requires."""
        start = 0
        while True:
            rest = lines.rest(start)
            batch = send_as_batch(self.producer, rest, record, partial(report, start, rest), option, self._held)
            start += batch.next_index
            if start == len(lines):
                self._poll(0)
                return batch
            self._poll(SIGNAL_CHECK_SECONDS)

    def _poll(self, timeout: float) -> None:
        with self._held():
            self.producer.poll_events(timeout)
        self._records_to_poll = RECORDS_PER_POLL

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def drain(self) -> None:
        """Block until every record has its outcome. Flushes, since polling would wait for `linger.ms`."""
        while len(self.producer):
            with self._held():
                try:
                    self.producer.flush(SIGNAL_CHECK_SECONDS)
                except KafkaException as failure:
                    if failure.error.code != ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                        raise

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


def send_as_batch(producer: KafkaAsyncProducer, lines: Lines, record: ProducerRecord, report: Callable[[Batch], None],
                  option: SendOption, held: Callable[[], AbstractContextManager[None]]) -> Batch:
    """Send lines as a batch; `report` is called with it once, with signals held where none of them was enqueued."""
    values, keys = lines.columns()
    batch = producer.send_batch(record.topic, values, keys=record.key if keys is None else keys, callback=report,
                                partition=record.partition, headers=record.headers, option=option)
    if not batch.accepted:
        with held():
            report(batch)
    return batch


class SyncMode:
    """The synchronous producer: each send waits for the delivery report."""

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaSyncProducer(properties)
        self._held = interrupts.held
        self.unreported = 0  # 1 while a record is in flight, and after Ctrl-C has ended the wait for it
        self.pending: LineId = 0  # its id

    def send(self, record: ProducerRecord, report: Report, option: SendOption) -> None:
        self.unreported, self.pending = 1, record.id
        try:
            metadata = self.producer.send(record)
        except Exception:   # Ctrl-C is none
            self.unreported = 0
            raise
        with self._held():
            self.unreported = 0
            report(metadata, None)

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def outstanding(self) -> int:
        return self.unreported

    def drain(self) -> None:
        """Nothing is in flight between two sends."""

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


Mode = AsyncMode | ManualMode | SyncMode
MODES: dict[str, type[AsyncMode] | type[ManualMode] | type[SyncMode]] = {
    "async": AsyncMode, "manual": ManualMode, "sync": SyncMode}
