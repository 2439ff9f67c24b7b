"""Deadlines by an event loop's clock."""
import asyncio
from datetime import timedelta

from kafkapp.common.timeouts import seconds_of


def deadline_of(loop: asyncio.AbstractEventLoop, timeout: int | float | timedelta | None) -> float | None:
    """When a timeout expires, None: never."""
    seconds = seconds_of(timeout)
    return None if seconds is None else loop.time() + seconds


def seconds_left(loop: asyncio.AbstractEventLoop, deadline: float | None) -> float | None:
    """Seconds until a deadline, 0: it has expired, None: there is none."""
    return None if deadline is None else max(0.0, deadline - loop.time())
