"""Common helpers: a recording callback, a consumer of another library, Python in a subprocess.

Uses kafkapp's producers only through objects that are passed in.
"""
import asyncio
import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import kafkapp
import kafkapp.producer.delivery

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "127.0.0.1:1"             # nothing listens there: connecting is refused at once
HELD = {"linger.ms": 60000}         # records stay in librdkafka's queue until a flush or a purge
LIBRDKAFKA = tuple(map(int, kafkapp.librdkafka_version().split("-")[0].split(".")))     # (2, 0, 2), say; to be compared


def needs(feature):
    """Skips a test where the librdkafka in use was built without a feature, as on a machine without OpenSSL's headers."""
    return pytest.mark.skipif(feature not in kafkapp.librdkafka_features(), reason=f"this librdkafka has no {feature}")


def keeps_words():
    """Whether kafkapp's librdkafka is one with build_support/patches/freed-error-text.patch: the broker's words arrive."""
    return hasattr(ctypes.CDLL(kafkapp.producer.delivery.__file__), "rd_kafka_kafkapp_produce_errstr")


def exported(module, name, result, *arguments):
    """A cdef function of a module, callable from here: found as its sibling modules find it."""
    capsule = module.__pyx_capi__[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.PYFUNCTYPE(result, *arguments)(pointer_of(capsule, name_of(capsule)))


def held_for_records(producer):
    """What a producer holds for records in flight, by name; neither its topics nor events of the client, which come when they come."""
    return {name: count for name, count in producer._ledger().items() if count and name not in ("topics", "kept")}


class Reports:
    """A delivery callback that keeps what it was given and the thread it ran on."""

    def __init__(self):
        self.calls = []             # (metadata, error) in the order of the calls
        self.threads = []           # idents, likewise
        self.changed = threading.Condition()

    def __call__(self, metadata, error):
        with self.changed:
            self.calls.append((metadata, error))
            self.threads.append(threading.get_ident())
            self.changed.notify_all()

    def __len__(self):
        return len(self.calls)

    def wait(self, count, timeout=10):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, timeout), \
                f"{len(self.calls)} of {count} reports after {timeout} s"
        return self

    @property
    def ids(self):
        return [metadata.record_id for metadata, _ in self.calls]

    @property
    def codes(self):
        return [error and error.code for _, error in self.calls]


class Stopwatch:
    """`with Stopwatch() as watch: ...`; `watch.seconds` counts until the end of the block."""

    def __enter__(self):
        self.start, self.end = time.monotonic(), None
        return self

    def __exit__(self, *exc_info):
        self.end = time.monotonic()

    @property
    def seconds(self):
        return (self.end or time.monotonic()) - self.start


def properties(bootstrap, *more, **named):
    """Properties as a dict: `properties(NOWHERE, HELD, message_timeout_ms=300)`."""
    made = {"bootstrap.servers": getattr(bootstrap, "bootstrap_servers", bootstrap)}
    for mapping in more:
        made.update(mapping)
    made.update({name.replace("_", "."): value for name, value in named.items()})
    return made


def run_in_loop(coroutine, timeout=20):
    """As asyncio.run in debug mode, which reports calls from a wrong thread; but what hangs is not waited for."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    try:
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.wait({task}, timeout=timeout))
        assert task.done(), f"still running after {timeout} s: {task}"
        loop.run_until_complete(loop.shutdown_default_executor())
        return task.result()
    finally:
        loop.close()


# For programs that fork: `started(producer, topic)` returns when librdkafka's threads are all up and wait. While they
# start, each seeds its random numbers, with a lock of OpenSSL's (librdkafka 2.13 and later); a child that is forked in that
# moment inherits it locked, and no producer of its own can start. docs/internals/reliability.md says so.
STARTED = """
def started(producer, topic):
    import os, threading, time

    def running():
        found = 0
        for task in os.listdir("/proc/self/task"):
            if int(task) != threading.get_native_id():
                try:
                    with open(f"/proc/self/task/{task}/stat") as stat:
                        found += stat.read().rpartition(")")[2].split()[0] != "S"
                except (FileNotFoundError, ProcessLookupError):     # it has just ended
                    found += 1
        return found

    producer.fetch_broker_metadata(topic, 10)
    quiet = time.monotonic()
    while time.monotonic() < quiet + 0.3:
        if running():
            quiet = time.monotonic()
        time.sleep(0.005)
"""


def wait_for(predicate, timeout=10.0):
    """Return what `predicate()` gives as soon as it is true; fail when it is not within `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (result := predicate()):
        assert time.monotonic() < end, f"not within {timeout} s: {getattr(predicate, '__name__', predicate)}"
        time.sleep(0.005)
    return result


def shared_library(source, library, *flags):
    """A library made from a C file, by a compiler that no sanitizer watches."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([shutil.which("gcc") or "cc", "-shared", "-fPIC", "-O1", *flags, source, "-o", library, "-ldl", "-pthread"], check=True,
                   timeout=60, env=environment)
    return library


def preloaded(library, monkeypatch):
    """Programs that are started from here on have it, behind what they have already: a sanitizer is the first."""
    monkeypatch.setenv("LD_PRELOAD", f"{os.environ.get('LD_PRELOAD', '')} {library}".strip())


def thread_names():
    """The kernel's names of this process's threads, by number. Programs that a test starts have its source: `inspect.getsource`."""
    import os
    found = {}
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                found[task] = file.read().strip()
        except (FileNotFoundError, ProcessLookupError):
            pass        # it has ended meanwhile
    return found


def start_python(code, *args, flags=()):
    """A Python that runs `code` in a process of its own, with the kafkapp that is tested."""
    environment = dict(os.environ, PYTHONPATH=str(Path(kafkapp.__file__).parent.parent))
    return subprocess.Popen([sys.executable, *flags, "-c", code, *map(str, args)], env=environment, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process, timeout=20):
    """Wait for the process, bounded, and return its output and what it said on stderr."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s; stdout: {out!r}; stderr: {err!r}") from None


def run_python(code, *args, flags=(), timeout=20):
    """Run `code` to its end and return its stdout; fails when it fails."""
    process = start_python(code, *args, flags=flags)
    out, err = finish(process, timeout)
    assert process.returncode == 0, f"exit status {process.returncode}\nstdout: {out}\nstderr: {err}"
    return out


def consume(cluster, topic, count, timeout=10, crcs=True):
    """The first `count` messages of a topic as confluent-kafka reads them, by partition and offset.

    `crcs=False` where the mock cluster has markers of transactions, which it gives no checksum.
    """
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": getattr(cluster, "bootstrap_servers", cluster), "group.id": "reader",
                         "check.crcs": crcs, "fetch.wait.max.ms": 20, "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=timeout).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        messages, deadline = [], time.monotonic() + timeout
        while len(messages) < count and time.monotonic() < deadline:
            for message in consumer.consume(count - len(messages), timeout=0.2):
                assert message.error() is None, message.error()
                messages.append(message)
        assert len(messages) == count, f"{len(messages)} of {count} messages after {timeout} s"
        assert not consumer.consume(1, timeout=0.1), f"more than {count} messages"
    finally:
        consumer.close()
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))


def said_in_child(say):
    """The text that `say()` returns in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, say().encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as said:
        return said.read()


def refusal(call, *args):
    """What a call says that raises a RuntimeError."""
    try:
        call(*args)
    except RuntimeError as error:
        return str(error)
    return "not refused"
