"""Measuring inside the process of a case: its parameters, clocks and result. Every client imports it.

Imports only the standard library: memory and start-up are to be those of the client.
"""
from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any, Self


def memory(field: str = "VmRSS") -> int:
    """The resident memory of the process in bytes, now (``VmRSS``) or at its peak (``VmHWM``)."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    # Without /proc only the peak is known; macOS counts it in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def allocated() -> int:
    """Bytes that malloc has given out and not got back, by glibc's own count; elsewhere the resident memory."""
    try:
        count = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return memory()
    names = "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    count.restype = type("mallinfo2", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
    found = count()
    return int(found.uordblks + found.hblkhd)


def forget_peak() -> None:
    """Reset the peak to the memory of now, where the kernel can."""
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        pass


class Run:
    """One case in its own process: the parameters, the clocks, the result.

    A client sends ``warm`` records of its own first, so that connecting is not measured, then calls ``start``, sends,
    calls ``sent``, waits for the reports and calls ``stop`` with how many were delivered (None: ask the broker).
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.path: str = parameters["path"]
        self.bootstrap: str = parameters["bootstrap"]
        self.topic: str = parameters["topic"]
        self.records: int = parameters["records"]
        self.size: int = parameters.get("size", 100)
        self.topics: int = parameters.get("topics", 1)
        self.partitions: int = parameters.get("partitions", 1)
        self.callback: bool = parameters.get("callback", True)
        self.copy: bool = parameters.get("copy", False)
        self.batch: int = parameters.get("batch", 0)
        self.settings: dict[str, str | int] = parameters.get("settings", {})
        self.options: dict[str, Any] = parameters.get("options", {})
        # Compressible by half: hexadecimal digits of random bytes, the same in every client.
        self.value = random.Random(1).randbytes((self.size + 1) // 2).hex().encode()[:self.size]
        self.warm = 0
        self.result: dict[str, Any] = {}

    def properties(self, **more: str | int) -> dict[str, str | int]:
        """The librdkafka properties that all its clients share."""
        return {"bootstrap.servers": self.bootstrap, **self.settings, **more}

    def targets(self) -> list[tuple[str, int]]:
        """All (topic, partition) pairs, in the order in which the records go to them."""
        names = [self.topic] if self.topics == 1 else [f"{self.topic}-{i}" for i in range(self.topics)]
        return [(name, partition) for partition in range(self.partitions) for name in names]

    def turns(self) -> Iterator[tuple[str, int]]:
        """The target of each record, in turn: what the loops of all clients in Python go through."""
        return islice(cycle(self.targets()), self.records)

    def start(self) -> None:
        forget_peak()
        self.held = memory()
        self.cpu, self.thread_cpu, self.begin = time.process_time(), time.thread_time(), time.perf_counter()

    def sent(self) -> None:
        self.send_seconds = time.perf_counter() - self.begin
        self.send_cpu = time.thread_time() - self.thread_cpu

    def stop(self, delivered: int | None) -> None:
        seconds, cpu = time.perf_counter() - self.begin, time.process_time() - self.cpu
        self.report(delivered, seconds=seconds, cpu=cpu, send_seconds=self.send_seconds, send_cpu=self.send_cpu,
                    peak=max(0, memory("VmHWM") - self.held))

    def report(self, delivered: int | None, **measured: Any) -> None:
        """Set the result, of a case that measures something other than a rate.

        Then rest for ``options.rest`` seconds, so that librdkafka's threads have freed what is delivered.
        """
        self.result.update(records=self.records, delivered=delivered, warm=self.warm, **measured)
        time.sleep(self.options.get("rest", 0))

    def print(self) -> None:
        self.result["max_rss"] = memory("VmHWM")
        sys.stdout.write(json.dumps(self.result) + "\n")
        sys.stdout.flush()


def idle(seconds: float = 0.2, timeout: float = 30.0) -> None:
    """Wait until this process uses almost no CPU: all work in the background is done."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        before = time.process_time()
        time.sleep(seconds)
        if time.process_time() - before < 0.02 * seconds:
            return
    raise RuntimeError("idle(): the client still uses CPU after the timeout")


class BusyThread:
    """A Python thread that computes without a pause, as other work of a program would; a `with` block runs it."""

    def __enter__(self) -> Self:
        self.going, self.turning = True, threading.Event()
        self.thread = threading.Thread(target=self.turn, daemon=True)
        self.thread.start()
        self.turning.wait(10)
        return self

    def turn(self) -> None:
        self.turning.set()
        turns = 0
        while self.going:
            turns += 1

    def __exit__(self, *failure: object) -> None:
        self.going = False
        self.thread.join()


class Ticker:
    """A Python thread that reads the clock without a pause and keeps its longest stall."""

    def __init__(self) -> None:
        self.longest, self.going, self.ticking = 0.0, True, threading.Event()
        self.thread = threading.Thread(target=self.tick, daemon=True)

    def tick(self) -> None:
        clock = time.perf_counter
        last = clock()
        self.ticking.set()
        while self.going:
            now = clock()
            self.longest = max(self.longest, now - last)
            last = now

    def baseline(self, value: bytes) -> float:
        """The longest stall beside similar work on the same memory without the GIL: the share of the machine."""
        return self.stall(lambda: hashlib.sha256(value).digest())

    def stall(self, act: Callable[[], object]) -> float:
        """The longest stall in seconds while `act` runs in this thread."""
        self.longest, self.going = 0.0, True
        self.ticking.clear()
        self.thread = threading.Thread(target=self.tick, daemon=True)
        self.thread.start()
        self.ticking.wait(10)
        act()
        self.going = False
        self.thread.join()
        return self.longest


def leave(run: Run) -> None:
    """Print the result and exit at once: the records that a case leaves in its queue need no cleaning up."""
    run.print()
    os._exit(0)
