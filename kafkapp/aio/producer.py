"""KafkaProducer for asyncio: sends return futures, and the loop dispatches the delivery reports.

What blocks in librdkafka runs in a thread of its own: ending lingering (flush, close), destroying the client (close), a
request (fetch_broker_metadata). `send` is ProducerBase's, in aio/outbox.pyx; all else is LoopSide's.
"""
import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, overload

from kafkapp.aio import threads
from kafkapp.aio.deadlines import deadline_of, seconds_left
from kafkapp.aio.futures import SendFuture
from kafkapp.aio.loop_side import LoopSide
from kafkapp.aio.outbox import ProducerBase
from kafkapp.aio.transactions import LoopTransaction
from kafkapp.common.cluster_metadata import BrokerMetadata
from kafkapp.common.errors import Error, ErrorCode, KafkaException
from kafkapp.common.timeouts import seconds_of
from kafkapp.config.properties import Properties
from kafkapp.producer.async_producer import KafkaAsyncProducer
from kafkapp.producer.batch import Batch
from kafkapp.producer.options import ActionWhileQueueIsFull, SendOption
from kafkapp.producer.record import ProducerRecord
from kafkapp.producer.record_metadata import RecordMetadata

if TYPE_CHECKING:
    from kafkapp.config.property_types import ProducerProperties
    from kafkapp.producer.columns import _Column, _Memory
    from kafkapp.producer.headers_column import _HeadersColumn
    from kafkapp.producer.producer import _Group, _Offset, _Offsets, _Place
    from kafkapp.producer.record import _Data, _Headers
    from kafkapp.producer.timestamps import _Timestamps

__all__ = ["KafkaProducer", "SendFuture"]

Timeout = int | float | timedelta | None
PURGE_SECONDS = 1  # for the reports of purged records; destroying the client waits for later ones


