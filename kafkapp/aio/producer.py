"""KafkaProducer for asyncio: sends return futures, a file descriptor wakes the loop for delivery reports.

A KafkaAsyncProducer with manual polling, which the loop polls when librdkafka signals events. Sends and reports use no
thread. What blocks in librdkafka runs in a thread of its own: ending lingering (flush, close), destroying the client
(close), a request (fetch_broker_metadata). The loop's default executor belongs to the user: its threads may be busy, or
wait for this producer.
"""
import asyncio
import os
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from kafkapp.aio.futures import CompletedFutures, Outbox, SendFuture
from kafkapp.common.cluster_metadata import BrokerMetadata
from kafkapp.common.errors import ErrorCode, KafkaException
from kafkapp.common.threads import start_thread
from kafkapp.common.timeouts import seconds_of
from kafkapp.config.properties import Properties
from kafkapp.producer.batch import Batch
from kafkapp.producer.options import EventsPollingOption
from kafkapp.producer.producer import KafkaAsyncProducer

__all__ = ["KafkaProducer", "SendFuture"]

Timeout = int | float | timedelta | None
T = TypeVar("T")
LINGER_CHECK_SECONDS = 0.02  # how often the thread that ends lingering checks whether that is still wanted
PURGE_SECONDS = 1  # for the reports of purged records; destroying the client waits for later ones
ABANDONED_CLOSE_SECONDS = 10  # for a producer that was garbage-collected without close() to deliver
FATAL_CHECK_SECONDS = 0.5  # how often to look for records that return to the queue after a fatal error
EVENTFD_ONE = (1).to_bytes(8, "little")  # what is written to an eventfd


