"""KafkaInstrumentor: traced classes by kafkapp's own names, by hand and by `opentelemetry-instrument`; and what it needs."""
from importlib.metadata import entry_points

import pytest
from helpers import run_python

import kafkapp
import kafkapp.aio

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kafkapp.opentelemetry import KafkaInstrumentor
from kafkapp.opentelemetry.producers import TracedSends

PROGRAM = """
import asyncio
import sys
import kafkapp, kafkapp.aio
from kafkapp import KafkaAsyncProducer, KafkaSyncProducer
from kafkapp.testing import MockCluster

async def in_loop(servers):
    async with kafkapp.aio.KafkaProducer(servers) as producer:
        await producer.send("t", b"v")

with MockCluster() as cluster:
    servers = {"bootstrap.servers": cluster.bootstrap_servers}
    with KafkaAsyncProducer(servers) as one, KafkaSyncProducer(servers) as two:
        one.send("t", b"v")
        two.send("t", b"v")
    asyncio.run(in_loop(servers))
    print([[name for name, _ in record.headers] for record in cluster.records("t")], flush=True)
"""
INSTRUMENTED = "[['traceparent'], ['traceparent'], ['traceparent']]\n"
PLAIN = "[[], [], []]\n"
NAMES = ((kafkapp, "KafkaAsyncProducer"), (kafkapp, "KafkaSyncProducer"), (kafkapp.aio, "KafkaProducer"))


def current():
    return [getattr(place, name) for place, name in NAMES]


def test_it_puts_traced_classes_in_place_and_takes_them_away(cluster, topic):
    exporter, provider, before = InMemorySpanExporter(), TracerProvider(), current()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = KafkaInstrumentor()
    assert KafkaInstrumentor() is instrumentor and not instrumentor.is_instrumented_by_opentelemetry
    instrumentor.instrument(tracer_provider=provider)
    try:
        instrumented = current()
        assert instrumentor.is_instrumented_by_opentelemetry
        assert all(issubclass(cls, TracedSends) and issubclass(cls, old) for cls, old in zip(instrumented, before, strict=True))
        assert [repr(cls) for cls in instrumented] == [repr(cls) for cls in before]
        instrumentor.instrument()       # again: nothing
        assert current() == instrumented
        with kafkapp.KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
            instrumentor.uninstrument()
            assert current() == before and not instrumentor.is_instrumented_by_opentelemetry
            producer.send(topic, b"v")      # of the class that it has
        assert [span.name for span in exporter.get_finished_spans()] == [f"send {topic}"]
        instrumentor.uninstrument()
        assert current() == before
        with kafkapp.KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
            producer.send(topic, b"v")
        assert len(exporter.get_finished_spans()) == 1
        instrumentor.instrument()
        assert all(issubclass(cls, TracedSends) for cls in current())
    finally:
        instrumentor.uninstrument()
    assert current() == before


def test_the_package_names_it():
    [entry] = [entry for entry in entry_points(group="opentelemetry_instrumentor") if entry.value.startswith("kafkapp")]
    assert entry.load() is KafkaInstrumentor


@pytest.mark.parametrize("disabled, said", [("", INSTRUMENTED), ("kafkapp", PLAIN)])
def test_opentelemetry_instrument_finds_it(tmp_path, monkeypatch, disabled, said):
    """An SDK of its own makes the spans."""
    pytest.importorskip("opentelemetry.instrumentation")
    (tmp_path / "program.py").write_text("from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
                                         "trace.set_tracer_provider(TracerProvider())\n" + PROGRAM)
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", disabled)
    monkeypatch.chdir(tmp_path)         # it puts the folder into the program's path, and the repository has a kafkapp without modules
    for name in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{name}_EXPORTER", "none")
    code = "import sys; from opentelemetry.instrumentation.auto_instrumentation import run; sys.argv[1:] = [sys.executable, sys.argv[1]]; run()"
    assert run_python(code, str(tmp_path / "program.py"), timeout=90) == said


def test_it_needs_opentelemetry_api_alone():
    """Without opentelemetry-instrumentation it is no BaseInstrumentor, and does the same."""
    code = """
import sys
sys.modules["opentelemetry.instrumentation"] = sys.modules["opentelemetry.instrumentation.instrumentor"] = None
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from kafkapp.opentelemetry import KafkaInstrumentor
trace.set_tracer_provider(TracerProvider())
instrumentor = KafkaInstrumentor()
assert [cls.__name__ for cls in type(instrumentor).__mro__] == ["KafkaInstrumentor", "Instrumentor", "object"]
assert KafkaInstrumentor() is instrumentor and instrumentor.instrumentation_dependencies() == ()
import kafkapp
before = kafkapp.KafkaSyncProducer
for again in range(2):
    instrumentor.instrument()
    assert instrumentor.is_instrumented_by_opentelemetry and kafkapp.KafkaSyncProducer is not before
for again in range(2):
    instrumentor.uninstrument()
    assert not instrumentor.is_instrumented_by_opentelemetry and kafkapp.KafkaSyncProducer is before
instrumentor.instrument()
"""
    assert run_python(code + PROGRAM, timeout=90) == INSTRUMENTED


def test_without_opentelemetry_api_it_says_what_to_install():
    code = """
import sys
sys.modules["opentelemetry"] = None
try:
    import kafkapp.opentelemetry
except ModuleNotFoundError as error:
    print(error)
"""
    assert run_python(code) == "kafkapp.opentelemetry needs opentelemetry-api: pip install 'kafkapp[otel]'\n"