class KafkaProducer(ProducerBase):
    """Sends records in an event loop: the one that runs when the producer is created, else when it is first used.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required. `linger.ms` is librdkafka's 5: set 0
            for the lowest latency of `await send`.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value.
    Source: rd_kafka_queue_io_event_enable().
    """

    __module__ = "kafkapp.aio"
    _closing: asyncio.Future[BaseException | None] | None = None

    def __init__(self, properties: "ProducerProperties | Properties | Mapping[str, Any]") -> None:
        self._open(partial(LoopSide, properties))
        self._loop_side.bind_at_start(self)

    @property
    def _producer(self) -> KafkaAsyncProducer:
        return self._loop_side.producer

    @overload
    async def send_and_wait(self, topic: str, value: "_Data", *, key: "_Data" = None,
                            partition: SupportsIndex | None = None, headers: "_Headers" = None,
                            timestamp: SupportsIndex | datetime | None = None, id: object = None,
                            option: SendOption = SendOption.NoCopyRecordValue) -> RecordMetadata: ...
    @overload
    async def send_and_wait(self, record: ProducerRecord,
                            option: SendOption = SendOption.NoCopyRecordValue) -> RecordMetadata: ...

    async def send_and_wait(self, *arguments: Any, **named: Any) -> RecordMetadata:
        """As `await send(...)`, with the same arguments, and a coroutine: for `create_task` and `TaskGroup`.

        Cancelled it does not stop the record.

        Returns:
            The record's RecordMetadata.
        Raises:
            Exception: as `send`, and as its future.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        return await self.send(*arguments, **named)

    @overload
    def send_batch(self, topic: str, values: "_Column", *, offsets: None = None, keys: "_Column | _Data" = None,
                   key_offsets: "_Memory | None" = None, partition: object = None, headers: "_HeadersColumn" = None,
                   timestamps: "_Timestamps" = None, option: SendOption = SendOption.NoCopyRecordValue,
                   action: ActionWhileQueueIsFull | None = None,
                   timeout: Timeout = None) -> "asyncio.Future[Batch]": ...
    @overload
    def send_batch(self, topic: str, values: "_Memory", *, offsets: "_Memory", keys: "_Column | _Data" = None,
                   key_offsets: "_Memory | None" = None, partition: object = None, headers: "_HeadersColumn" = None,
                   timestamps: "_Timestamps" = None, option: SendOption = SendOption.NoCopyRecordValue,
                   action: ActionWhileQueueIsFull | None = None,
                   timeout: Timeout = None) -> "asyncio.Future[Batch]": ...

    def send_batch(self, topic: str, values: "_Column | _Memory", *, offsets: "_Memory | None" = None,
                   keys: "_Column | _Data" = None, key_offsets: "_Memory | None" = None, partition: object = None,
                   headers: "_HeadersColumn" = None, timestamps: "_Timestamps" = None,
                   option: SendOption = SendOption.NoCopyRecordValue, action: ActionWhileQueueIsFull | None = None,
                   timeout: Timeout = None) -> "asyncio.Future[Batch]":
        """Enqueue many records in one call; the arguments are those of KafkaAsyncProducer.send_batch but `callback`.

        Never blocks, unless an Arrow stream does: that is read to its end first. Records that find no room in
        librdkafka's queue wait, in order, and so does what is sent after them. Cancelling the future stops no record,
        as with `send`: all that was given is sent, and `flush` and `close` wait for it; `timeout` is what ends the
        wait for room, and `purge`. The exporters must not change before the future is done, unless `option` is
        SendOption.ToCopyRecordValue and `action` NoBlock.

        Args:
            action: an ActionWhileQueueIsFull. None or Block: wait for room. NoBlock: refuse what finds none with
                RD_KAFKA_RESP_ERR__QUEUE_FULL, see `Batch.next_index`.
            timeout: seconds to wait for room (int, float or timedelta), None waits forever. What has found none then
                is refused with RD_KAFKA_RESP_ERR__QUEUE_FULL.
        Returns:
            An asyncio.Future of the Batch, done when the Batch is.
        Raises:
            TypeError: `action` is no ActionWhileQueueIsFull.
            Exception: as KafkaAsyncProducer.send_batch.
        Source: rd_kafka_produce_batch().
        """
        side = self._loop_side
        loop = side.bind(self)
        future: asyncio.Future[Batch] = loop.create_future()
        seconds = seconds_of(timeout)
        member = ActionWhileQueueIsFull.Block if action is None else ActionWhileQueueIsFull.member(action)
        if member is None:
            raise TypeError(f"action must be an ActionWhileQueueIsFull or None, not {action!r}")
        side.enqueue_waiting()  # they come first
        waiting = side.outbox.send_batch(topic, values, offsets, keys, key_offsets, partition, headers, timestamps,
                                         option, member is ActionWhileQueueIsFull.Block and seconds != 0,
                                         partial(_batch_done, future))
        if waiting is not None and seconds is not None:
            timer = loop.call_later(seconds, side.outbox.expire, waiting)
            future.add_done_callback(partial(_end_timer, timer))
        return future

    async def wait_for_room(self, timeout: Timeout = None) -> None:
        """Wait until nothing that was sent waits for room in librdkafka's queue, and the queue has room.

        Backpressure: after each `send`, or when `try_send` has found the queue full. With several tasks another one may
        take the room first. Does not block the loop.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__QUEUE_FULL (a BufferError): there was no room before the timeout expired.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        """
        side = self._loop_side
        loop = side.bind(self)
        if not await side.has_room(loop, deadline_of(loop, timeout)):
            raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL,
                                 f"wait_for_room() timed out: {len(self)} records are outstanding")

    async def flush(self, timeout: Timeout = None) -> None:
        """End lingering, and wait until all records sent before are reported; after `close` there are none.

        Does not block the loop.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: some records are still in flight.
            RuntimeError: outside the producer's loop, or in a forked child.
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        loop, side = asyncio.get_running_loop(), self._loop_side
        deadline = deadline_of(loop, timeout)
        ended = await self._other_close(loop, deadline)  # it flushes
        if ended and self.closed:
            return
        if not ended or not await side.reported(side.bind(self), deadline):
            raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
                                 f"flush() timed out: {len(self)} records are still outstanding")

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
        loop, side = asyncio.get_running_loop(), self._loop_side
        deadline = deadline_of(loop, timeout)
        if not await self._other_close(loop, deadline):
            side.client.count_losses()
            with suppress(RuntimeError):  # its last step has begun, in a thread
                self.purge()  # it may have a longer timeout
            await self._other_close(loop, None)
        if side.client.is_closed():
            return  # else it was cancelled: this one closes
        side.bind(self)
        self._closing = closing = loop.create_future()
        side.outbox.closed = True
        try:
            if not await side.reported(loop, deadline):
                side.client.count_losses()
                self.purge()
                await side.reported(loop, loop.time() + PURGE_SECONDS)
        except BaseException:
            side.client.stay_open()
            side.outbox.closed = False
            self._closing = None
            closing.set_result(None)
            raise
        # From here on it closes, even if this call is cancelled.
        side.detach()
        # Nothing is in flight: this joins librdkafka's threads, which may take a while.
        try:
            ended = threads.in_thread(loop, side.producer.close, 0)
        except KafkaException:
            ended = loop.create_future()
            threads.run(ended, side.producer.close, (0,))  # there are too many threads: close in this one
        ended.add_done_callback(self._ended)
        await asyncio.wait((closing,))
        if (error := closing.result()) is not None:
            raise error

    async def _other_close(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> bool:
        """Wait until no other call closes. Returns False when the deadline has expired first."""
        while self._closing is not None:
            if self._closing.get_loop() is not loop:
                raise RuntimeError("this producer belongs to another loop, which is closing it: await close() there")
            if (left := seconds_left(loop, deadline)) == 0:
                return False
            await asyncio.wait((self._closing,), timeout=left)
        return True

    def _ended(self, ended: "asyncio.Future[None]") -> None:
        assert self._closing is not None
        self._loop_side.end_waits()
        closing, self._closing = self._closing, None
        closing.set_result(ended.exception())

    # -- transactions ---------------------------------------------------------------------------

    async def init_transactions(self, timeout: Timeout = None) -> None:
        """Initialize transactions: end those of an earlier producer with this `transactional.id`, and fence it.

        Must be called once, before the first transaction. Does not block the loop; may be called again after a timeout
        or a cancellation, as `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, RD_KAFKA_RESP_ERR__TIMED_OUT and others, as
                KafkaAsyncProducer.init_transactions.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        Source: rd_kafka_init_transactions(); KafkaProducer::initTransactions.
        """
        await self._call_transaction("init_transactions", timeout)

    async def begin_transaction(self) -> None:
        """Begin a transaction: records sent from now on are part of it. Does not block the loop.

        Waits first for a commit or an abort whose task was cancelled.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, `transactional.id` is not set;
                RD_KAFKA_RESP_ERR__STATE, a transaction is open already, or `init_transactions` was not called;
                RD_KAFKA_RESP_ERR__FATAL.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        Source: rd_kafka_begin_transaction(); KafkaProducer::beginTransaction.
        """
        await self._call_transaction("begin_transaction", None)

    async def commit_transaction(self, timeout: Timeout = None) -> None:
        """Flush, and commit the transaction, with the records that wait for room. Does not block the loop.

        May be called again after a timeout or a cancellation. Cancelled it goes on: a second call has its result, the
        other calls of a transaction wait for it first.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__INCONSISTENT, RD_KAFKA_RESP_ERR__TIMED_OUT and
                others, as KafkaAsyncProducer.commit_transaction: `error` says what to do.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        Source: rd_kafka_commit_transaction(); KafkaProducer::commitTransaction.
        """
        loop, side = asyncio.get_running_loop(), self._loop_side
        deadline = deadline_of(loop, timeout)
        if not await side.enqueued(side.bind(self), deadline):
            raise KafkaException(Error(
                ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, is_retriable=True, message="commit_transaction() timed out: "
                f"{len(side.outbox)} records still wait for room in the queue"))
        await side.transactions.run(loop, "commit_transaction", deadline)

    async def abort_transaction(self, timeout: Timeout = None) -> None:
        """Fail the records in flight and those that wait for room, and abort the transaction.

        Does not block the loop; may be called again after a timeout or a cancellation, as `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__TIMED_OUT and others, as
                KafkaAsyncProducer.abort_transaction: `error` says what to do.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        Source: rd_kafka_abort_transaction(); KafkaProducer::abortTransaction.
        """
        loop, side = self._loop_side.bind(self), self._loop_side
        deadline = deadline_of(loop, timeout)
        if self.get_property("transactional.id"):  # else the call is an error, and no record's end
            side.fail_waiting()
        await side.transactions.run(loop, "abort_transaction", deadline)

    async def _call_transaction(self, name: str, timeout: Timeout) -> None:
        loop = self._loop_side.bind(self)
        await self._loop_side.transactions.run(loop, name, deadline_of(loop, timeout))

    async def send_offsets_to_transaction(self, offsets: "_Offsets | Mapping[_Place, int | _Offset]", group: "_Group",
                                          timeout: Timeout = None) -> None:
        """Commit a consumer group's offsets with the transaction; see KafkaAsyncProducer.send_offsets_to_transaction.

        Does not block the loop. Cancelled it goes on; until it has finished, the other calls of the transaction raise
        RD_KAFKA_RESP_ERR__CONFLICT, with `is_retriable`. `async with transaction()` retries them.

        Args:
            offsets: (topic, partition, offset) tuples, or the objects or dict that consumers have.
            group: the consumer's group metadata; its bare name, a str, does not fence: a UserWarning.
            timeout: seconds (int, float or timedelta), None waits for `transaction.timeout.ms`.
        Raises:
            KafkaException: as `commit_transaction`.
            TypeError, ValueError: an argument is malformed.
            RuntimeError: outside the producer's loop, after `close`, or in a forked child.
        Source: rd_kafka_send_offsets_to_transaction(); KafkaProducer::sendOffsetsToTransaction.
        """
        loop = self._loop_side.bind(self)
        await self._loop_side.transactions.send_offsets(loop, offsets, group, deadline_of(loop, timeout))

    def transaction(self) -> LoopTransaction:
        """A transaction as an asynchronous context manager: commits at its end, aborts when its body raises.

        `async with producer.transaction():`. Aborts when its body is cancelled too, and waits up to ten seconds for
        that. A commit is retried on a retriable error; on an abortable error the transaction is aborted, and the error
        raised; a fatal error is raised. A commit that is cancelled goes on: see `commit_transaction`.

        Returns:
            A context manager, whose value is the producer.
        """
        return LoopTransaction(self)

    async def fetch_broker_metadata(self, topic: str, timeout: Timeout = 10) -> BrokerMetadata:
        """Ask the cluster for a topic's partitions and leaders; see KafkaAsyncProducer.fetch_broker_metadata."""
        loop = self._loop_side.bind(self)
        return await threads.in_thread(loop, self._producer.fetch_broker_metadata, topic, timeout)

    async def list_topics(self, timeout: Timeout = 10) -> dict[str, int]:
        """Ask the cluster for all topics: a dict of names and numbers of partitions; see
        KafkaAsyncProducer.list_topics."""
        loop = self._loop_side.bind(self)
        return await threads.in_thread(loop, self._producer.list_topics, timeout)

    def purge(self) -> None:
        """Fail all records in flight, and those that wait for room; see KafkaAsyncProducer.purge. Does not block."""
        self._loop_side.purge()

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

    @property
    def closed(self) -> bool:
        """Whether `close` has been called, bool: no record is accepted any more. False again if that was cancelled."""
        return self._loop_side.outbox.closed or self._loop_side.client.is_closed()

    def get_property(self, name: str) -> str | None:
        """The value in force of any property of librdkafka, str; None: it has no value or is unknown."""
        return self._producer.get_property(name)

    def __len__(self) -> int:
        """How many records are outstanding: sent, without a delivery report yet."""
        return len(self._producer) + len(self._loop_side.outbox)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        try:
            closed = ", closed" if self.closed else ""
        except RuntimeError:
            return f"<{type(self).__name__} without a producer>"
        return f"<{type(self).__name__} {self.name}: {len(self)} outstanding{closed}>"

    async def __aenter__(self) -> Self:
        self._loop_side.bind(self)
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    def __del__(self) -> None:
        try:
            side = self._loop_side
        except RuntimeError:
            return  # __init__ was not called, or has failed
        side.abandon()


def _batch_done(future: "asyncio.Future[Batch]", batch: Batch) -> None:
    with suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(threads.set_result, future, batch)


def _end_timer(timer: asyncio.TimerHandle, future: "asyncio.Future[Batch]") -> None:
    if not future.cancelled():  # then the batch goes on, and so does its time
        timer.cancel()
