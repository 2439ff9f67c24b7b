"""Blocking calls of asyncio producers, each in a thread of its own, and an event that a thread sets for a loop.

The loop's default executor belongs to the user: its threads may be busy, or wait for the producer.
"""
import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from kafkapp.common.errors import ErrorCode, KafkaException
from kafkapp.common.threads import start_thread

T = TypeVar("T")


def in_thread(loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
    """Run `function(*args)` in a thread of its own. Returns a future of its result.

    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: there are too many threads.
    """
    future: asyncio.Future[T] = loop.create_future()
    try:
        start_thread(partial(run, future, function, args))
    except RuntimeError as exc:
        raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, f"no thread: {exc}") from exc
    return future


def run(future: "asyncio.Future[T]", function: Callable[..., T], args: tuple[Any, ...]) -> None:
    """Call `function(*args)` in this thread, and set the future in its loop."""
    try:
        act = partial(set_result, future, function(*args))
    except BaseException as exc:
        act = partial(_set_exception, future, exc)
    with suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(act)


def set_result(future: "asyncio.Future[T]", result: T) -> None:
    """Set a future's result, unless it is done: it may have been cancelled."""
    if not future.done():
        future.set_result(result)


class LoopEvent:
    """As threading.Event: any thread may set it, and the tasks of one loop may wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._future.get_loop().call_soon_threadsafe(set_result, self._future, None)

    async def wait(self, seconds: float) -> None:
        """Wait until it is set, at most `seconds`."""
        await asyncio.wait((self._future,), timeout=seconds)


def _set_exception(future: "asyncio.Future[Any]", exc: BaseException) -> None:
    if not future.done():
        future.set_exception(exc)
