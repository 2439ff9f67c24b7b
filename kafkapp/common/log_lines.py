"""Logging thread: writes lines to `logging`, so that no dispatching thread does.

A call of `logging` waits for its locks and those of its handlers. A thread that dispatches must not: the thread that
holds such a lock may be in a close(), flush() or send() that waits for the dispatching one. Nothing waits for the
logging thread but exit and a client's creation, for a moment. It runs for as long as there are lines.
"""
from __future__ import annotations

import _thread
import os
from collections import deque
from time import monotonic, sleep

from kafkapp.common.texts import one_line
from kafkapp.common.threads import register_thread, start_thread, unregister_thread

TYPE_CHECKING = False  # as in timestamp.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# syslog's levels to logging's; syslog's notice (5) has no counterpart of its own.
LOGGING_LEVELS = (50, 50, 50, 40, 30, 20, 20, 10)
MAX_LINES = 10_000  # waiting for the thread; further ones are dropped, and counted

lines: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
lock = _thread.RLock()  # reentrant: the garbage collector may run a finalizer that logs
IDLE, STARTING, RUNNING = range(3)
running = IDLE  # the state of the thread
dropped = 0


def log_later(function, *args):
    """Have the thread call `function(*args)`, which logs one line and must not raise."""
    global running, dropped
    if len(lines) >= MAX_LINES:
        dropped += 1
        return
    lines.append((function, args))
    starts = False
    try:
        with lock:
            if running:
                return
            running, starts = STARTING, True
        start_thread(run)
    except BaseException as exc:
        # The next line starts it, unless an interrupt came after it was started.
        with lock:
            if starts and running == STARTING:
                running = IDLE
        if not isinstance(exc, (MemoryError, RuntimeError)):
            raise


def run():
    """The thread's function."""
    global running, dropped
    with lock:
        if running != STARTING:
            return  # log_later() was interrupted and has given it up
        running = RUNNING
    try:
        register_thread("logs")
        while True:
            while lines:
                function, args = lines.popleft()
                function(*args)
                if dropped:
                    count, dropped = dropped, 0
                    logger().warning("%s log lines were dropped: the handlers of logging are too slow", count,
                                     extra=fields("kafkapp", "DROPPED", 4))
            with lock:
                if not lines:
                    running = IDLE
                    break
    except BaseException:
        running = IDLE
        raise
    finally:
        unregister_thread("logs")


def log_line(level, client, facility, message):
    """Log a line of a client's. `level`: syslog's, 0 to 7."""
    client, facility, message = one_line(client), one_line(facility), one_line(message)
    logger().log(LOGGING_LEVELS[min(max(level, 0), 7)], "%s %s %s", client, facility, message,
                 extra=fields(client, facility, level))


def fields(client, facility, level):
    """What each record has beside its text."""
    return {"kafka_client": client, "kafka_facility": facility, "kafka_level": level}


def logger():
    import logging  # here: it is slow to import
    return logging.getLogger("kafkapp")


def wait(seconds):
    """Block until all lines are logged, at most `seconds`."""
    end = monotonic() + seconds
    while running and monotonic() < end:
        sleep(0.005)


def forget():
    """Reset in a forked child: the lines and the thread are the parent's."""
    global lock, running, dropped
    lock, running, dropped = _thread.RLock(), IDLE, 0
    lines.clear()


os.register_at_fork(after_in_child=forget)
