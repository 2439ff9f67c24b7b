"""Exhausted resources: no memory at the n-th allocation, no descriptors, no threads. A clean exception, then normal work.

Faults F46, F52. Each program runs in a process of its own; _testcapi lets single allocations fail.
"""
import sysconfig

import pytest
from helpers import run_python

pytest.importorskip("_testcapi")

START = """
import gc, resource, sys, threading, time
import _testcapi
from kafkapp import *
import kafkapp
from kafkapp.testing import MockCluster

kind = sys.argv[1]
quiet = {"log_cb": lambda *args: None, "error_cb": lambda *args: None}
unraisable = []
sys.unraisablehook = lambda args: unraisable.append(type(args.exc_value).__name__)

def make(bootstrap, **more):
    properties = {"bootstrap.servers": bootstrap, **quiet, **more}
    if kind == "sync":
        return KafkaSyncProducer(properties)
    return KafkaAsyncProducer(properties, EventsPollingOption[kind])

def failing(n, last, call):
    # The n-th allocation of Python's fails, and the ones up to `last` (0: all).
    gc.disable()
    _testcapi.set_nomemory(n, last)
    try:
        return call()
    except (MemoryError, KafkaException) as exc:
        return exc
    except RuntimeError as exc:             # how CPython says that a lock finds no memory
        assert "allocate lock" in str(exc), exc
        return exc
    finally:
        _testcapi.remove_mem_hooks()
        gc.enable()
"""

SENDS = START + """
cluster = MockCluster()
cluster.create_topic("t")
producer = make(cluster.bootstrap_servers, **{"linger.ms": 0})
payload = bytearray(b"v" * 10)
calls = []

def callback(metadata, error):
    calls.append(metadata.record_id if error is None else error)

def send():
    producer.send(ProducerRecord("t", 0, value=payload, id=number, headers=[("h", b"v")]), callback)
    return None

number = -1
send()
producer.flush()
send()
producer.flush()
accepted, failures = [], 0
for last in (False, True):
    for number in range(120):
        seen = failing(number, 0 if last else number + 1, send)
        if seen is None:
            accepted.append(number)
        else:
            failures += 1
            assert isinstance(seen, MemoryError), seen
        if number % 40 == 0:
            producer.flush()
producer.flush()
assert failures > 2, failures
assert calls[2:] == accepted, (calls[2:], accepted)
payload.append(1)                       # no export is left
ledger = producer._ledger()
assert ledger["states"] == ledger["buffers"] == 0, ledger
producer.close()
print("ok", unraisable)
"""

REPORTS = START + """
# Manual: poll_events completes the record, in this thread, where allocations fail.
cluster = MockCluster()
cluster.create_topic("t")
producer = make(cluster.bootstrap_servers, **{"linger.ms": 0})
payload = bytearray(b"v" * 10)
calls, raised = [], 0
producer.fetch_broker_metadata("t")

class Callback:
    def __call__(self, metadata, error):
        calls.append((metadata.record_id, error))

callback = Callback()

def poll():
    return producer.poll_events(10)

for number in range(60):
    for partition in (0, 99):           # delivered, and failed, which makes an Error
        if partition:
            error = producer.try_send(ProducerRecord("t", partition, value=payload, id=number), callback)
            assert error is not None
            continue
        producer.send(ProducerRecord("t", partition, value=payload, id=number), callback)
        producer.send_batch("t", [payload] * 3, partition=0)
    while len(producer) or producer._ledger()["states"]:
        if isinstance(failing(number, number + 1, poll), MemoryError):
            raised += 1
# Where the callback itself was refused memory it has run, and its MemoryError was raised or reported.
assert len({number for number, _ in calls}) + raised + len(unraisable) >= 60, (len(calls), raised, unraisable)
assert len(calls) > 50
payload.append(1)
ledger = producer._ledger()
assert ledger["states"] == ledger["buffers"] == ledger["outstanding"] == 0, ledger
producer.send(ProducerRecord("t", 0, value=payload, id="after"), callback)
producer.close()
assert calls[-1] == ("after", None)
print("ok")
"""

