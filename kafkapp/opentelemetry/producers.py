"""Traced producers: subclasses whose sends have spans. They know calls, records and headers; of spans, Sending."""
from asyncio import CancelledError
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, ClassVar, NamedTuple

from opentelemetry.trace import Span, Tracer

from kafkapp.aio.futures import SendFuture
from kafkapp.aio.producer import KafkaProducer
from kafkapp.common.headers import Header
from kafkapp.opentelemetry.spans import BatchSending, HeaderList, Sending, inject, name_of, start_span, suppressed
from kafkapp.producer.async_producer import KafkaAsyncProducer
from kafkapp.producer.batch import Batch
from kafkapp.producer.record import ProducerRecord
from kafkapp.producer.record_future import RecordFuture
from kafkapp.producer.sync_producer import KafkaSyncProducer

FIELDS = ("topic", "partition", "key", "value", "id", "headers", "timestamp")
FIELDS_BY_POSITION = ("topic", "value")


class Call(NamedTuple):
    """The arguments of a send: a record that the call may change, and the others."""

    record: ProducerRecord
    arguments: tuple[Any, ...]
    named: dict[str, Any]


def call_of(arguments: tuple[Any, ...], named: dict[str, Any]) -> Call | None:
    """Take the record out of the arguments of a send.

    Returns:
        None: there is none, and the producer raises what it has to say of that; or the call is not to be traced.
    """
    if suppressed():
        return None
    if arguments and isinstance(arguments[0], ProducerRecord):
        return Call(copy(arguments[0]), arguments[1:], named)
    if not arguments and isinstance(record := named.get("record"), ProducerRecord):
        return Call(copy(record), (), {name: value for name, value in named.items() if name != "record"})
    if len(arguments) > 2 or (len(arguments) == 2 and callable(arguments[1])):
        return None
    fields = {name: named[name] for name in FIELDS if name in named}
    by_position = dict(zip(FIELDS_BY_POSITION, arguments, strict=False))
    if by_position.keys() & fields.keys() or not {"topic", "value"} <= by_position.keys() | fields.keys():
        return None
    fields |= by_position
    try:
        return Call(ProducerRecord(**fields), (), {name: named[name] for name in named if name not in FIELDS})
    except Exception:
        return None


def is_callback(callback: object) -> bool:
    return callback is None or callable(callback)


def common_headers(headers: Any) -> HeaderList | None:
    """Headers that all records of a batch have, as a list of one's own; None: they are of another form, or none."""
    if headers is None:
        return []
    if not isinstance(headers, (dict, list, tuple)):
        return None
    pairs: list[Any] = list(headers.items() if isinstance(headers, dict) else headers)
    return pairs if all(map(is_header, pairs)) else None


def headers_with_context(span: Span, headers: Any) -> Any:
    """The headers of a batch, its span's context among them. Arrow's columns cannot be added to, and stay."""
    common = common_headers(headers)
    if common is not None:
        inject(span, common)
        return common or None
    if not isinstance(headers, (list, tuple)):
        return headers
    rows = [common_headers(row) for row in headers]     # those of each record
    context: HeaderList = []
    inject(span, context)
    names = {name_of(header) for header in context}
    added: list[HeaderList] = [[*(header for header in row if name_of(header) not in names), *context] for row in rows
                               if row is not None]
    return added if len(added) == len(rows) else headers        # else the producer raises what it has to say of one


def is_header(thing: Any) -> bool:
    return isinstance(thing, Header) or isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[0], str)


