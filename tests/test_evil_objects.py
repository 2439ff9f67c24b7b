"""Objects that misbehave wherever a producer runs Python code: buffers, headers, mappings, callbacks, logs, finalizers.

They raise, send, flush, close, change what is read and let go of what is held. Each case runs in a Python of its own,
which must end by itself, in time, with the outcome that the case expects: no crash, no hang, nothing held.
"""
import importlib.machinery
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

import kafkapp

HERE = Path(__file__).resolve().parent
SECONDS = 60

# What every case starts from. `evil()` does all that can be done to the producer, and keeps what was raised.
START = r'''
import faulthandler, gc, sys, threading, time, warnings
faulthandler.enable()
faulthandler.dump_traceback_later(50, exit=True)
warnings.simplefilter("ignore", ResourceWarning)
from kafkapp import *
Exporter = object
try:
    from exporter import Exporter
except ImportError:
    pass

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "message.timeout.ms": 60000, "linger.ms": 0}
unraised = []
sys.unraisablehook = lambda args: unraised.append(args.exc_value)
reports, raised = [], []

def callback(metadata, error):
    reports.append(error)

def new(kind, **more):
    properties = NOWHERE | {name.replace("_", "."): value for name, value in more.items()}
    if kind == "sync":
        return KafkaSyncProducer(properties)
    return KafkaAsyncProducer(properties, EventsPollingOption[kind])

def attempt(*calls):
    for call in calls:
        try:
            call()
        except Exception as exc:
            raised.append(exc)

depth = 0
def evil(producer, *, close=False):
    """Re-enter the producer by every call it has."""
    global depth
    if depth > 3:
        return
    depth += 1
    try:
        if isinstance(producer, KafkaSyncProducer):
            attempt(lambda: producer.send(ProducerRecord("other", value=bytearray(b"inner")), 0.01))
        else:
            attempt(lambda: producer.send(ProducerRecord("other", value=bytearray(b"inner")), callback),
                    lambda: producer.try_send(ProducerRecord("other", value=b"inner"), callback),
                    lambda: producer.poll_events(0))
        attempt(lambda: producer.flush(0), lambda: len(producer), lambda: repr(producer),
                lambda: producer.purge(), lambda: producer.get_property("acks"), gc.collect)
        if close:
            attempt(lambda: producer.close(0))
    finally:
        depth -= 1

def end(producer):
    attempt(lambda: producer.purge())
    attempt(lambda: producer.flush(10))
    attempt(lambda: producer.close(5))
    assert "closed" in repr(producer), producer
    left = {what: n for what, n in producer._ledger().items() if n}
    assert not left, left
'''


def run(tmp_path, code, kind="Auto"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(kafkapp.__file__).parent.parent)])}
    process = subprocess.run([sys.executable, "-X", "dev", "-c", START + f"kind = {kind!r}\n" + textwrap.dedent(code) + "\nprint('end')"],
                             env=environment, text=True, capture_output=True, timeout=SECONDS)
    assert process.returncode == 0 and process.stdout.endswith("end\n"), process.stdout + process.stderr[-4000:]


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    """A folder with the module `exporter`, where Python has no buffers written in Python."""
    folder = tmp_path_factory.mktemp("exporter")
    if sys.version_info >= (3, 12):
        return folder
    compiler = shutil.which("gcc") or shutil.which("cc")
    includes = [Path(sysconfig.get_path("include")), *(HERE.parent / "build").glob("python*-headers/usr/include/python*")]
    includes = [part for include in includes if (include / "Python.h").exists() for part in (include, include.parent)]
    if not (compiler and includes):
        assert not os.environ.get("CI"), "CI has a compiler and Python.h"
        pytest.skip("no C compiler or Python.h here")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", *(f"-I{part}" for part in includes), str(HERE / "exporter.c"), "-o",
                    str(folder / f"exporter{suffix}")], check=True, timeout=60)
    return folder


