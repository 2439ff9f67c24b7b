"""Case: one client, one path, one set of parameters, measured in one process; and its outcome.

Runs the process and refuses a result in which records were lost. Knows no tables or scenarios.
"""
from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).with_name("clients")
ROOT = Path(__file__).parents[2]
UNREACHABLE = "127.0.0.1:9"
READS, WAITS = "reading", "reading_latency"     # the clients whose cases read

# The same for every client over librdkafka; clients in pure Python translate them. The queue holds a whole case, so
# that waiting for room is part of the figures only where a scenario is about it.
SETTINGS: dict[str, str | int] = {"acks": "all", "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}


class CaseFailed(Exception):
    """The process of a case failed or lost records."""


@dataclass(frozen=True)
class Case:
    """What one process does.

    `needs`: the modules, programs (`bin:NAME`) and variables (`env:NAME`) without which the case is left out.
    """

    label: str
    client: str
    path: str
    records: int
    size: int = 100
    topics: int = 1
    partitions: int = 1
    callback: bool = True
    copy: bool = False
    batch: int = 0
    needs: tuple[str, ...] = ()
    online: bool = True
    settings: dict[str, str | int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """What is not installed, or None."""
        for need in self.needs:
            if need.startswith("bin:"):
                if not shutil.which(need[4:]):
                    return need[4:]
            elif need.startswith("env:"):
                if not os.environ.get(need[4:]):
                    return need[4:]
            else:
                try:
                    found = importlib.util.find_spec(need)
                except ModuleNotFoundError:
                    found = None
                if not found:
                    return need
        return None

    def parameters(self, bootstrap: str, topic: str) -> dict[str, Any]:
        names = ("path", "records", "size", "topics", "partitions", "callback", "copy", "batch", "options")
        common = {} if self.client in (READS, WAITS) else SETTINGS
        return {**{name: getattr(self, name) for name in names}, "settings": {**common, **self.settings},
                "bootstrap": bootstrap if self.online else UNREACHABLE, "topic": topic}


@dataclass(frozen=True)
class Outcome:
    """The figures of one process, in the units that tables use."""

    raw: dict[str, Any]

    @property
    def records(self) -> int:
        return int(self.raw["records"])

    def __getattr__(self, name: str) -> float:
        try:
            return float(DERIVED[name](self.raw))
        except KeyError:
            raise AttributeError(name) from None

    def figures(self) -> dict[str, float]:
        """All figures that the measured values give."""
        found = {}
        for name in DERIVED:
            try:
                found[name] = getattr(self, name)
            except AttributeError:
                continue
        return found


DERIVED: dict[str, Any] = {
    "rate": lambda raw: raw["records"] / raw["seconds"],
    "wall_us": lambda raw: raw["seconds"] / raw["records"] * 1e6,
    "cpu_us": lambda raw: raw["cpu"] / raw["records"] * 1e6,
    "sender_us": lambda raw: raw["send_cpu"] / raw["records"] * 1e6,
    "peak_mb": lambda raw: raw["peak"] / 1e6,
    "p50_us": lambda raw: statistics.median(raw["latencies"]) * 1e6,
    "p99_us": lambda raw: sorted(raw["latencies"])[int(len(raw["latencies"]) * 0.99)] * 1e6,
    "sent_us": lambda raw: statistics.median(raw["sent"]) * 1e6,
    "report_us": lambda raw: raw["served"] / raw["records"] * 1e6,
    "stall_ms": lambda raw: raw["stall"] * 1e3,
    "call_ms": lambda raw: raw["call"] * 1e3,
    "held_bytes": lambda raw: raw["held"] / raw["records"],
    "growth_bytes": lambda raw: raw["growth"],
    "seconds": lambda raw: raw["seconds"],
    "cpu_seconds": lambda raw: raw["cpu"],
    "core_percent": lambda raw: raw["cpu"] / raw["waited"] * 100,
    "held_mb": lambda raw: raw["held"] / 1e6,
}


def end_offset(bootstrap: str, topic: str) -> int:
    """The end offset of partition 0 of a topic, asked from the broker."""
    from kafkapp.bench.floor import Floor

    floor = Floor({"bootstrap.servers": bootstrap}, topic)
    try:
        return floor.end_offset(topic)
    finally:
        floor.close()


def reason(status: int, stderr: str) -> str:
    """Why a process failed, in one line: its signal, or its last line that is not a log line of librdkafka (%3|...)."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("%")]
    return lines[-1].strip() if lines else f"exit status {status}"


def run_case(case: Case, bootstrap: str, topic: str, timeout: float = 180.0, under: Sequence[str] = ()) -> Outcome:
    """Run a case in its own process, of the command `under` if any; blocks until it has ended.

    Raises:
        CaseFailed: it ended with an error, the timeout expired, or not every record that it sent was delivered.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [*under, sys.executable, str(CLIENTS), case.client, json.dumps(case.parameters(bootstrap, topic))]
    try:
        done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"})
    except subprocess.TimeoutExpired:
        raise CaseFailed(f"{case.label}: the timeout of {timeout:.0f} s expired") from None
    if done.returncode or not done.stdout.strip():
        raise CaseFailed(f"{case.label}: {reason(done.returncode, done.stderr)}")
    raw = json.loads(done.stdout.splitlines()[-1])
    if raw["delivered"] is None:
        raw["delivered"] = end_offset(bootstrap, topic) - raw["warm"]
    if raw["delivered"] != raw["records"]:
        raise CaseFailed(f"{case.label}: {raw['records']} records sent, {raw['delivered']} delivered: no result")
    return Outcome(raw)
