"""LoopBound: binds a client to the event loop that dispatches what librdkafka has for it, and unbinds it.

librdkafka writes to a descriptor, and the loop calls `dispatch`: no thread, no polling.
"""
import asyncio
import os
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Protocol

from kafkapp.aio.event_client import EventClient
from kafkapp.client.shutdown import ABANDONED_CLOSE_SECONDS
from kafkapp.common.threads import start_thread

EVENTFD_ONE = (1).to_bytes(8, "little")  # what is written to an eventfd


class Closable(Protocol):
    def close(self, timeout: float | None = None) -> None: ...


class LoopBound:
    """Base of LoopSide and ConsumerSide. Does not refer to its owner, which the user has: the loop keeps none alive.

    Used in the loop's thread only, except for `abandon`.

    Attributes:
        what: what its owner is, for texts.
    """

    what: ClassVar[str]

    def __init__(self, closable: Closable, client: EventClient, then: Callable[[], None]) -> None:
        """`closable` is closed when the owner was dropped; `then()` is called after each dispatch and at the end, when
        nothing refers to the owner any more."""
        self._closable = closable
        self._client = client
        self.then = then
        self._readers: set[int] = set()  # descriptors that the loop watches
        self._writers: set[int] = set()  # those of them that librdkafka writes to, or the other ends of these
        self._dispatch_for_loop: Callable[[], None]  # what the loop calls; set by `bind`

    # -- for a subclass -------------------------------------------------------------------------

    def refuses(self) -> bool:
        """Whether it is closed, or is being closed."""
        raise NotImplementedError

    def bound_loop(self) -> asyncio.AbstractEventLoop | None:
        raise NotImplementedError

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """It is always the same; its thread may be another one."""
        raise NotImplementedError

    def dispatch(self) -> None:
        """Dispatch what has come."""
        raise NotImplementedError

    def watch_more(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop watch other descriptors too."""

    def interrupted(self) -> None:
        """`dispatch` has raised."""

    def give_up_waiting(self) -> None:
        """Its owner was dropped: end what waits in Python. In any thread."""

    # -- binding --------------------------------------------------------------------------------

    def bind(self, owner: object) -> asyncio.AbstractEventLoop:
        """Bind it to the loop that runs in this thread, or check that it is bound to that. Returns the loop.

        Args:
            owner: what the user has. The loop keeps it alive while it dispatches: it must not end in a callback.
        Raises:
            RuntimeError: it is closed, or another process's; no loop runs in this thread, or another one, or one that
                cannot watch descriptors.
        """
        if self.refuses():
            raise RuntimeError(f"the {self.what} is closed")
        self._client.check_process()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(f"no event loop runs in this thread: use the {self.what} in a coroutine or a callback "
                               "of its loop") from None
        bound = self.bound_loop()
        if bound is None:
            self._watch(loop, partial(_dispatch, weakref.ref(owner), weakref.ref(self)), type(owner).__name__)
        elif loop is not bound:
            raise RuntimeError(f"this {self.what} belongs to another loop: the one in which it was first used" + (
                ", which is closed; close() it before its loop ends" if bound.is_closed() else ""))
        self.set_loop(loop)
        return loop

    def bind_at_start(self, owner: object) -> None:
        """As `bind`, when the owner is created; where no loop runs its first call binds it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.bind(owner)

    def _watch(self, loop: asyncio.AbstractEventLoop, dispatch: Callable[[], None], name: str) -> None:
        """Have the loop dispatch when librdkafka has events."""
        try:
            self._client.wake_through(*self.open_descriptor(loop, partial(_on_ready, dispatch)))
            self.watch_more(loop)
        except NotImplementedError:
            self._close_descriptors()
            raise RuntimeError(f"{name} needs an event loop with add_reader(), which {loop!r} has not") from None
        except BaseException:
            self._client.wake_through(-1, b"")  # before the descriptors are closed, which may be others' then
            for reader in self._readers:
                loop.remove_reader(reader)
            self._close_descriptors()
            raise
        self._dispatch_for_loop = dispatch
        loop.call_soon(dispatch)  # events that have come already are not signalled

    def open_descriptor(self, loop: asyncio.AbstractEventLoop, on_ready: Callable[[int], None]) -> tuple[int, bytes]:
        """Have the loop call `on_ready(descriptor)` when another one is written to. Returns that, and what to write."""
        if hasattr(os, "eventfd"):
            reader = writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            payload = EVENTFD_ONE
        else:
            ends = socket.socketpair()
            for end in ends:
                end.setblocking(False)
            reader, writer = (end.detach() for end in ends)
            payload = b"x"
        self._readers.add(reader)
        self._writers.add(writer)
        loop.add_reader(reader, on_ready, reader)
        return writer, payload

    def is_watched(self) -> bool:
        """Whether a loop watches its descriptors."""
        return bool(self._readers)

    def _close_descriptors(self) -> None:
        """Close the descriptors. librdkafka must no longer write to them."""
        for descriptor in self._take_descriptors():
            os.close(descriptor)

    def _take_descriptors(self) -> set[int]:
        descriptors, self._readers, self._writers = self._readers | self._writers, set(), set()
        return descriptors

    # -- the end --------------------------------------------------------------------------------

    def detach(self) -> None:
        """Have the loop dispatch no more."""
        self._client.wake_through(-1, b"")
        if (loop := self.bound_loop()) is not None:
            for reader in self._readers:
                loop.remove_reader(reader)
        self._close_descriptors()

    def abandon(self) -> None:
        """End what was dropped without close(), perhaps after its loop, in any thread."""
        loop = self.bound_loop()
        if loop is None or not self.is_watched():
            return
        try:
            self._client.wake_through(-1, b"")
        except RuntimeError:
            pass  # a forked child, or closed at exit: nothing writes to the descriptors
        else:
            self._client.warn_unclosed()
            self.give_up_waiting()
            if self._close_in_thread(loop):
                return
            self._client.abandon()
        with suppress(RuntimeError):  # the loop is closed: it reads and calls nothing
            loop.call_soon_threadsafe(_remove, loop, self._readers, self._readers | self._writers, self.then)
            self._take_descriptors()
        self._close_descriptors()

    def _close_in_thread(self, loop: asyncio.AbstractEventLoop) -> bool:
        """If the loop is running here: close what was abandoned in a thread. Returns whether that was started."""
        if not is_running_here(loop):
            return False
        descriptors = self._readers | self._writers
        remove = partial(_remove, loop, self._readers, descriptors, self.then)
        try:
            start_thread(partial(_close_abandoned, self._closable, loop, remove, descriptors))
        except RuntimeError:
            return False
        self._take_descriptors()
        return True


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _on_ready(dispatch: Callable[[], None], descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, 4096)
    dispatch()


def _dispatch(owner: "weakref.ref[Any]", bound: "weakref.ref[LoopBound]") -> None:
    alive, dispatching = owner(), bound()
    if alive is not None and dispatching is not None:
        try:
            dispatching.dispatch()
        except BaseException:  # Ctrl-C, or a callback's
            dispatching.interrupted()
            raise
        then = dispatching.then
        del alive, dispatching  # a callback may drop the last reference
        then()


def _close_abandoned(closable: Closable, loop: asyncio.AbstractEventLoop, remove: Callable[[], None],
                     descriptors: set[int]) -> None:
    """Body of a thread."""
    try:
        closable.close(ABANDONED_CLOSE_SECONDS)
    finally:
        try:
            loop.call_soon_threadsafe(remove)
        except RuntimeError:  # it is closed
            for descriptor in descriptors:
                os.close(descriptor)


def _remove(loop: asyncio.AbstractEventLoop, readers: set[int], descriptors: set[int],
            then: Callable[[], None]) -> None:
    """What the loop does at the end of what was abandoned."""
    for reader in readers:
        loop.remove_reader(reader)
    for descriptor in descriptors:
        os.close(descriptor)
    then()
