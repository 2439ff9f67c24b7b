"""Free-threaded CPython: the GIL stays off; threads share producers, records and batches without crash or lost report.

Fault F53. All but the first run on a Python with a GIL too; `PYTHON_GIL=0` where a package would switch it on.
docs/internals/reliability.md says how to run the others on a free-threaded Python.
"""
import json
import subprocess
import sys
import sysconfig

import pytest
from helpers import ROOT, run_python

FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
MODULES = sorted(f"kafkapp.{path.relative_to(ROOT / 'kafkapp').with_suffix('').as_posix().replace('/', '.')}"
                 for path in (ROOT / "kafkapp").rglob("*.pyx"))

IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sys._is_gil_enabled())
"""

UNDECLARED = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "undeclared", 0, -1, 0, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit_undeclared(void) { return PyModule_Create(&module); }
"""


@pytest.mark.skipif(not FREE, reason="this Python has a GIL")
def test_the_gil_stays_off(monkeypatch):
    monkeypatch.delenv("PYTHON_GIL", raising=False)
    assert len(MODULES) > 20
    assert run_python(IMPORT, *MODULES, "kafkapp.aio", "kafkapp.cli.main", flags=("-W", "error")) == "False\n"


@pytest.mark.skipif(not FREE, reason="this Python has a GIL")
def test_control_a_module_that_does_not_say_so_switches_it_on(monkeypatch, tmp_path):
    (tmp_path / "undeclared.c").write_text(UNDECLARED)
    subprocess.run(["gcc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", tmp_path / "undeclared.c", "-o",
                    tmp_path / "undeclared.so"], check=True)
    monkeypatch.delenv("PYTHON_GIL", raising=False)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{IMPORT}"
    assert run_python(code, "undeclared", *MODULES[:1], flags=("-W", "ignore")) == "True\n"


# Four threads change what four others send. The payloads are made at run time: constants are immortal, and have no count.
SHARED = """
import gc, json, random, sys, threading
from kafkapp import *

kind, bootstrap, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
dice = random.Random(seed)
sys.setswitchinterval(1e-5)

def value(n):
    return [bytes([n]) * 100, bytearray([n]) * 200, memoryview(bytearray([n]) * 50), Value(bytes([n]) * 30), str(n) * 99][n % 5]

payloads = [value(n) for n in range(20)]
plain = [p for p in payloads if isinstance(p, bytes)]
names = [f"t-{n}" for n in range(3)]
gc.collect()
before = [sys.getrefcount(p) for p in payloads]

made = {"bootstrap.servers": bootstrap, "linger.ms": 1, "message.timeout.ms": 60000, "log_cb": lambda *args: None,
        "queue.buffering.max.messages": 2000}
option = EventsPollingOption[kind]
producers = [KafkaAsyncProducer(made, option) for _ in range(2)]
records = [ProducerRecord(names[0], value=b"v") for _ in range(2)]
headers, items = [("h", b"v")], list(payloads)
stop, lock = threading.Event(), threading.Lock()
accepted, reported, done, unexpected = [0], [0], [], []

def count(where, n=1):
    with lock:
        where[0] += n

def change(seed):
    mine = random.Random(seed)
    record = mine.choice(records)
    while not stop.is_set():
        what = mine.randrange(10)
        if what < 2:
            record.value = mine.choice(payloads + [None])
        elif what == 2:
            for n in range(100):        # nobody but the record has these: they are gone with the next one
                record.value, record.key = bytes([n]) * 100, bytes([n]) * 50
        elif what == 3:
            record.key = mine.choice(payloads + [None])
        elif what == 4:
            record.headers = mine.choice([None, headers, [("a", b"b")] * 3])
        elif what == 5:
            record.headers.append(("c", mine.choice(plain)))
            str(record), repr(record)
        elif what == 6:
            record.__init__(mine.choice(names), None, None, mine.choice(payloads), headers=headers)
        elif what == 7:
            record.id, record.partition, record.timestamp = object(), mine.choice([None, 0]), mine.choice([None, 5])
            record.id, record.partition, record.timestamp
        elif what == 8:
            items[mine.randrange(20)] = mine.choice(payloads)
            headers.append(("h", mine.choice(plain)))
            if len(headers) > 20:
                del headers[:]
        else:
            items.append(mine.choice(payloads))
            if len(items) > 50:
                del items[20:]

def send(seed):
    mine = random.Random(seed)
    while not stop.is_set():
        producer, record = mine.choice(producers), mine.choice(records)
        what = mine.randrange(20)
        try:
            if what < 16:
                producer.send(record, lambda metadata, error: count(reported), mine.choice(list(SendOption)),
                              **({"timeout": 0.05} if kind == "Auto" else {}))
                count(accepted)
            elif what < 18:
                batch = producer.send_batch(mine.choice(names), items, headers=headers, option=mine.choice(list(SendOption)),
                                            callback=lambda batch: done.append(batch), timeout=0.05)
                if batch.accepted:
                    count(accepted)
                    if mine.random() < 0.1:
                        batch.wait(0.01)
                batch.failures(), repr(batch), batch.done
            else:
                mine.choice([lambda: len(producer), lambda: repr(producer), lambda: producer.flush(0.001), gc.collect])()
            if kind == "Manual":
                producer.poll_events(0)
        except KafkaException:
            if kind == "Manual":
                producer.poll_events(0.01)

def guarded(work, seed):
    try:
        work(seed)
    except BaseException as error:
        unexpected.append(repr(error))
        stop.set()

threads = [threading.Thread(target=guarded, args=(work, seed * 100 + n)) for n in range(4) for work in (change, send)]
for thread in threads:
    thread.start()
stop.wait(seconds)
stop.set()
for thread in threads:
    thread.join(30)
alive = sum(thread.is_alive() for thread in threads)
for producer in producers:
    producer.close(10)
ledgers = [count for producer in producers for count in producer._ledger().values()]
for batch in done:
    assert batch.done and all(error not in (-190,) for error in batch.errors)
total = len(done) + reported[0]
del batch, producer, producers, records, headers, items, threads, done
gc.collect()
after = [sys.getrefcount(p) for p in payloads]
for payload in payloads:        # free again: CPython 3.13 counts their exports without a lock of its own
    if isinstance(payload, bytearray):
        payload.append(0)
    elif isinstance(payload, memoryview):
        payload.release()
print(json.dumps({"alive": alive, "unexpected": unexpected, "accepted": accepted[0], "reported": total, "held": sum(ledgers),
                  "counts": [b - a for a, b in zip(before, after)]}))
"""


