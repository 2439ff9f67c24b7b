"""Spans of what is sent: how one starts, puts its context into headers, and ends exactly once.

By OpenTelemetry's semantic conventions for messaging and Kafka. Knows no producer.
"""
from collections.abc import Callable
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.propagators.textmap import Setter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from kafkapp.common.errors import Error, KafkaException
from kafkapp.common.headers import Header
from kafkapp.producer.batch import Batch
from kafkapp.producer.record import ProducerRecord
from kafkapp.producer.record_metadata import RecordMetadata

HeaderList = list[Header | tuple[str, Any]]

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
CLIENT_ID = "messaging.client.id"
BATCH_SIZE = "messaging.batch.message_count"
OFFSET = "messaging.kafka.offset"
KEY = "messaging.kafka.message.key"
TOMBSTONE = "messaging.kafka.message.tombstone"
ERROR_TYPE = "error.type"
OTHER = "_OTHER"        # of the conventions: an error without a name


class HeaderSetter(Setter[HeaderList]):
    """Sets a header for a propagator, in the place of those of its name, which came from elsewhere."""

    def set(self, carrier: HeaderList, key: str, value: str) -> None:
        carrier[:] = [header for header in carrier if name_of(header) != key]
        carrier.append((key, value.encode()))


SETTER = HeaderSetter()


def name_of(header: Header | tuple[str, Any]) -> str:
    return header.key if isinstance(header, Header) else header[0]


def suppressed() -> bool:
    """Whether this is the sending of an exporter, say, which must have no spans."""
    return bool(context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))


def start_span(tracer: Tracer, client_id: str, topic: str, record: ProducerRecord | None = None) -> Span:
    """A span for a record, or for a batch, whose parent is the current one."""
    attributes: dict[str, Any] = {SYSTEM: "kafka", OPERATION_NAME: "send", OPERATION_TYPE: "send", DESTINATION: topic,
                                  CLIENT_ID: client_id}
    if record is not None:
        key = record.key
        if isinstance(key, bytes):
            try:
                key = key.decode()
            except UnicodeDecodeError:
                key = None      # the conventions want none that is no text
        if isinstance(key, str):
            attributes[KEY] = key
        if record.value is None:
            attributes[TOMBSTONE] = True
    return tracer.start_span(f"send {topic}", kind=SpanKind.PRODUCER, attributes=attributes)


def inject(span: Span, headers: HeaderList) -> None:
    """Put the span's context into a list of headers."""
    propagate.inject(headers, trace.set_span_in_context(span), SETTER)


class Sending:
    """A span that ends once: with the delivery report of its record, whose callback this is, or by what comes first.

    `reported`: whether each record is reported. If only failures are (`delivery.report.only.error`), one that is
    dropped without a report was delivered.
    """

    __slots__ = ("_callback", "_open", "_reported")

    def __init__(self, span: Span, callback: Callable[..., object] | None = None, reported: bool = True) -> None:
        self._open = [span]
        self._callback = callback
        self._reported = reported

    def __call__(self, metadata: RecordMetadata, error: Error | None) -> None:
        try:
            self.end(metadata, error)
        finally:
            if self._callback is not None:
                self._callback(metadata, error)

    def __enter__(self) -> None:
        """Around the call that sends: what it raises ends the span."""

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if exc is not None:
            self.end(None, exc)

    def end(self, metadata: RecordMetadata | None, error: object = None) -> None:
        """End the span: of a record with its metadata, or with an Error or an exception."""
        if (span := self.take()) is None:
            return
        if span.is_recording():
            if error is not None:
                set_error(span, error)
            elif metadata is not None:
                span.set_attribute(PARTITION, str(metadata.partition))
                if metadata.offset is not None:
                    span.set_attribute(OFFSET, metadata.offset)
        span.end()

    def take(self) -> Span | None:
        """The span, for the one that ends it. Thread-safe: list.pop() is."""
        try:
            return self._open.pop()
        except IndexError:
            return None

    def __del__(self) -> None:
        if self._open:
            error = "the producer was dropped, or the event loop has ended, before the delivery report"
            self.end(None, error if self._reported else None)


class BatchSending(Sending):
    """The same for a batch, whose callback gets the Batch."""

    __slots__ = ()

    def __call__(self, batch: Batch) -> None:       # type: ignore[override]
        try:
            self.end_batch(batch)
        finally:
            if self._callback is not None:
                self._callback(batch)

    def end_batch(self, batch: Batch) -> None:
        """End the span of a batch that is done, or of which nothing was accepted."""
        if (span := self.take()) is None:
            return
        if span.is_recording():
            span.set_attribute(BATCH_SIZE, len(batch))
            if batch.errors.tobytes().strip(b"\0"):
                failures = batch.failures()
                set_error(span, failures[0][1], f"{len(failures)} of {len(batch)} records failed, the first: ")
        span.end()


def set_error(span: Span, error: object, before: str = "") -> None:
    if isinstance(error, KafkaException):
        error = error.error
    if isinstance(error, Error):
        kind = error.code.name
    elif isinstance(error, BaseException):
        kind = type(error).__qualname__ if type(error).__module__ == "builtins" else (
            f"{type(error).__module__}.{type(error).__qualname__}")
    else:
        kind = OTHER
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, f"{before}{error}"))
