"""The asyncio front: sends are futures, driven by a file descriptor in the loop. No thread, no polling.

Layer L8: a KafkaAsyncProducer with manual polling, which the loop polls when librdkafka says that there is something.
"""
import asyncio
import os
import socket
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Self

from kafkapp.batch import Batch
from kafkapp.config import Properties
from kafkapp.errors import Error, ErrorCode, KafkaException
from kafkapp.metadata import BrokerMetadata
from kafkapp.options import EventsPollingOption, SendOption
from kafkapp.producer import KafkaAsyncProducer
from kafkapp.records import ProducerRecord, RecordMetadata

Timeout = int | float | timedelta | None
QUEUE_FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
PUSH = 0.05  # seconds that a flush ends lingering for at a time
ONE = (1).to_bytes(8, "little")  # what an eventfd is written


class KafkaProducer:
    """Sends records from a coroutine's loop: the one that runs when it is made, or first used.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required. `linger.ms` is librdkafka's 5: set 0
            where each `await send` is to be as quick as can be.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG, a property is unknown or bad.
    Source: rd_kafka_queue_io_event_enable().
    """

    def __init__(self, properties: Properties | Mapping[str, Any]) -> None:
        self._producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[ProducerRecord, asyncio.Future[RecordMetadata], SendOption]] = deque()
        self._served: list[asyncio.Future[None]] = []  # who waits for the next reports
        self._thread = 0
        self._reader, self._writer = -1, -1
        try:
            self._bind(asyncio.get_running_loop())
        except RuntimeError:
            pass  # made outside a loop: bound by the first call

    def _bind(self, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """Become the loop's: its thread alone may call from now on."""
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            payload = ONE
        else:
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self._reader, self._writer, payload = reader.detach(), writer.detach(), b"x"
        self._loop, self._thread = loop, get_ident()
        loop.add_reader(self._reader, self._on_ready)
        self._producer._signal(self._writer, payload)
        return loop

    def _bound(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is None:
            return self._bind(asyncio.get_running_loop())
        if get_ident() != self._thread:
            raise RuntimeError("this producer is another loop's: use it in the thread of the loop that it was made in")
        return loop

    def _on_ready(self) -> None:
        """librdkafka's queue is no longer empty: serve all of it, since it tells only once."""
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass
        while self._producer.poll_events(0):
            pass
        self._send_waiting()
        if self._served:
            served, self._served = self._served, []
            for future in served:
                if not future.done():
                    future.set_result(None)

    def _report(self, future: "asyncio.Future[Any]", metadata: object, error: Error | None) -> None:
        if get_ident() != self._thread:  # fetch_broker_metadata serves in a thread of its own
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._report, future, metadata, error)
        elif future.done():
            pass  # cancelled: the record has gone its way all the same
        elif error is None:
            future.set_result(metadata)
        else:
            future.set_exception(KafkaException(error))

    def send(self, record: ProducerRecord,
             option: SendOption = SendOption.NoCopyRecordValue) -> "asyncio.Future[RecordMetadata]":
        """Send a record.

        Never blocks. While librdkafka's queue is full records wait their turn; whoever awaits the futures of what was
        sent waits with them, which is all the back-pressure there is. Cancelling the future does not stop the record.

        Args:
            record: a ProducerRecord; may be changed and sent again at once.
            option: a SendOption.
        Returns:
            A future of the record's RecordMetadata, which raises KafkaException when it was not delivered.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, in another thread than the loop's, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        future: asyncio.Future[RecordMetadata] = (self._loop or self._bound()).create_future()
        if self._waiting:
            self._waiting.append((copy_of(record), future, option))
            return future
        error = self._producer.try_send(record, partial(self._report, future), option)
        if error is not None:
            if error.code == QUEUE_FULL:
                self._waiting.append((copy_of(record), future, option))
            else:
                future.set_exception(KafkaException(error))
        return future

    def _send_waiting(self) -> None:
        while self._waiting:
            record, future, option = self._waiting[0]
            if not future.done():
                error = self._producer.try_send(record, partial(self._report, future), option)
                if error is not None:
                    if error.code == QUEUE_FULL:
                        return
                    future.set_exception(KafkaException(error))
            self._waiting.popleft()

    def send_batch(self, topic: str, values: object, **arguments: Any) -> "asyncio.Future[Batch]":
        """Send many records in one call; the arguments are those of KafkaAsyncProducer.send_batch but `callback`.

        Never blocks: what finds no room is refused with RD_KAFKA_RESP_ERR__QUEUE_FULL, see `Batch.next_index`.

        Returns:
            A future of the Batch, when it is done.
        Raises:
            As KafkaAsyncProducer.send_batch.
        Source: rd_kafka_produce_batch().
        """
        future: asyncio.Future[Batch] = (self._loop or self._bound()).create_future()
        batch = self._producer.send_batch(topic, values, callback=lambda batch: self._report(future, batch, None),
                                          **arguments)
        if batch.done and not batch.accepted:
            future.set_result(batch)
        return future

    async def _progress(self, deadline: float | None) -> None:
        """Wait for reports, and have what lingers sent meanwhile."""
        loop = self._bound()
        left = PUSH if deadline is None else min(PUSH, deadline - loop.time())
        served = loop.create_future()
        self._served.append(served)
        push = loop.run_in_executor(None, self._producer._push, max(left, 0))
        await asyncio.wait((served, push), timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        await push

    async def flush(self, timeout: Timeout = None) -> None:
        """Send what lingers, and wait until all that was sent before is reported.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT, some records are still in flight.
            RuntimeError: after `close`, in another thread than the loop's, or in a forked child.
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        deadline = end_of(self._bound(), timeout)
        while True:
            last = self._waiting[-1] if self._waiting else None
            epoch = self._producer._epoch()
            while not self._producer._epoch_done(epoch):
                if deadline is not None and self._bound().time() >= deadline:
                    raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
                                         f"flush: {len(self)} records are not reported yet")
                await self._progress(deadline)
            if last is None or last[1].done():
                return

    async def close(self, timeout: Timeout = None) -> None:
        """Flush, and end: every record has been reported when this returns.

        When the time is over what is in flight is purged, and fails with RD_KAFKA_RESP_ERR__PURGE_QUEUE or
        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT. Closing again does nothing.

        Args:
            timeout: seconds (int, float or timedelta), None waits for as long as records may live.
        Raises:
            RuntimeError: in another thread than the loop's, or in a forked child.
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        if self._producer._closed():
            return
        loop = self._bound()
        try:
            await self.flush(timeout)
        except KafkaException as failure:
            if failure.error.code != ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                raise
        for _, future, _ in self._waiting:
            if not future.done():
                future.set_exception(KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE))
        self._waiting.clear()
        self._producer._signal(-1, b"")
        self._producer.close(0)
        loop.remove_reader(self._reader)
        for descriptor in {self._reader, self._writer}:
            os.close(descriptor)

    async def fetch_broker_metadata(self, topic: str, timeout: Timeout = 10) -> BrokerMetadata:
        """Ask the cluster for a topic's partitions and leaders; see KafkaAsyncProducer.fetch_broker_metadata."""
        return await self._bound().run_in_executor(None, self._producer.fetch_broker_metadata, topic, timeout)

    def purge(self) -> None:
        """Give up all records in flight; see KafkaAsyncProducer.purge."""
        self._producer.purge()

    @property
    def name(self) -> str:
        """The name of the client as librdkafka logs it."""
        return self._producer.name

    @property
    def client_id(self) -> str:
        """The `client.id` in force."""
        return self._producer.client_id

    @property
    def properties(self) -> Properties:
        """A copy of the Properties in force."""
        return self._producer.properties

    def get_property(self, name: str) -> str | None:
        """The value in force of any property of librdkafka, None for one that it does not know."""
        return self._producer.get_property(name)

    def __len__(self) -> int:
        """How many records are outstanding: sent, and not reported yet."""
        return len(self._producer) + len(self._waiting)

    def __bool__(self) -> bool:
        return True

    async def __aenter__(self) -> Self:
        self._bound()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()


def copy_of(record: ProducerRecord) -> ProducerRecord:
    """The record as it is now: the user may change it while it waits."""
    copy = ProducerRecord(record.topic, record.partition, record.key, record.value, record.id,
                          timestamp=record.timestamp)
    if record.headers:
        copy.headers = list(record.headers)
    return copy


def end_of(loop: asyncio.AbstractEventLoop, timeout: Timeout) -> float | None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if not seconds >= 0:
        raise ValueError(f"timeout must be at least 0 seconds, or None for ever, not {timeout!r}")
    return loop.time() + seconds