NEVER = START + """
# No memory at all for a report: it is dropped after a while, counted and reported; nothing blocks forever.
cluster = MockCluster()
cluster.create_topic("t")
producer = make(cluster.bootstrap_servers, **{"linger.ms": 0})
payload = bytearray(b"v")
calls = []
producer.send(ProducerRecord("t", 0, value=payload), lambda metadata, error: calls.append(1))
time.sleep(0.5)
start = time.monotonic()
failing(0, 0, lambda: producer.poll_events(5))
assert 0.5 < time.monotonic() - start < 10
payload.append(1)
ledger = producer._ledger()
assert ledger["states"] == ledger["buffers"] == ledger["outstanding"] == 0, ledger
producer.close()
print("ok")
"""

TOPICS = START + """
# There is no memory for a new topic: what librdkafka has of it by then must not go, though nobody sees it.
cluster = MockCluster()
for name in ("t", "other"):
    cluster.create_topic(name)
refused = 0
for number in range(60):
    reported = []
    producer = make(cluster.bootstrap_servers, **{"linger.ms": 0})
    refused += failing(number, number + 1, lambda: producer.send(ProducerRecord("t", 0))) is not None
    for name in ("other", "t"):
        producer.send(ProducerRecord(name, 0), lambda metadata, error, name=name: reported.append((name, metadata.topic)))
    producer.flush()
    producer.close()
    assert sorted(reported) == [("other", "other"), ("t", "t")], (number, reported)
assert refused > 2, refused
print("ok")
"""

BATCHES = START + """
# Manual: a batch with columns of its own for all that it has. Either it is refused, or all of it is accepted.
import pyarrow as pa

cluster = MockCluster()
cluster.create_topic("t")
producer = make(cluster.bootstrap_servers, **{"linger.ms": 0})
payload = bytearray(b"v" * 10)
header = bytearray(b"h" * 10)
maps = pa.chunked_array([[[("h", b"1")], None], [[("h", b"2")] * 3]], pa.map_(pa.string(), pa.binary()))
times = pa.chunked_array([[5, 6], [7]], pa.timestamp("ms"))
rows, refused, held = [{"h": header}, None, [("a", b""), ("h", header)]], 0, pa.total_allocated_bytes()
for headers in (rows, maps):
    for last in (False, True):
        for number in range(100):
            seen = failing(number, 0 if last else number + 1,
                           lambda: producer.send_batch("t", [payload] * 3, headers=headers, timestamps=times, partition=0))
            refused += isinstance(seen, MemoryError)
            assert isinstance(seen, MemoryError) or seen.accepted == 3, seen
            header.append(0)
            producer.flush()
assert refused > 20, refused
payload.append(1)                       # no export is left
ledger = producer._ledger()
assert ledger["states"] == ledger["buffers"] == ledger["outstanding"] == 0, ledger
assert pa.total_allocated_bytes() == held
producer.close()
print("ok")
"""

MAKES = START + """
# A producer is made while each allocation in turn fails: a clean exception, and no thread or client is left.
import os
cluster = MockCluster()
make(cluster.bootstrap_servers).close()
threads = len(os.listdir("/proc/self/task"))
failures = []

def attempt(number):
    made = failing(number, number + 1, lambda: make(cluster.bootstrap_servers))
    if isinstance(made, Exception):
        failures.append(number)
    else:
        made.close()

for number in range(0, 2100, int(sys.argv[2])):
    attempt(number)
for number in range(failures[-1] - 30, failures[-1] + 60):
    attempt(number)                     # each one round the start of the thread, and what that allocates itself
gc.collect()
end = time.monotonic() + 10
while len(os.listdir("/proc/self/task")) > threads and time.monotonic() < end:
    gc.collect()
    time.sleep(0.05)
assert len(failures) > 2, failures
assert len(os.listdir("/proc/self/task")) <= threads, (len(os.listdir("/proc/self/task")), threads)
print("ok")
"""