class TracedSends:
    """What traced producers share."""

    _tracer: ClassVar[Tracer]       # of the class that traced() makes
    _reports_all: bool | None = None

    def _start(self, record: ProducerRecord, callback: Callable[..., object] | None = None) -> Sending:
        """Start the span of a record, and put its context into the record's headers."""
        span = self._span(record.topic, record)
        headers: HeaderList = [*record.headers]
        inject(span, headers)
        if headers:
            record.headers = headers
        return Sending(span, callback, self._all_reported())

    def _start_batch(self, topic: str, named: dict[str, Any]) -> BatchSending:
        """The same for a batch: all its records have the one context."""
        span = self._span(topic)
        named["headers"] = headers_with_context(span, named.get("headers"))
        return BatchSending(span, named.get("callback"), self._all_reported())

    def _span(self, topic: str, record: ProducerRecord | None = None) -> Span:
        client_id: str = self.client_id      # type: ignore[attr-defined]
        return start_span(self._tracer, client_id, topic, record)

    def _all_reported(self) -> bool:
        if self._reports_all is None:
            only_errors = self.get_property("delivery.report.only.error")        # type: ignore[attr-defined]
            self._reports_all = only_errors != "true"
        return self._reports_all

    def _traced(self, send: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call of a method that takes a callback."""
        call = call_of(arguments, named)
        callback = None if call is None else call.arguments[0] if call.arguments else call.named.get("callback")
        if call is None or not is_callback(callback):
            return send(*arguments, **named)
        sending = self._start(call.record, callback)
        by_name = {} if call.arguments else {"callback": sending}
        by_position = (sending, *call.arguments[1:]) if call.arguments else ()
        with sending:
            error = send(call.record, *by_position, **{**call.named, **by_name})
        if error is not None:       # try_send()'s
            sending.end(None, error)
        return error

    def _traced_batch(self, send_batch: Callable[..., Batch], arguments: tuple[Any, ...],
                      named: dict[str, Any]) -> Batch:
        if (topic := topic_of_batch(arguments, named)) is None:
            return send_batch(*arguments, **named)
        sending = self._start_batch(topic, named)
        with sending:
            batch = send_batch(*arguments, **{**named, "callback": sending})
        if not batch.accepted:
            sending.end_batch(batch)        # its callback is not called
        return batch


def topic_of_batch(arguments: tuple[Any, ...], named: dict[str, Any]) -> str | None:
    """The topic of a call of send_batch; None: the call is not to be traced, or is refused."""
    topic = arguments[0] if arguments else named.get("topic")
    return topic if isinstance(topic, str) and is_callback(named.get("callback")) and not suppressed() else None


class TracedAsyncProducer(TracedSends, KafkaAsyncProducer):
    """A KafkaAsyncProducer whose records have spans."""

    def send(self, *arguments: Any, **named: Any) -> None:
        self._traced(super().send, arguments, named)

    def try_send(self, *arguments: Any, **named: Any) -> Any:
        return self._traced(super().try_send, arguments, named)

    def send_future(self, *arguments: Any, **named: Any) -> Any:
        if (call := call_of(arguments, named)) is None:
            return super().send_future(*arguments, **named)
        sending = self._start(call.record)
        with sending:
            future = super().send_future(call.record, *call.arguments, **call.named)
        future.add_done_callback(partial(end_with_send_future, sending))
        return future

    def send_batch(self, *arguments: Any, **named: Any) -> Batch:
        return self._traced_batch(super().send_batch, arguments, named)


class TracedSyncProducer(TracedSends, KafkaSyncProducer):
    """A KafkaSyncProducer whose records have spans."""

    def send(self, *arguments: Any, **named: Any) -> Any:
        if (call := call_of(arguments, named)) is None:
            return super().send(*arguments, **named)
        sending = self._start(call.record)
        with sending:
            metadata = super().send(call.record, *call.arguments, **call.named)
        sending.end(metadata)
        return metadata

    def send_batch(self, *arguments: Any, **named: Any) -> Batch:
        return self._traced_batch(super().send_batch, arguments, named)


class TracedLoopProducer(TracedSends, KafkaProducer):
    """A kafkapp.aio.KafkaProducer whose records have spans."""

    def send(self, *arguments: Any, **named: Any) -> Any:
        if (call := call_of(arguments, named)) is None:
            return super().send(*arguments, **named)
        sending = self._start(call.record)
        with sending:
            future = super().send(call.record, *call.arguments, **call.named)
        future.add_done_callback(partial(end_with_send_future, sending))
        return future

    def try_send(self, *arguments: Any, **named: Any) -> Any:
        return self._traced(super().try_send, arguments, named)

    def send_batch(self, *arguments: Any, **named: Any) -> Any:
        if (topic := topic_of_batch(arguments, named)) is None or "callback" in named:
            return super().send_batch(*arguments, **named)
        sending = self._start_batch(topic, named)
        with sending:
            future = super().send_batch(*arguments, **named)
        future.add_done_callback(partial(end_with_batch_future, sending))
        return future


def end_with_send_future(sending: Sending, future: SendFuture | RecordFuture) -> None:
    metadata, error = future._peek()        # without retrieving the exception, which the caller may forget to do
    sending.end(metadata, error)


def end_with_batch_future(sending: BatchSending, future: Any) -> None:
    if future.cancelled():
        sending.end(None, CancelledError("the future was cancelled; the records may be delivered all the same"))
    else:
        sending.end_batch(future.result())