def shared(kind, bootstrap, seed, seconds, monkeypatch):
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    return json.loads(run_python(SHARED, kind, bootstrap, seed, seconds, timeout=60 + seconds))


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_records_that_one_thread_changes_while_another_sends_them(broker, faults, monkeypatch, kind):
    sent = 0
    for _ in range(faults.rounds(1, 60)):
        found = shared(kind, broker.bootstrap_servers, faults.random.randrange(2**20), 1.5, monkeypatch)
        sent += found["accepted"]
        assert found["accepted"] == found["reported"] > 100
        assert not (found["alive"] or found["unexpected"] or found["held"] or any(found["counts"])), found
    faults.figure(accepted=sent)


def test_control_a_reference_too_many_is_counted(broker, monkeypatch):
    leak = SHARED.replace("gc.collect()\nafter", "kept = payloads[:1] * 3\nafter")
    assert leak != SHARED
    monkeypatch.setattr(sys.modules[__name__], "SHARED", leak)
    found = shared("Auto", broker.bootstrap_servers, 1, 0.3, monkeypatch)
    assert found["counts"][0] == 3


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

CODE = '''
import os
try:
    import kafkapp
except ImportError as error:
    os.write(1, f"{type(error).__name__}: {error}".encode())
else:
    os.write(1, b"imported")
'''
if sys.argv[1] == "before":
    import kafkapp
interpreters.run_string(interpreters.create(), CODE)
if sys.argv[1] == "after":
    try:
        import kafkapp
    except ImportError as error:
        print("then", error)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sub_interpreter_is_refused_and_does_no_harm(when):
    said = run_python(SUBINTERPRETER, when)
    if when == "after" and said.startswith("imported"):     # CPython 3.11: the first to come has it, and no other
        said = said.removeprefix("imported").replace("then", "ImportError:")
    assert said.startswith("ImportError: ") and "interpreter" in said, said
