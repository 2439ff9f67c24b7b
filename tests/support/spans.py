"""Spans of OpenTelemetry's SDK: a fixture that keeps those of a test, and what is said of them."""
import gc
import logging

import pytest
from helpers import NOWHERE

from kafkapp.opentelemetry import traced

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

QUIET = {"log_level": 0, "error_cb": lambda error: None, "log_cb": lambda *line: None}
DEAD = {"bootstrap.servers": NOWHERE, **QUIET}


class Spans:
    """What a provider's spans have become."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def ended(self):
        return self.exporter.get_finished_spans()

    def one(self):
        [span] = self.ended
        return span

    def traced(self, cls):
        return traced(cls, self.provider)


class Counter(SpanProcessor):
    def __init__(self, started):
        self.started = started

    def on_start(self, span, parent_context=None):
        self.started.append(span)


@pytest.fixture(name="spans")
def spans_fixture(caplog):
    """Each span that has started has ended, once: the SDK warns of a second time."""
    spans = Spans()
    started = []
    spans.provider.add_span_processor(Counter(started))
    with caplog.at_level(logging.WARNING, "opentelemetry"):
        yield spans
    gc.collect()
    assert len(started) == len(spans.ended) and all(span.end_time for span in started)
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def parent_header(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}".encode()


def assert_delivered(span, topic, client_id, **more):
    assert (span.name, span.kind, span.status.status_code) == (f"send {topic}", SpanKind.PRODUCER, StatusCode.UNSET)
    expected = {"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
                "messaging.destination.name": topic, "messaging.client.id": client_id} | more
    assert dict(span.attributes) == expected


def failed(span, code):
    return span.status.status_code is StatusCode.ERROR and span.attributes["error.type"] == code.name and bool(span.status.description)
