"""Helpers of the fault tests: amount of work, seed, and books in which each record has exactly one outcome.

`--faults=thorough` does more of everything; `--faults-seed` repeats a run.
"""
import ctypes
import gc
import os
import platform
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from helpers import ROOT, properties

from kafkapp import KafkaAsyncProducer, KafkaException, KafkaSyncProducer, librdkafka_version

QUIET = {"log_cb": lambda *args: None, "error_cb": lambda *args: None}


class Faults:
    """The amount of work of one test, and its random numbers."""

    def __init__(self, thorough, seed, figures=None):
        self.thorough = thorough
        self.seed = seed
        self.random = random.Random(seed)
        self.figures = figures          # what the run has counted, for pytest's summary and --faults-figures

    def figure(self, **counts):
        """What this test counted. It is called after the assertions: what must be 0 is."""
        if self.figures is not None:
            self.figures.update(counts)

    def rounds(self, gate, thorough):
        return thorough if self.thorough else gate


class Books:
    """The records that were accepted, and their reports. Thread-safe: callbacks write here."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = set()
        self.reported = {}          # id -> how often
        self.codes = {}             # code or None -> how often
        self.next = 0

    def number(self):
        with self.lock:
            self.next += 1
            return self.next

    def accept(self, number):
        with self.lock:
            self.accepted.add(number)

    def report(self, metadata, error):
        self.count(metadata.record_id, error and error.code)

    def count(self, number, code):
        with self.lock:
            self.reported[number] = self.reported.get(number, 0) + 1
            self.codes[code] = self.codes.get(code, 0) + 1

    def faults(self):
        """(unreported, reported twice, reported though refused): all empty, or the test fails."""
        return (sorted(self.accepted - self.reported.keys()),
                sorted(number for number, count in self.reported.items() if count != 1),
                sorted(self.reported.keys() - self.accepted))

    def check(self, context=""):
        unreported, doubled, phantom = self.faults()
        assert not unreported and not doubled and not phantom, \
            f"{context}: unreported {unreported[:5]}, twice {doubled[:5]}, refused but reported {phantom[:5]}"


def make(kind, bootstrap, *more, **named):
    """A producer of a kind: "Auto", "Manual" or "sync"."""
    from kafkapp import EventsPollingOption

    made = properties(bootstrap, QUIET, *more, **named)
    if kind == "sync":
        return KafkaSyncProducer(made)
    return KafkaAsyncProducer(made, EventsPollingOption[kind])


def attempt(call, *args, **kwargs):
    """The call's result, or the exception that it may end with: closed, or a Kafka error."""
    try:
        return call(*args, **kwargs)
    except (RuntimeError, KafkaException) as exc:
        return exc


def together(jobs, timeout=60):
    """Run functions in a thread each, started at once; re-raise what one of them raised."""
    barrier = threading.Barrier(len(jobs))
    raised = []

    def run(job):
        try:
            barrier.wait(timeout)
            job()
        except BaseException as exc:
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), f"a call hangs: more than {timeout} s"
    if raised:
        raise raised[0]


def rss():
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trim():
    """Collect cycles, and return to the system what the allocator only keeps at hand, where it can (glibc)."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


def native_threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def slope(points):
    """(slope, its standard error) of a line through (x, y) points, by least squares."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    gradient = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - gradient * (x - mean_x)) ** 2 for x, y in points)
    return gradient, (rest / max(1, n - 2) / spread) ** 0.5


def percentiles(seconds):
    """The middle, the 99th percentile and the longest of some times, in milliseconds."""
    ordered = sorted(seconds)
    place = [len(ordered) // 2, min(len(ordered) - 1, len(ordered) * 99 // 100), -1]
    return {"n": len(ordered)} | {name: round(ordered[i] * 1000, 2) for name, i in zip(("p50", "p99", "max"), place, strict=True)}


def environment(seed):
    """Where a run took place, and how to repeat it; the command's arguments without its folder."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {"command": " ".join(sys.argv[1:]), "seed": seed, "cpu": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
            "kernel": platform.release(), "python": platform.python_version(), "librdkafka": librdkafka_version(),
            "commit": commit.stdout.strip() or None}


def collected(reference, timeout=5):
    """Whether what a weak reference refers to goes away."""
    end = time.monotonic() + timeout
    while reference() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return reference() is None
