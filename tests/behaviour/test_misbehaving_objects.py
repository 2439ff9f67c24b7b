"""Misbehaving objects wherever a producer runs Python code: buffers, headers, callbacks, logs, finalizers.

They raise, send, flush, close, change what is read and release what is held. Each case runs in a Python of its own,
which must end by itself, in time, with the outcome that the case expects: no crash, no hang, nothing held.
"""
import importlib.machinery
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from misbehaving import run_case
from helpers import needs, shared_library

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    """A folder with the module `exporter`, where Python has no buffers written in Python."""
    folder = tmp_path_factory.mktemp("exporter")
    if sys.version_info >= (3, 12):
        return folder
    compiler = shutil.which("gcc") or shutil.which("cc")
    includes = [Path(sysconfig.get_path("include")), *(ROOT / "build").glob("python*-headers/usr/include/python*")]
    includes = [part for include in includes if (include / "Python.h").exists() for part in (include, include.parent)]
    if not (compiler and includes):
        assert not os.environ.get("CI"), "CI has a compiler and Python.h"
        pytest.skip("no C compiler or Python.h here")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    shared_library(ROOT / "tests" / "native" / "exporter.c", folder / f"exporter{suffix}", *(f"-I{part}" for part in includes))
    return folder


BUFFERS = {
    "raises": "def act(): raise OSError('mine')",
    "re-enters": "def act(): evil(producer)",
    "closes": "def act(): evil(producer, close=True)",
    "changes the record": "def act(): record.value = record.key = None; record.headers = [('x', b'y')]; record.partition = 3",
    "releases itself": "def act(): record.value = None; gc.collect()",
    "resizes": "def act(): attempt(lambda: memory.extend(bytes(10**6)))",
    "sends itself": "def act():\n    global depth\n    if depth < 5:\n        depth += 1\n        attempt(lambda: producer.send(record, callback))\n        depth -= 1",
    "closes in another thread": "def act():\n    t = threading.Thread(target=lambda: producer.close(0)); t.start(); t.join(2)",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
@pytest.mark.parametrize("when", ["acquired", "released"])
@pytest.mark.parametrize("what", BUFFERS)
def test_buffers(exporter, what, when, kind):
    run_case(exporter, f'''
    {"".join(chr(10) + "    " + line for line in BUFFERS[what].splitlines())}
    armed = False
    memory = bytearray(100)
    class Evil(Exporter):
        def __buffer__(self, flags):
            if armed and {when == "acquired"}:
                act()
            return memoryview(memory)
        def __release_buffer__(self, view):
            view.release()
            if armed and {when != "acquired"}:
                act()
    producer = new(kind, message_timeout_ms=300)
    for place in ("value", "key", "header"):
        armed = False
        record = ProducerRecord("t", headers=[("h", b"v")])
        if place == "header":
            record.headers.append(("evil", Evil()))
        else:
            setattr(record, place, Evil())
        armed = True
        if kind == "sync":
            attempt(lambda: producer.send(record, 2))
        else:
            attempt(lambda: producer.send(record, callback), lambda: producer.try_send(record, callback, SendOption.ToCopyRecordValue))
            if hasattr(producer, "send_batch"):
                attempt(lambda: producer.send_batch("t", [record.value, b"x"]))
    end(producer)
    assert all(isinstance(exc, (OSError, RuntimeError, KafkaException, BufferError, TypeError)) for exc in raised), raised
    assert all(type(exc) in (OSError, RuntimeError, BufferError) for exc in unraised), unraised
    memory.append(1)                # nobody holds it
    del record
    ''', kind)


HEADERS = {
    "an iterator that raises": ("list", "yield ('a', b'1'); raise OSError('mine')"),
    "an iterator that closes": ("list", "yield ('a', b'1'); evil(producer, close=True); yield ('b', bytearray(b'2'))"),
    "an iterator that re-enters": ("list", "evil(producer); yield ('a', b'1')"),
    "an iterator that clears": ("list", "self.clear(); record.headers = None; yield ('a', bytearray(b'1')); gc.collect()"),
    "a pair that closes": ("pair", "producer.close(0); yield 'a'; yield b'1'"),
    "a pair that raises": ("pair", "yield 'a'; raise OSError('mine')"),
    "a pair that clears": ("pair", "record.headers.clear(); gc.collect(); yield 'a' * 100; yield bytes(100)"),
}


@pytest.mark.parametrize("kind", ["Auto", "sync"])
@pytest.mark.parametrize("what", HEADERS)
def test_headers(tmp_path, what, kind):
    base, body = HEADERS[what]
    run_case(tmp_path, f'''
    armed = False
    class Evil({"list" if base == "list" else "tuple"}):
        def __iter__(self):
            if not armed:
                yield from (() if {base == "list"} else ("a", b"1"))
                return
            {body}
    producer = new(kind, message_timeout_ms=300)
    for _ in range(3):
        armed = False
        record = ProducerRecord("t", value=bytearray(b"v"), headers=[("first", b"1")])
        record.headers.append({"('plain', b'2')" if base == "list" else "Evil(('a', b'1'))"})
        armed = True
        {"attempt(lambda: setattr(record, 'headers', Evil([1])), lambda: ProducerRecord('t', headers=Evil([1])))" if base == "list" else ""}
        attempt(lambda: producer.send(record))
    end(producer)
    assert all(isinstance(exc, (OSError, RuntimeError, KafkaException)) for exc in raised), raised
    assert not unraised
    ''', kind)


CALLBACKS = {
    "re-enters": "evil(producer)", "closes": "evil(producer, close=True)", "raises": "raise OSError('mine')",
    "exits": "sys.exit(3)", "interrupts": "raise KeyboardInterrupt", "releases the producer": "box.clear(); gc.collect()",
    "replaces itself": "Evil.__call__ = lambda *_: None; gc.collect()", "sends itself": "producer.send(metadata.record_id, self) if len(calls) < 50 else None",
    "closes in a thread": "threading.Thread(target=producer.close, args=(0,)).start()",
    "recurses": "self(metadata, error)",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
@pytest.mark.parametrize("what", CALLBACKS)
def test_callbacks(tmp_path, what, kind):
    run_case(tmp_path, f'''
    calls = []
    class Evil:
        def __call__(self, metadata, error):
            calls.append(error)
            {CALLBACKS[what]}
    producer = new(kind, message_timeout_ms=300)
    box = [producer]
    for i in range(20):
        record = ProducerRecord("t", value=bytearray(b"v"), headers=[("h", b"v")])
        record.id = record
        attempt(lambda: producer.send(record, Evil()))
    deadline = time.monotonic() + 10
    while len(producer) and time.monotonic() < deadline:
        try:
            producer.poll_events(0.2) if kind == "Manual" else time.sleep(0.05)
        except BaseException as exc:
            raised.append(exc)
    try:
        producer.purge()
        producer.flush(5)
    except BaseException as exc:
        raised.append(exc)
    time.sleep(0.1)
    end(producer)
    assert len(calls) >= {1 if what == "replaces itself" else 20}, len(calls)
    {"assert (raised if kind == 'Manual' else unraised), (raised, unraised)" if what in ("raises", "exits", "interrupts", "recurses") else ""}
    ''', kind)


FINALIZERS = {"re-enters": "evil(producer)", "closes": "evil(producer, close=True)", "raises": "raise OSError('mine')",
              "sends": "attempt(lambda: producer.send(ProducerRecord('t', value=bytearray(b'v'), id=Evil() if len(gone) < 30 else None), callback))"}


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
@pytest.mark.parametrize("what", FINALIZERS)
def test_finalizers(tmp_path, what, kind):
    """Of the value, the id and the callback: each goes with the last reference, which the producer held."""
    run_case(tmp_path, f'''
    gone = []
    class Evil:
        def __del__(self):
            gone.append(1)
            {FINALIZERS[what]}
        def __call__(self, *report):
            pass
    class Bytes(bytes):
        __del__ = Evil.__del__
    class Array(bytearray):
        __del__ = Evil.__del__
    producer = new(kind, message_timeout_ms=300)
    for i in range(5):
        for value in (Bytes, Array):
            if kind == "sync":
                attempt(lambda: producer.send(ProducerRecord("t", value=value(b"v"), id=Evil()), 0.05))
            else:
                attempt(lambda: producer.send(ProducerRecord("t", value=value(b"v"), id=Evil()), Evil()))
                attempt(lambda: producer.send(ProducerRecord("t", value=value(b"v" * 2_000_000), id=Evil()), Evil()))
                attempt(lambda: producer.send(ProducerRecord("t", 7, value=Value(value(b"v")), id=Evil())))
    gc.collect()
    end(producer)
    assert len(gone) >= 10
    ''', kind)


LOGS = {"re-enters": "evil(box[0]) if box else None", "closes": "evil(box[0], close=True) if box else None", "raises": "raise OSError('mine')",
        "exits": "sys.exit(3)"}


@pytest.mark.parametrize("where", ["log_cb", "error_cb", "stats_cb", "logging",
                                   pytest.param("oauthbearer_token_refresh_cb", marks=needs("sasl_oauthbearer"))])
@pytest.mark.parametrize("what", LOGS)
def test_logs_errors_statistics_and_tokens(tmp_path, what, where):
    run_case(tmp_path, f'''
    import logging
    box, calls = [], []
    def act(*said):
        calls.append(said)
        if len(calls) < 50:
            {LOGS[what]}
        return ("token", time.time() + 100, "me", {{}})
    class Handler(logging.Handler):
        def emit(self, record):
            act()
    properties = NOWHERE | {{"debug": "all", "log_level": 7, "statistics.interval.ms": 20, "message.timeout.ms": 300}}
    if {where == "logging"}:
        logging.getLogger("kafkapp").addHandler(Handler())
        logging.getLogger("kafkapp").setLevel(1)
    else:
        properties[{where!r}] = act
        logging.disable()
    if {where.startswith("oauth")}:
        properties |= {{"security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER"}}
    for polling in EventsPollingOption:
        calls.clear()
        producer = KafkaAsyncProducer(properties, polling)
        box[:] = [producer]
        attempt(lambda: producer.send(ProducerRecord("t", value=bytearray(b"v")), callback))
        deadline = time.monotonic() + 10
        while not calls and time.monotonic() < deadline:
            attempt(lambda: producer.poll_events(0.05)) if polling == EventsPollingOption.Manual else time.sleep(0.01)
        assert calls
        for _ in range(10):
            attempt(lambda: producer.poll_events(0.02)) if polling == EventsPollingOption.Manual else time.sleep(0.02)
        box.clear()
        end(producer)
    assert all(isinstance(exc, (RuntimeError, KafkaException)) for exc in raised), raised
    ''')


def test_control_a_crash_a_failure_and_an_early_end_are_detected(tmp_path):
    for code, said in (("os.kill(os.getpid(), 11)", "Segmentation"), ("assert not 'held'", "AssertionError"), ("os._exit(0)", "^$")):
        with pytest.raises(AssertionError, match=said):
            run_case(tmp_path, "import os\n" + code)
