"""Failures of futures that nobody has retrieved: counted by error and topic, and logged in sum.

A purge of a full queue fails 100,000 futures at once: that is one line, not as many. A failure may be added by any
thread and by a finalizer at any point, so a thread of its own logs them, and runs only when there is something to log.
"""
from __future__ import annotations

import _thread
import atexit
import os
from time import sleep

from kafkapp.common.log_lines import fields, logger
from kafkapp.common.texts import one_line
from kafkapp.common.threads import start_thread

INTERVAL_SECONDS = 1  # between two lines, and from the first failure to its line
MAX_KINDS = 100  # that are counted apart; beyond, each client has one more
OTHERS = "others"
MAX_NAMED = 10  # in a line
MAX_ID = 100  # characters of an id in a repr

counts: dict[tuple[str, str, str], int] = {}  # by client, error and topic
lock = _thread.RLock()  # reentrant: the garbage collector may run a finalizer that adds
running = False


def record_text(topic: str, record_id: object) -> str:
    """A record as the repr of its future names it."""
    return f"for {one_line(topic)}" + ("" if record_id is None else f", id {repr(record_id)[:MAX_ID]}")


def add(client: str, failure: BaseException, topic: str) -> None:
    """Count the failure of a future that is dropped."""
    global running
    error = getattr(failure, "error", None)
    kind = (client, type(failure).__name__ if error is None else error.code.name, topic)
    with lock:
        if kind not in counts and len(counts) >= MAX_KINDS:
            kind = (client, OTHERS, "")
        counts[kind] = counts.get(kind, 0) + 1
        if running:
            return
        running = True
    try:
        start_thread(run)
    except (MemoryError, RuntimeError):  # too many threads, or the interpreter ends: the next failure tries again
        running = False


def run() -> None:
    """The thread's function."""
    global running
    sleep(INTERVAL_SECONDS)
    with lock:
        running = False
    log()


@atexit.register
def log() -> None:
    """Log what has been counted: a line for each client."""
    global counts
    with lock:
        taken, counts = counts, {}
    for client in dict.fromkeys(kind[0] for kind in taken):
        kinds = sorted(((count, *kind[1:]) for kind, count in taken.items() if kind[0] == client), reverse=True)
        total = sum(count for count, *_ in kinds)
        kinds = [kind for kind in kinds if kind[1] != OTHERS][:MAX_NAMED]
        named = [f"{error} for {one_line(topic) or 'unknown topics'}: {count}" for count, error, topic in kinds]
        if rest := total - sum(count for count, *_ in kinds):
            named.append(f"{OTHERS}: {rest}")
        logger().warning("%s", f"producer {one_line(client)}: {total} records failed, and the exceptions of their "
                         f"futures were never retrieved ({', '.join(named)})",
                         extra=fields(one_line(client), "UNRETRIEVED", 4))     # 4: a warning


def forget() -> None:
    """Reset in a forked child: the failures and the thread are the parent's."""
    global lock, running
    lock, running = _thread.RLock(), False
    counts.clear()


os.register_at_fork(after_in_child=forget)