THREADS = START + """
import os
cluster = MockCluster()
cluster.create_topic("t")
make(cluster.bootstrap_servers).close()
made = make(cluster.bootstrap_servers)
real = sys.modules["_thread"].start_new_thread
def refuse(*args, **kwargs): raise RuntimeError("can't start new thread")
threading._start_new_thread = refuse
sys.modules["_thread"].start_new_thread = refuse
try:
    make(cluster.bootstrap_servers)
except KafkaException as exc:
    assert kind != "Manual" and exc.error.code == ErrorCode.RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, exc
else:
    assert kind == "Manual"
try:
    made.fetch_broker_metadata("t")
except RuntimeError as exc:
    assert "thread" in str(exc)
else:
    assert False, "a thread was started"
threading._start_new_thread = sys.modules["_thread"].start_new_thread = real
assert made.fetch_broker_metadata("t").topic == "t"
made.close()
make(cluster.bootstrap_servers).close()
print("ok")
"""

DESCRIPTORS = START + """
import os
cluster = MockCluster()
cluster.create_topic("t")
before = len(os.listdir("/proc/self/fd"))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
kept = []
producer = make(cluster.bootstrap_servers, **{"message.timeout.ms": 1500})
outcomes = []
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
try:
    make(cluster.bootstrap_servers).close(0)        # made or refused; never a crash
except (KafkaException, OSError) as exc:
    print("refused", type(exc).__name__)
producer.send(ProducerRecord("t", 0, value=bytearray(1)), lambda metadata, error: outcomes.append(error))
producer.flush(10)
assert len(outcomes) == 1
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
producer.send(ProducerRecord("t", 0, value=bytearray(1)), lambda metadata, error: outcomes.append(error))
producer.flush(20)
assert outcomes[1] is None, outcomes
producer.close()
end = time.monotonic() + 5
while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < end:
    time.sleep(0.05)
print("ok")
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_send_without_memory_is_refused_and_leaves_nothing(kind):
    assert run_python(SENDS, kind, timeout=60).startswith("ok")


def test_a_batch_without_memory_is_refused_and_leaves_nothing():
    assert run_python(BATCHES, "Manual", timeout=60).startswith("ok")


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_topic_without_memory_is_made_by_the_next_send(kind):
    assert run_python(TOPICS, kind, timeout=90) == "ok\n"


def test_a_report_without_memory_is_completed_later():
    assert run_python(REPORTS, "Manual", timeout=90) == "ok\n"


def test_a_report_that_never_finds_memory_is_dropped_and_counted():
    assert run_python(NEVER, "Manual", timeout=60) == "ok\n"


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="a generator without memory crashes CPython 3.13t")
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_producer_without_memory_is_not_made_and_leaves_nothing(faults, kind):
    assert run_python(MAKES, kind, faults.rounds(87, 1), timeout=faults.rounds(20, 900)) == "ok\n"


@pytest.mark.parametrize("kind", ["Auto", "sync"])
def test_without_threads(kind):
    assert run_python(THREADS, kind, timeout=60) == "ok\n"


def test_without_file_descriptors():
    assert run_python(DESCRIPTORS, "Auto", timeout=60).endswith("ok\n")


def test_control_a_producer_left_open_is_detected():
    program = MAKES.replace("        made.close()\n", "        kept.append(made)\n").replace("range(0, 2100,", "range(0, 2100, 70 *")
    program = program.replace("def attempt(", "kept = []\ndef attempt(").replace("+ 10\n", "+ 1\n")
    with pytest.raises(AssertionError, match=r"AssertionError: \(\d\d+, \d+\)"):
        run_python(program, "Manual", 1, timeout=60)