class KafkaProducer(Outbox):
    """Sends records in an event loop: the one that runs when the producer is created, else when it is first used.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required. `linger.ms` is librdkafka's 5: set 0
            for the lowest latency of `await send`.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value.
    Source: rd_kafka_queue_io_event_enable().
    """

    _reader, _writer = -1, -1
    _closing: "asyncio.Future[BaseException | None] | None" = None
    _progressed: "asyncio.Future[None] | None" = None  # done at the next report or when room is made
    _flushes = 0  # how many calls wait for delivery reports
    _linger_over: threading.Event | None = None  # set to end the thread that ends lingering for them
    _fatal_check: asyncio.TimerHandle | None = None

    def __init__(self, properties: Properties | Mapping[str, Any]) -> None:
        self._make_sender(KafkaAsyncProducer, properties, EventsPollingOption.Manual)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # created outside a loop: bound by the first call
        self._bound_loop()

    @property
    def _producer(self) -> KafkaAsyncProducer:
        return cast(KafkaAsyncProducer, self._made_sender())

    # -- the loop -------------------------------------------------------------------------------

    def _watch_events(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop call back when librdkafka has events."""
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            payload = EVENTFD_ONE
        else:
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self._reader, self._writer, payload = reader.detach(), writer.detach(), b"x"
        try:
            # A weak reference: the loop must not keep an unreferenced producer alive.
            loop.add_reader(self._reader, _on_ready, weakref.ref(self), self._reader)
            self._producer._wake_through(self._writer, payload)
        except NotImplementedError:
            self._release()
            raise RuntimeError(f"KafkaProducer needs an event loop with add_reader(), which {loop!r} has not") from None
        except BaseException:
            loop.remove_reader(self._reader)
            self._release()
            raise
        loop.call_soon(_serve, weakref.ref(self))  # events that have come already are not signalled

    def _serve(self) -> CompletedFutures:
        """Dispatch the reports that have come, enqueue waiting records. Returns the futures whose callbacks are due."""
        loop = self._event_loop()
        if self._reader < 0 or loop is None:
            return self._completed()  # closed
        try:
            self._producer.poll_events(0)
        finally:
            # librdkafka signals only the first event in an empty queue. The loop runs other callbacks in between.
            if self._producer._has_events():
                loop.call_soon(_serve, weakref.ref(self))
            self._enqueue_waiting()
            self._progress()
        if self._producer._has_failed() and len(self):
            # librdkafka purges its queue once after a fatal error. Records that return to it later must be polled for.
            if self._fatal_check is not None:
                self._fatal_check.cancel()
            self._fatal_check = loop.call_later(FATAL_CHECK_SECONDS, _serve, weakref.ref(self))
        return self._completed()

    def _progress(self) -> None:
        """Wake the calls that wait for delivery reports."""
        progressed, self._progressed = self._progressed, None
        if progressed is not None:
            progressed.set_result(None)

    def _release(self) -> None:
        """Close the descriptors. librdkafka must no longer write to them."""
        descriptors, self._reader, self._writer = {self._reader, self._writer}, -1, -1
        for descriptor in descriptors - {-1}:
            os.close(descriptor)

    # -- the public calls -----------------------------------------------------------------------

    def send_batch(self, topic: str, values: object, **arguments: Any) -> "asyncio.Future[Batch]":
        """Enqueue many records in one call; the arguments are those of KafkaAsyncProducer.send_batch except `callback`.

        Never blocks: records that find no room are refused with RD_KAFKA_RESP_ERR__QUEUE_FULL, see `Batch.next_index`.

        Returns:
            An asyncio.Future of the Batch, done when the Batch is.
        Raises:
            Exception: as KafkaAsyncProducer.send_batch.
        Source: rd_kafka_produce_batch().
        """
        future: asyncio.Future[Batch] = self._bound_loop().create_future()
        self._enqueue_waiting()  # they come first
        self._progress()
        batch = self._producer.send_batch(topic, values, callback=partial(_batch_done, future), **arguments)
        if batch.done and not batch.accepted:
            future.set_result(batch)
        return future

    async def _reported(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> bool:
        """Wait until all records sent so far are reported. Returns False when the deadline has expired first."""
        producer = self._producer
        epoch, last = None, self._waiting_counts()[1]
        self._flushes += 1
        try:
            while True:
                # First the waiting records: once enqueued they count in this epoch, or are reported already.
                if epoch is None and self._waiting_counts()[0] >= last:
                    epoch = producer._close_epoch()
                if epoch is not None and producer._is_epoch_done(epoch):
                    await asyncio.sleep(0)  # the futures of batches are done at the loop's next iteration
                    return True
                left = None if deadline is None else deadline - loop.time()
                if left is not None and left <= 0:
                    return False
                self._end_lingering()
                if self._progressed is None:
                    self._progressed = loop.create_future()
                await asyncio.wait((self._progressed,), timeout=left)
        finally:
            self._flushes -= 1
            if not self._flushes and self._linger_over is not None:
                self._linger_over.set()
                self._linger_over = None

    def _end_lingering(self) -> None:
        """librdkafka ends lingering while a thread is in rd_kafka_flush(); the loop dispatches meanwhile."""
        if self._linger_over is None:
            enough = threading.Event()
            try:
                start_thread(partial(_end_lingering_until, self._producer, enough))
            except RuntimeError:
                return  # there are too many threads: what lingers is sent when linger.ms is over
            self._linger_over = enough

    async def flush(self, timeout: Timeout = None) -> None:
        """End lingering, and wait until all records sent before are reported. Does not block the loop.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: some records are still in flight.
            RuntimeError: after `close`, outside the producer's loop, or in a forked child.
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        loop = self._bound_loop()
        if not await self._reported(loop, deadline_of(loop, timeout)):
            raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
                                 f"flush: the timeout expired, {len(self)} records are still in flight")

    async def close(self, timeout: Timeout = None) -> None:
        """Flush and close: when this returns every record has been reported. Does not block the loop.

        When the timeout has expired what is in flight is purged, and fails with RD_KAFKA_RESP_ERR__PURGE_QUEUE or
        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT. No record is accepted meanwhile. Closing again waits for the first close, or
        does nothing. Cancelled before all records are reported it leaves the producer open.

        Args:
            timeout: seconds (int, float or timedelta), None waits until the last record has expired.
        Raises:
            RuntimeError: outside the producer's loop, or in a forked child.
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        loop = asyncio.get_running_loop()
        deadline = deadline_of(loop, timeout)
        while self._closing is not None:
            if self._closing.get_loop() is not loop:
                raise RuntimeError("this producer belongs to another loop, which is closing it: await close() there")
            if deadline is not None and deadline <= loop.time():
                self.purge()  # the first close may have a longer timeout
                deadline = None
            # If the first close is cancelled, this one closes.
            await asyncio.wait((self._closing,), timeout=None if deadline is None else deadline - loop.time())
        if self._producer._is_closed():
            return
        self._bound_loop()
        self._closing = closing = loop.create_future()
        self._stop_accepting()
        try:
            if not await self._reported(loop, deadline):
                self.purge()
                await self._reported(loop, loop.time() + PURGE_SECONDS)
        except BaseException:
            self._accept_again()
            self._closing = None
            closing.set_result(None)
            raise
        # From here on it closes, even if this call is cancelled.
        self._producer._wake_through(-1, b"")
        loop.remove_reader(self._reader)
        self._release()
        if self._fatal_check is not None:
            self._fatal_check.cancel()
        # Nothing is in flight: this joins librdkafka's threads, which may take a while.
        try:
            ended = _in_thread(loop, self._producer.close, 0)
        except KafkaException:
            ended = loop.create_future()
            _run(ended, self._producer.close, (0,))  # there are too many threads: close in this one
        ended.add_done_callback(self._ended)
        await asyncio.wait((closing,))
        if (error := closing.result()) is not None:
            raise error

    def _ended(self, ended: "asyncio.Future[None]") -> None:
        assert self._closing is not None
        self._schedule_callbacks()
        closing, self._closing = self._closing, None
        closing.set_result(ended.exception())

    async def fetch_broker_metadata(self, topic: str, timeout: Timeout = 10) -> BrokerMetadata:
        """Ask the cluster for a topic's partitions and leaders; see KafkaAsyncProducer.fetch_broker_metadata."""
        return await _in_thread(self._bound_loop(), self._producer.fetch_broker_metadata, topic, timeout)

    def purge(self) -> None:
        """Fail all records in flight, and those that wait for room; see KafkaAsyncProducer.purge. Does not block."""
        self._producer._purge_soon()
        self._fail_waiting()
        self._progress()
        self._schedule_callbacks()

    @property
    def name(self) -> str:
        """The name of the client in librdkafka's logs, str."""
        return self._producer.name

    @property
    def client_id(self) -> str:
        """The `client.id` in force, str."""
        return self._producer.client_id

    @property
    def properties(self) -> Properties:
        """A copy of the Properties in force."""
        return self._producer.properties

    def get_property(self, name: str) -> str | None:
        """The value in force of any property of librdkafka, str; None: it has no value or is unknown."""
        return self._producer.get_property(name)

    def __len__(self) -> int:
        """How many records are outstanding: sent, without a delivery report yet."""
        left, waited = self._waiting_counts()
        return len(self._producer) + waited - left

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        try:
            self._made_sender()
        except RuntimeError:
            return f"<{type(self).__name__} without a producer>"
        closed = ", closed" if self._producer._is_closed() else ""
        return f"<{type(self).__name__} {self.name}: {len(self)} outstanding{closed}>"

    async def __aenter__(self) -> Self:
        self._bound_loop()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    def __del__(self) -> None:
        # Garbage-collected without close(), perhaps after its loop. KafkaAsyncProducer warns, delivers for a limited
        # time and purges.
        loop = self._event_loop()
        if loop is None or self._reader < 0:
            return
        try:
            self._producer._wake_through(-1, b"")
        except RuntimeError:
            pass  # a forked child, or closed at exit: nothing writes to the descriptors
        else:
            self._fail_waiting()
            if self._close_in_thread(loop):
                return
            self._producer._abandon()
        reader = self._reader
        with suppress(RuntimeError):  # the loop is closed: it reads and calls nothing
            loop.call_soon_threadsafe(_detach, loop, reader, {reader, self._writer}, self._completed())
            self._reader = self._writer = -1
        self._release()

    def _close_in_thread(self, loop: asyncio.AbstractEventLoop) -> bool:
        """If its loop is running here: close the abandoned producer in a thread. Returns whether that was started."""
        if not self._runs_here():
            return False
        self._producer._warn_unclosed()
        descriptors = {self._reader, self._writer}
        try:
            start_thread(partial(_close_abandoned, self._producer, loop, self._reader, descriptors, self._completed()))
        except RuntimeError:
            return False
        self._reader = self._writer = -1
        return True


