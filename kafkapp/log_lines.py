"""Lines for `logging`, said by a thread of their own.

Layer L2: knows nothing of Kafka.

Who says a line waits for logging's locks and its handlers'. The thread that serves must not: who holds one of them may
be in a close(), a flush() or a send() that waits for what that thread serves. Nobody waits for this thread, but the end
of the interpreter, a moment. It lives for as long as there are lines.
"""
import _thread
import os
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from kafkapp.visible import register_thread, start_thread, unregister_thread

MAX_LINES = 10_000  # that wait for a handler; what comes then is dropped, and counted

lines: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
lock = _thread.RLock()  # the garbage collector may run a finalizer that has a line to say
IDLE, DUE, RUNNING = range(3)
running = IDLE  # the thread; DUE: it is being started
dropped = 0


def log_later(function, *args):
    """Have the thread call `function(*args)`, which says one line and does not raise."""
    global running, dropped
    if len(lines) >= MAX_LINES:
        dropped += 1
        return
    lines.append((function, args))
    mine = False
    try:
        with lock:
            if running:
                return
            running, mine = DUE, True
        start_thread(run)
    except BaseException as exc:
        # Said with the next one, unless it was started nevertheless: an interrupt does not tell.
        with lock:
            if mine and running == DUE:
                running = IDLE
        if not isinstance(exc, (MemoryError, RuntimeError)):
            raise


def run():
    """The thread."""
    global running, dropped
    with lock:
        if running != DUE:
            return  # its start was given up
        running = RUNNING
    try:
        register_thread("logs")
        while True:
            while lines:
                function, args = lines.popleft()
                function(*args)
                if dropped:
                    count, dropped = dropped, 0
                    logger().warning("%s lines were dropped: the handlers of logging take too long", count)
            with lock:
                if not lines:
                    running = IDLE
                    break
    except BaseException:
        running = IDLE
        raise
    finally:
        unregister_thread("logs")


def logger():
    import logging  # here: an import of kafkapp must not pay for it
    return logging.getLogger("kafkapp")


def wait(seconds):
    """Wait until all is said, or for so long."""
    end = monotonic() + seconds
    while running and monotonic() < end:
        sleep(0.005)


def forget():
    """In the child of a fork: the lines are the parent's, and so is the thread."""
    global lock, running, dropped
    lock, running, dropped = _thread.RLock(), IDLE, 0
    lines.clear()


os.register_at_fork(after_in_child=forget)
