"""LoopSide: has an event loop dispatch the delivery reports of a producer, when librdkafka writes to a descriptor.

Owns what the loop has of the producer: the descriptor, the records that wait for room, the completed futures, the calls
that wait for reports, the thread that ends lingering for them. Sends and reports use no thread.
"""
import asyncio
import os
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from kafkapp.aio.deadlines import seconds_left
from kafkapp.aio.futures import CompletedFutures
from kafkapp.aio.loop_client import LoopClient
from kafkapp.aio.outbox import Outbox
from kafkapp.aio.transactions import TransactionCalls
from kafkapp.client.shutdown import ABANDONED_CLOSE_SECONDS
from kafkapp.common.options import EventsPollingOption
from kafkapp.common.threads import start_thread
from kafkapp.producer.async_producer import KafkaAsyncProducer

LINGER_CHECK_SECONDS = 0.02  # how often the thread that ends lingering checks whether that is still wanted
FATAL_CHECK_SECONDS = 0.5  # how often to look for records that return to the queue after a fatal error
EVENTFD_ONE = (1).to_bytes(8, "little")  # what is written to an eventfd


class LoopSide:
    """All that the event loop has of one KafkaProducer. Does not refer to it: the loop keeps no producer alive.

    Used in the loop's thread only, except for `abandon`.

    Attributes:
        producer: a KafkaAsyncProducer with manual polling.
        client: its client, for the loop.
        outbox: enqueues its records.
        transactions: its transaction calls.
    """

    def __init__(self, properties: Any) -> None:
        self.producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
        self.client = LoopClient(self.producer)
        self.outbox = Outbox(self.client)
        self.transactions = TransactionCalls(self.client)
        self._completed = self.outbox.completed
        self._reader, self._writer = -1, -1
        self._dispatch_for_loop: Callable[[], None]  # what the loop calls; set by `bind`
        self._progressed: asyncio.Future[None] | None = None  # done at the next report or when room is made
        self._flushes = 0  # how many calls wait for delivery reports
        self._linger_over: threading.Event | None = None  # set to end the thread that ends lingering for them
        self._fatal_check: asyncio.TimerHandle | None = None

    # -- binding --------------------------------------------------------------------------------

    def bind(self, owner: object) -> asyncio.AbstractEventLoop:
        """Bind the producer to the loop that runs in this thread, or check that it is bound to that. Returns the loop.

        Args:
            owner: the KafkaProducer. The loop keeps it alive while it dispatches: it must not end in a callback.
        Raises:
            RuntimeError: the outbox is closed, no loop runs in this thread, it is another one, or it cannot watch
                descriptors.
        """
        if self.outbox.closed:
            raise RuntimeError("the producer is closed")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("no event loop runs in this thread: use the producer in a coroutine or a callback of "
                               "its loop") from None
        bound = self._completed.loop
        if bound is None:
            self._watch(loop, partial(_dispatch, weakref.ref(owner), weakref.ref(self)))
        elif loop is not bound:
            raise RuntimeError("this producer belongs to another loop: the one in which it was first used" + (
                ", which is closed; close() it before its loop ends" if bound.is_closed() else ""))
        self._completed.bind(loop)  # its thread may be another one now
        return loop

    def _watch(self, loop: asyncio.AbstractEventLoop, dispatch: Callable[[], None]) -> None:
        """Have the loop dispatch when librdkafka has events."""
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            payload = EVENTFD_ONE
        else:
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self._reader, self._writer, payload = reader.detach(), writer.detach(), b"x"
        try:
            loop.add_reader(self._reader, _on_ready, dispatch, self._reader)
            self.client.wake_through(self._writer, payload)
        except NotImplementedError:
            self._close_descriptors()
            raise RuntimeError(f"KafkaProducer needs an event loop with add_reader(), which {loop!r} has not") from None
        except BaseException:
            loop.remove_reader(self._reader)
            self._close_descriptors()
            raise
        self._dispatch_for_loop = dispatch
        loop.call_soon(dispatch)  # events that have come already are not signalled

    def _close_descriptors(self) -> None:
        """Close the descriptors. librdkafka must no longer write to them."""
        for descriptor in self._take_descriptors():
            os.close(descriptor)

    def _take_descriptors(self) -> set[int]:
        descriptors, self._reader, self._writer = {self._reader, self._writer}, -1, -1
        return descriptors - {-1}

    # -- dispatching ----------------------------------------------------------------------------

    def dispatch(self) -> CompletedFutures:
        """Dispatch the reports that have come, enqueue waiting records. Returns the futures whose callbacks are due."""
        loop = self._completed.loop
        if self._reader < 0 or loop is None:
            return self._completed  # closed
        reported = 1
        try:
            reported = self.producer.poll_events(0)
        finally:
            if reported:
                self.outbox.full = False
            # librdkafka signals only the first event in an empty queue. The loop runs other callbacks in between.
            if self.client.has_events():
                loop.call_soon(self._dispatch_for_loop)
            self.enqueue_waiting()
        if self.client.has_failed() and (len(self.producer) or len(self.outbox)):
            # librdkafka purges its queue once after a fatal error. Records that return to it later must be polled for.
            if self._fatal_check is not None:
                self._fatal_check.cancel()
            self._fatal_check = loop.call_later(FATAL_CHECK_SECONDS, self._dispatch_for_loop)
        return self._completed

    def enqueue_waiting(self) -> None:
        """Enqueue the waiting records for which there is room, and wake the calls that wait for delivery reports."""
        self.outbox.enqueue_waiting()
        self._progress()

    def _progress(self) -> None:
        progressed, self._progressed = self._progressed, None
        if progressed is not None:
            progressed.set_result(None)

    def purge(self) -> None:
        """Fail all records, in flight or waiting for room."""
        self.client.purge()
        self.fail_waiting()

    def fail_waiting(self) -> None:
        """Fail the records that wait for room."""
        self.outbox.fail_waiting()
        self._progress()
        self._completed.soon()

    # -- waiting for delivery reports -----------------------------------------------------------

    async def reported(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> bool:
        """Wait until all records sent so far are reported. Returns False when the deadline has expired first."""
        epoch, last = None, self.outbox.waited
        self._flushes += 1
        try:
            while True:
                # First the waiting records: once enqueued they count in this epoch, or are reported already.
                if epoch is None and self.outbox.left >= last:
                    epoch = self.client.close_epoch()
                if epoch is not None and self.client.is_epoch_done(epoch):
                    await asyncio.sleep(0)  # the futures of batches are done at the loop's next iteration
                    return True
                if (left := seconds_left(loop, deadline)) == 0:
                    return False
                self._end_lingering()
                await self._progress_for(loop, left)
        finally:
            self._flushes -= 1
            if not self._flushes and self._linger_over is not None:
                self._linger_over.set()
                self._linger_over = None

    async def enqueued(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> bool:
        """Wait until what waits for room now has found it. Returns False when the deadline has expired first."""
        last = self.outbox.waited
        while self.outbox.left < last:
            if (left := seconds_left(loop, deadline)) == 0:
                return False
            await self._progress_for(loop, left)
        return True

    async def has_room(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> bool:
        """Wait until a record would find room at once. Returns False when the deadline has expired first."""
        while not self.outbox.has_room():
            if (left := seconds_left(loop, deadline)) == 0:
                return False
            await self._progress_for(loop, left)
        return True

    async def _progress_for(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        """Wait for the next delivery report or for room, at most `seconds`."""
        if self._progressed is None:
            self._progressed = loop.create_future()
        await asyncio.wait((self._progressed,), timeout=seconds)

    def _end_lingering(self) -> None:
        """librdkafka ends lingering while a thread is in rd_kafka_flush(); the loop dispatches meanwhile."""
        if self._linger_over is None:
            enough = threading.Event()
            try:
                start_thread(partial(_end_lingering_until, self.client, enough))
            except RuntimeError:
                return  # there are too many threads: what lingers is sent when linger.ms is over
            self._linger_over = enough

    # -- the end --------------------------------------------------------------------------------

    def detach(self) -> None:
        """Have the loop dispatch no more. Nothing may be in flight."""
        self.client.wake_through(-1, b"")
        if (loop := self._completed.loop) is not None:
            loop.remove_reader(self._reader)
        self._close_descriptors()
        if self._fatal_check is not None:
            self._fatal_check.cancel()

    def end_waits(self) -> None:
        """After the last report, which no dispatch has seen: wake the calls that wait, and run callbacks."""
        self._progress()
        self.run_callbacks_soon()

    def run_callbacks_soon(self) -> None:
        """Have the loop run the callbacks of completed futures: no dispatch will do so."""
        self._completed.soon()

    def abandon(self) -> None:
        """End what was dropped without close(), perhaps after its loop, in any thread.

        KafkaAsyncProducer warns, delivers for a limited time and purges.
        """
        loop = self._completed.loop
        if loop is None or self._reader < 0:
            return
        try:
            self.client.wake_through(-1, b"")
        except RuntimeError:
            pass  # a forked child, or closed at exit: nothing writes to the descriptors
        else:
            self.client.warn_unclosed()
            self.outbox.fail_waiting()
            if self._close_in_thread(loop):
                return
            self.client.abandon()
        with suppress(RuntimeError):  # the loop is closed: it reads and calls nothing
            loop.call_soon_threadsafe(_remove, loop, self._reader, {self._reader, self._writer}, self._completed)
            self._take_descriptors()
        self._close_descriptors()

    def _close_in_thread(self, loop: asyncio.AbstractEventLoop) -> bool:
        """If the loop is running here: close the abandoned producer in a thread. Returns whether that was started."""
        if not is_running_here(loop):
            return False
        remove = partial(_remove, loop, self._reader, {self._reader, self._writer}, self._completed)
        try:
            start_thread(partial(_close_abandoned, self.producer, loop, remove, {self._reader, self._writer}))
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


def _dispatch(owner: "weakref.ref[object]", side: "weakref.ref[LoopSide]") -> None:
    alive, dispatching = owner(), side()
    if alive is not None and dispatching is not None:
        try:
            completed = dispatching.dispatch()
        except BaseException:  # Ctrl-C, or a callback's
            dispatching.run_callbacks_soon()
            raise
        del alive, dispatching  # a callback may drop the last reference
        completed.run()


def _end_lingering_until(client: LoopClient, enough: threading.Event) -> None:
    """Body of a thread: ends lingering until `enough` is set."""
    with suppress(RuntimeError):  # the producer is closed
        while not enough.is_set():
            if not client.end_lingering_for(LINGER_CHECK_SECONDS):
                enough.wait(LINGER_CHECK_SECONDS)


def _close_abandoned(producer: KafkaAsyncProducer, loop: asyncio.AbstractEventLoop, remove: Callable[[], None],
                     descriptors: set[int]) -> None:
    """Body of a thread."""
    try:
        producer.close(ABANDONED_CLOSE_SECONDS)
    finally:
        try:
            loop.call_soon_threadsafe(remove)
        except RuntimeError:  # it is closed
            for descriptor in descriptors:
                os.close(descriptor)


def _remove(loop: asyncio.AbstractEventLoop, reader: int, descriptors: set[int], completed: CompletedFutures) -> None:
    """What the loop does at the end of an abandoned producer."""
    loop.remove_reader(reader)
    for descriptor in descriptors:
        os.close(descriptor)
    completed.run()