def _on_ready(producer: "weakref.ref[KafkaProducer]", descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, 4096)
    _serve(producer)


def _serve(producer: "weakref.ref[KafkaProducer]") -> None:
    alive = producer()
    if alive is not None:
        outcomes = alive._serve()
        del alive  # a callback may drop the last reference
        outcomes.run()


def _end_lingering_until(producer: KafkaAsyncProducer, enough: threading.Event) -> None:
    """Body of a thread: ends lingering until `enough` is set."""
    with suppress(RuntimeError):  # the producer is closed
        while not enough.is_set():
            if not producer._end_lingering_for(LINGER_CHECK_SECONDS):
                enough.wait(LINGER_CHECK_SECONDS)


def _in_thread(loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
    """Run `function(*args)` in a thread of its own. Returns a future of its result."""
    future: asyncio.Future[T] = loop.create_future()
    try:
        start_thread(partial(_run, future, function, args))
    except RuntimeError as exc:
        raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, f"no thread: {exc}") from exc
    return future


def _run(future: "asyncio.Future[T]", function: Callable[..., T], args: tuple[Any, ...]) -> None:
    try:
        act = partial(_set_result, future, function(*args))
    except BaseException as exc:
        act = partial(_set_exception, future, exc)
    with suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(act)


def _set_result(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # it may have been cancelled
        future.set_result(result)


def _set_exception(future: "asyncio.Future[Any]", exc: BaseException) -> None:
    if not future.done():
        future.set_exception(exc)


def _close_abandoned(producer: KafkaAsyncProducer, loop: asyncio.AbstractEventLoop, reader: int,
                     descriptors: set[int], outcomes: CompletedFutures) -> None:
    try:
        producer.close(ABANDONED_CLOSE_SECONDS)
    finally:
        try:
            loop.call_soon_threadsafe(_detach, loop, reader, descriptors, outcomes)
        except RuntimeError:  # it is closed
            for descriptor in descriptors:
                os.close(descriptor)


def _detach(loop: asyncio.AbstractEventLoop, reader: int, descriptors: set[int], outcomes: CompletedFutures) -> None:
    loop.remove_reader(reader)
    for descriptor in descriptors:
        os.close(descriptor)
    outcomes.run()


def _batch_done(future: "asyncio.Future[Batch]", batch: Batch) -> None:
    with suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(_set_result, future, batch)


def deadline_of(loop: asyncio.AbstractEventLoop, timeout: Timeout) -> float | None:
    seconds = seconds_of(timeout)
    return None if seconds is None else loop.time() + seconds