BUFFERS = {
    "raises": "def act(): raise OSError('mine')",
    "re-enters": "def act(): evil(producer)",
    "closes": "def act(): evil(producer, close=True)",
    "changes the record": "def act(): record.value = record.key = None; record.headers = [('x', b'y')]; record.partition = 3",
    "lets go of itself": "def act(): record.value = None; gc.collect()",
    "resizes": "def act(): attempt(lambda: memory.extend(bytes(10**6)))",
    "sends itself": "def act():\n    global depth\n    if depth < 5:\n        depth += 1\n        attempt(lambda: producer.send(record, callback))\n        depth -= 1",
    "closes in another thread": "def act():\n    t = threading.Thread(target=lambda: producer.close(0)); t.start(); t.join(20)",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
@pytest.mark.parametrize("when", ["taken", "given back"])
@pytest.mark.parametrize("what", BUFFERS)
def test_buffers(exporter, what, when, kind):
    run(exporter, f'''
    {"".join(chr(10) + "    " + line for line in BUFFERS[what].splitlines())}
    armed = False
    memory = bytearray(100)
    class Evil(Exporter):
        def __buffer__(self, flags):
            if armed and {when == "taken"}:
                act()
            return memoryview(memory)
        def __release_buffer__(self, view):
            view.release()
            if armed and {when != "taken"}:
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
    run(tmp_path, f'''
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
    "exits": "sys.exit(3)", "interrupts": "raise KeyboardInterrupt", "lets go of the producer": "box.clear(); gc.collect()",
    "replaces itself": "Evil.__call__ = lambda *_: None; gc.collect()", "sends itself": "producer.send(metadata.record_id, self) if len(calls) < 50 else None",
    "closes in a thread": "threading.Thread(target=producer.close, args=(0,)).start()",
    "recurses": "self(metadata, error)",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
@pytest.mark.parametrize("what", CALLBACKS)
def test_callbacks(tmp_path, what, kind):
    run(tmp_path, f'''
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
    run(tmp_path, f'''
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


@pytest.mark.parametrize("where", ["log_cb", "error_cb", "stats_cb", "logging", "oauthbearer_token_refresh_cb"])
@pytest.mark.parametrize("what", LOGS)
def test_logs_errors_statistics_and_tokens(tmp_path, what, where):
    run(tmp_path, f'''
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


OTHERS = {
    "mapping": """
        class Evil(dict):
            def keys(self):
                attempt(lambda: producer.flush(0)); gc.collect()
                return super().keys()
            def __getitem__(self, name):
                evil(producer)
                return super().__getitem__(name)
        with KafkaAsyncProducer(Evil(NOWHERE)) as other:
            evil(other)""",
    "mapping that raises": """
        class Evil(dict):
            def __getitem__(self, name):
                raise OSError("mine")
        attempt(lambda: KafkaAsyncProducer(Evil(NOWHERE)), lambda: KafkaSyncProducer(Evil(NOWHERE)))
        assert [type(exc) for exc in raised] == [OSError, OSError]""",
    "mapping that makes the producer": """
        class Evil(dict):
            def __getitem__(self, name):
                attempt(lambda: made.__init__(NOWHERE))
                return super().__getitem__(name)
        made = KafkaAsyncProducer.__new__(KafkaAsyncProducer)
        attempt(lambda: made.__init__(Evil(NOWHERE)))
        assert raised and all(type(exc) is RuntimeError for exc in raised), raised
        made.close(0)""",
    "index": """
        class Evil:
            def __index__(self):
                evil(producer, close=True)
                return 1
        record = ProducerRecord("t", value=b"v")
        attempt(lambda: setattr(record, "partition", Evil()), lambda: setattr(record, "timestamp", Evil()),
                lambda: producer.send(record), lambda: producer.flush(Evil()), lambda: ProducerRecord("t", Evil()))
        assert record.partition == 1""",
    "hash and equality of a topic": """
        class Evil(str):
            def __hash__(self):
                evil(producer, close=True)
                return 5
            def __eq__(self, other):
                evil(producer, close=True)
                return True
        attempt(lambda: producer.send(ProducerRecord(Evil("t"), value=b"v"), callback),
                lambda: producer.fetch_broker_metadata(Evil("t"), 0.1), lambda: producer.get_property(Evil("acks")),
                lambda: producer.send_batch(Evil("u"), [b"v"]))""",
    "time-out": """
        class Evil:
            def total_seconds(self):
                evil(producer, close=True)
                return 0.1
        attempt(lambda: producer.flush(Evil()), lambda: producer.close(Evil()), lambda: producer.fetch_broker_metadata("t", Evil()))
        class Lying:
            def total_seconds(self):
                return "long"
        attempt(lambda: producer.flush(Lying()), lambda: producer.flush(float("nan")))""",
    "repr of an option": """
        class Evil:
            def __repr__(self):
                evil(producer, close=True)
                return "evil"
        attempt(lambda: producer.send(ProducerRecord("t"), None, Evil()), lambda: producer.send(ProducerRecord("t"), action=Evil()))
        assert any(type(exc) is TypeError for exc in raised)""",
    "callable that is none": """
        class Meta(type):
            def __call__(cls, *a):
                evil(producer)
        class Evil(metaclass=Meta):
            pass
        attempt(lambda: producer.send(ProducerRecord("t", value=b"v"), Evil))""",
    "weak reference": """
        import weakref
        weakref.finalize(producer, lambda: 1)
        class Evil:
            pass
        held = Evil()
        watch = weakref.ref(held, lambda _: evil(producer, close=True))
        attempt(lambda: producer.send(ProducerRecord("t", value=b"v", id=held), callback))
        del held""",
    "cycle": """
        class Evil(bytearray):
            pass
        for _ in range(5):
            lost = new(kind, message_timeout_ms=100)
            value = Evil(b"v")
            value.producer = lost
            attempt(lambda: lost.send(ProducerRecord("t", value=value, id=value), lambda *report, lost=lost: reports.append(report)))
            del lost, value
        gc.collect()
        deadline = time.monotonic() + 20
        while sum("kafkapp" in thread.name for thread in threading.enumerate()) > 1 and time.monotonic() < deadline:
            gc.collect(); time.sleep(0.05)""",
    "threads that close what others use": """
        def use():
            for i in range(300):
                attempt(lambda: producer.send(ProducerRecord(f"t{i}", value=bytearray(b"v"))), lambda: producer.flush(0),
                        lambda: producer.poll_events(0), lambda: len(producer))
        threads = [threading.Thread(target=use) for _ in range(3)] + [threading.Thread(target=lambda: (time.sleep(0.01), producer.close(0)))
                                                                      for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join(30) for thread in threads]
        assert not any(thread.is_alive() for thread in threads)""",
    "metadata while another thread closes": """
        for _ in range(10):
            it = new(kind)
            threads = [threading.Thread(target=lambda: attempt(lambda: it.fetch_broker_metadata("t", 0.05))),
                       threading.Thread(target=lambda: attempt(lambda: it.close(0))), threading.Thread(target=lambda: attempt(lambda: it.close(0)))]
            [thread.start() for thread in threads]
            [thread.join(30) for thread in threads]
            it.close(0)""",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
@pytest.mark.parametrize("what", OTHERS)
def test_others(tmp_path, what, kind):
    run(tmp_path, "producer = new(kind, message_timeout_ms=300)\n" + textwrap.dedent(OTHERS[what]) + "\nend(producer)", kind)


@pytest.mark.parametrize("what", ["numpy", "mmap", "pickle", "ctypes"])
def test_buffers_of_others_are_held(tmp_path, what):
    """What could pull its memory away is refused while a record is in flight, and free afterwards."""
    run(tmp_path, f'''
    import ctypes, io, mmap, pickle
    producer = new("Auto", linger_ms=50000)
    if {what == "numpy"}:
        import numpy
        class Evil(numpy.ndarray):
            def __array_finalize__(self, other):
                evil(producer)
        memory = numpy.zeros(100, "u1").view(Evil)
        producer.purge(), producer.flush(5), reports.clear()
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(lambda: memory.resize(10**6, refcheck=False))
    elif {what == "mmap"}:
        memory = mmap.mmap(-1, 5000)
        producer.send(ProducerRecord("t", value=memory), callback)
        for call in (memory.close, lambda: memory.resize(10)):
            try:
                call()
            except (BufferError, SystemError):
                raised.append(1)
        assert len(raised) == 2
    elif {what == "pickle"}:
        memory = pickle.PickleBuffer(bytearray(100))
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(memory.release)
    else:
        memory = (ctypes.c_char * 100)()
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(lambda: ctypes.resize(memory, 10**6))
    assert len(producer) == 1
    end(producer)
    assert len(reports) == 1
    memory.close() if {what == "mmap"} else None
    ''')
