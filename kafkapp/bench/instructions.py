"""Instructions of a delivered record: the whole client process of a case, counted by callgrind, which hardly varies.

Two runs of different length are compared, so that what starts and ends a process does not count. The broker is another
process, at full speed. Needs valgrind; knows no tables.
"""
from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from time import time_ns

from kafkapp.bench.case import READS, Case, CaseFailed, run_case

CLIENTS = ("ours", "c_program", "confluent", READS)     # those over librdkafka; pure Python takes minutes here
MAX_RECORDS = 60_000
REST_S = 0.6        # before a run ends: librdkafka frees what is delivered in other threads, and all of it is to count
# A client is some fifty times slower under callgrind: so is linger.ms, else requests would hold fewer records.
SETTINGS: dict[str, str | int] = {"linger.ms": 250}
TIMEOUT_S = 600.0
MISSING = ("--instructions needs valgrind, which is not in the PATH: install it (Debian, Ubuntu: apt-get install "
           "valgrind; Fedora: dnf install valgrind; Alpine: apk add valgrind; there is none for macOS on ARM)")


def is_there() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def lengths(case: Case) -> tuple[int, int]:
    """The records of the short run and of the long one, three times as many: whole batches."""
    step = case.batch or 1
    calls = max(3, min(MAX_RECORDS, case.records) // step)
    return calls // 3 * step, calls * step


def count(case: Case, bootstrap: str) -> float:
    """Count the instructions that each further record costs the process of a case; blocks for two runs under callgrind.

    Raises:
        CaseFailed: as run_case(), or callgrind wrote no count.
    """
    short, long = lengths(case)
    once(case, bootstrap, short, under_callgrind=False)      # compiles what Python keeps on disk
    return (once(case, bootstrap, long) - once(case, bootstrap, short)) / (long - short)


def once(case: Case, bootstrap: str, records: int, under_callgrind: bool = True) -> int:
    case = replace(case, records=records, settings={**case.settings, **({} if case.client == READS else SETTINGS)},
                   options={**case.options, "rest": REST_S})
    topic = f"kafkapp-bench-{time_ns():x}-instructions"
    if not under_callgrind:
        run_case(case, bootstrap, topic)
        return 0
    with tempfile.TemporaryDirectory(prefix="kafkapp-bench-") as folder:
        out = Path(folder) / "callgrind"
        run_case(case, bootstrap, topic, TIMEOUT_S, ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"))
        return total(case, out)


def total(case: Case, out: Path) -> int:
    """The count of all functions that callgrind wrote into a file."""
    try:
        with out.open() as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("totals:"))
    except (OSError, StopIteration):
        raise CaseFailed(f"{case.label}: callgrind wrote no count") from None
