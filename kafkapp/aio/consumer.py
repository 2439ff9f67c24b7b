"""KafkaConsumer for asyncio: polls are coroutines, which the loop resumes when librdkafka has records.

What blocks in librdkafka runs in a thread of its own for each call: seeks, offsets of brokers, closing. All else is
ConsumerSide's, in aio/consumer_side.py.
"""
import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kafkapp.aio import threads
from kafkapp.aio.consumer_side import Batches, ConsumerSide, commit_answered
from kafkapp.aio.deadlines import deadline_of, seconds_left
from kafkapp.aio.groups import ATTEMPT_SECONDS, OnRebalance, Subscribed, attempts, told_by
from kafkapp.aio.record_cursor import RecordIterator
from kafkapp.common.cluster_metadata import BrokerMetadata
from kafkapp.common.errors import Error, ErrorCode, KafkaException
from kafkapp.common.timestamp import Timestamp
from kafkapp.config.properties import Properties
from kafkapp.consumer.consumed_batch import ConsumedBatch
from kafkapp.consumer.consumer import KafkaConsumer as Consumer
from kafkapp.consumer.consumer_record import ConsumerRecord
from kafkapp.consumer.topic_partition import Offset, TopicPartition, checked_partition, checked_partitions

if TYPE_CHECKING:
    from kafkapp.config.property_types import ConsumerProperties
    from kafkapp.consumer.consumer import _Offsets
    from kafkapp.consumer.groups import ConsumerGroupMetadata
    from kafkapp.consumer.partitions import _Partition, _Partitions, _Place, _Start, _Time

Timeout = int | float | timedelta | None


class KafkaConsumer:
    """Reads records in an event loop: the one that runs when the consumer is created, else when it is first used.

    `async for record in consumer`, `async for batch in consumer.batches()`, or polls. One task polls at a time.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value.
    Source: rd_kafka_queue_io_event_enable().
    """

    __module__ = "kafkapp.aio"
    _made: ConsumerSide | None = None
    _closing: asyncio.Future[BaseException | None] | None = None

    def __init__(self, properties: "ConsumerProperties | Properties | Mapping[str, Any]") -> None:
        if self._made is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        self._made = ConsumerSide(properties)
        self._made.bind_at_start(self)

    @property
    def _side(self) -> ConsumerSide:
        if self._made is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               "super().__init__() first")
        return self._made

    # -- reading --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        """Read record by record, with headers: `async for record in consumer`. Ends after `wakeup`.

        `position`, and a commit without arguments, know which records it has given. Left early it loses none: the next
        loop, or poll, goes on with the next record.

        Raises:
            as `poll_batch`, when it has to wait.
        """
        return RecordIterator(self._side.cursor, partial(self._side.next_record, self))

    def batches(self, *, max_records: int = 100_000, max_bytes: int = 4194304,
                headers: bool = False) -> AsyncIterator[ConsumedBatch]:
        """Read batch by batch: `async for batch in consumer.batches()`. Ends after `wakeup`.

        Args and Raises: as `poll_batch`.
        """
        return Batches(partial(self.poll_batch, max_records=max_records, max_bytes=max_bytes, headers=headers))

    async def poll_batch(self, timeout: Timeout = None, *, max_records: int = 100_000, max_bytes: int = 4194304,
                         headers: bool = False) -> ConsumedBatch:
        """Read what has come, as columns; see the synchronous KafkaConsumer.poll_batch.

        Does not block the loop. Cancelled it has taken nothing.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
            max_records: how many records at most, int.
            max_bytes: of keys, values and headers, int, up to 1 GiB. What librdkafka gives at a time may exceed it.
            headers: whether the records' headers are read too, bool.
        Returns:
            A ConsumedBatch; an empty one, which is false, when the timeout has expired or after `wakeup`.
        Raises:
            KafkaException: what librdkafka reports of a partition. What was read before it is returned first; the next
                poll goes on.
            RuntimeError: another task polls; outside the consumer's loop, after `close`, or in a forked child.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        side = self._side
        loop = side.bind(self)
        return await side.poll(loop, partial(side.consumer.poll_batch, 0, max_records=max_records, max_bytes=max_bytes,
                                             headers=headers), deadline_of(loop, timeout))

    async def poll(self, timeout: Timeout = None, max_records: int | None = None, *,
                   view_from: int | None = 4096) -> ConsumedBatch:
        """Read what has come, as records, with headers; see `poll_batch`, and for the arguments the synchronous
        KafkaConsumer.poll.

        Returns:
            A ConsumedBatch, a sequence of ConsumerRecord.
        Raises:
            as `poll_batch`.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        side = self._side
        loop = side.bind(self)
        return await side.poll(loop, partial(side.consumer.poll, 0, max_records, view_from=view_from),
                               deadline_of(loop, timeout))

    def wakeup(self) -> None:
        """End the poll that waits now, else the next one: it returns an empty batch, and `async for` ends. Records that
        are there are for the poll after it.

        Thread-safe: also for `loop.add_signal_handler` and `signal.signal`.

        Raises:
            RuntimeError: after `close`, or in a forked child.
        """
        self._side.check_usable()
        self._side.wakeup()

    # -- what is read ---------------------------------------------------------------------------

    def subscribe(self, topics: Iterable[str], on_rebalance: OnRebalance | None = None,
                  timeout: Timeout = None) -> Awaitable[None]:
        """Read these topics as a member of the group; see the synchronous KafkaConsumer.subscribe.

        Returns at once; `await consumer.subscribe(...)` waits until the group has assigned partitions of these topics.
        Rebalances happen when they come, in polls and while your code awaits something else: `on_rebalance` runs in the
        loop, and holds it up: see `in_rebalance`. What it raises, the next poll raises.

        Args:
            topics: a list of str: names, or regular expressions that begin with `^`.
            on_rebalance: on_rebalance(event, partitions), a plain function; None.
            timeout: seconds (int, float or timedelta) to wait, when awaited; None waits forever.
        Returns:
            What may be awaited: it raises RD_KAFKA_RESP_ERR__TIMED_OUT when nothing was assigned in time, and the
            subscription stands.
        Raises:
            KafkaException: as the synchronous one.
            TypeError, ValueError: an argument is malformed.
            RuntimeError: outside the consumer's loop, after `close`, or in a forked child.
        Source: rd_kafka_subscribe(); KafkaConsumer::subscribe.
        """
        side = self._side
        loop = side.bind(self)
        deadline = deadline_of(loop, timeout)
        names = [topics] if isinstance(topics, str) else list(topics)
        told = told_by(side, on_rebalance)
        side.cursor.give_back()
        before = side.client.rebalances()
        unchanged = side.consumer.assignment() and side.consumer.subscription() == set(names)
        side.consumer.subscribe(topics if isinstance(topics, str) else names, told)
        if unchanged:
            return Subscribed(None)
        return Subscribed(partial(attempts, partial(side.client.wait_assigned, before, ATTEMPT_SECONDS), side, loop,
                                  deadline))

    async def unsubscribe(self, timeout: Timeout = 10) -> None:
        """Leave the group, or end what `assign` has assigned: nothing is read any more.

        Waits until the partitions are revoked; `on_rebalance` is called before.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT.
            RuntimeError: outside the consumer's loop, after `close`, or in a forked child.
        Source: rd_kafka_unsubscribe(); KafkaConsumer::unsubscribe.
        """
        side = self._side
        loop = side.bind(self)
        side.cursor.give_back()
        await attempts(partial(side.consumer.unsubscribe, ATTEMPT_SECONDS), side, loop, deadline_of(loop, timeout))

    def subscription(self) -> set[str]:
        """The topics that it is subscribed to, names and patterns: a set of str."""
        return self._side.consumer.subscription()

    def group_metadata(self) -> "ConsumerGroupMetadata":
        """Which member of its group it is: a ConsumerGroupMetadata, for a producer's `send_offsets_to_transaction`; see
        the synchronous KafkaConsumer.group_metadata."""
        self._side.bind(self)
        return self._side.consumer.group_metadata()

    @property
    def in_rebalance(self) -> Consumer:
        """The synchronous KafkaConsumer, for `on_rebalance`: its `commit_sync`, `seek`, `position` and so on block the
        loop until they are done.

        Raises:
            RuntimeError: elsewhere.
        """
        if not self._side.in_rebalance:
            raise RuntimeError("in_rebalance is for on_rebalance: elsewhere await the consumer's own methods")
        return self._side.consumer

    def assign(self, partitions: "_Partitions | Mapping[_Partition, int]") -> None:
        """Read these partitions, in place of those before; see the synchronous KafkaConsumer.assign.

        It asks no broker, and so takes no times: assign, and then `await seek()`, which takes one. After a poll that
        has met damage it may hold the loop up: see the synchronous one.
        """
        if isinstance(partitions, Mapping) and any(isinstance(start, (Timestamp, datetime))
                                                   for start in partitions.values()):
            raise TypeError("assign() takes no times in an event loop, which it would block while brokers are asked: "
                            "assign without them, and then `await seek(partition, time)`")
        self._side.bind(self)
        self._side.cursor.give_back()
        self._side.consumer.assign(partitions)

    def assignment(self) -> set[TopicPartition]:
        """What is assigned: a set of TopicPartition."""
        return self._side.consumer.assignment()

    def position(self, partition: "_Partition") -> int | None:
        """The next offset of an assigned partition, int; None: unknown before the first record; see the synchronous
        KafkaConsumer.position."""
        self._side.cursor.update_positions()
        return self._side.consumer.position(partition)

    def pause(self, partitions: "_Partitions | None" = None) -> None:
        """Return no records of assigned partitions, all of them for None, until `resume`."""
        self._side.bind(self)
        places = None if partitions is None else checked_partitions(partitions)
        self._side.cursor.give_back(places)
        self._side.consumer.pause(places)

    def resume(self, partitions: "_Partitions | None" = None) -> None:
        """End what `pause` has begun."""
        self._side.bind(self)
        self._side.consumer.resume(partitions)

    async def seek(self, partition: "_Partition", offset: "_Start", timeout: Timeout = 10) -> None:
        """Go on reading an assigned partition from another offset; see the synchronous KafkaConsumer.seek."""
        if isinstance(offset, (Timestamp, datetime)):
            found = await self.offsets_for_times({partition: offset}, timeout)
            offset = next(iter(found.values()), Offset.End)
        place = checked_partition(partition)
        await self._side.seek(self, partial(self._side.consumer.seek, place, offset), [place], timeout)

    async def seek_to_beginning(self, partitions: "_Partitions | None" = None, timeout: Timeout = 10) -> None:
        """Go on reading assigned partitions, all of them for None, from their first records. As `seek`."""
        places = None if partitions is None else checked_partitions(partitions)
        await self._side.seek(self, partial(self._side.consumer.seek_to_beginning, places), places, timeout)

    async def seek_to_end(self, partitions: "_Partitions | None" = None, timeout: Timeout = 10) -> None:
        """Go on reading assigned partitions, all of them for None, behind their last records. As `seek`."""
        places = None if partitions is None else checked_partitions(partitions)
        await self._side.seek(self, partial(self._side.consumer.seek_to_end, places), places, timeout)

    # -- offsets on brokers ---------------------------------------------------------------------

    async def beginning_offsets(self, partitions: "_Partitions", timeout: Timeout = 10) -> dict[TopicPartition, int]:
        """The offset of the first record that each partition has: a dict of TopicPartition to int; see the synchronous
        KafkaConsumer.beginning_offsets."""
        return await self._call("beginning_offsets", partitions, timeout)

    async def end_offsets(self, partitions: "_Partitions", timeout: Timeout = 10) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition will have. As `beginning_offsets`."""
        return await self._call("end_offsets", partitions, timeout)

    async def offsets_for_times(self, times: "Mapping[_Place, _Time]",
                                timeout: Timeout = 10) -> dict[TopicPartition, int]:
        """The offset of the first record of each partition whose timestamp is not earlier than a time; see the
        synchronous KafkaConsumer.offsets_for_times."""
        return await self._call("offsets_for_times", times, timeout)

    async def lag(self, timeout: Timeout = 10) -> dict[TopicPartition, int]:
        """How many offsets lie between the position of each assigned partition and its end: a dict of TopicPartition to
        int; see the synchronous KafkaConsumer.lag."""
        self._side.cursor.update_positions()
        return await self._call("lag", timeout)

    async def fetch_broker_metadata(self, topic: str, timeout: Timeout = 10) -> BrokerMetadata:
        """Ask the cluster for a topic's partitions and leaders; see the synchronous
        KafkaConsumer.fetch_broker_metadata."""
        return await self._call("fetch_broker_metadata", topic, timeout)

    async def list_topics(self, timeout: Timeout = 10) -> dict[str, int]:
        """Ask the cluster for all topics: a dict of names and numbers of partitions; see the synchronous
        KafkaConsumer.list_topics."""
        return await self._call("list_topics", timeout)

    # -- commits --------------------------------------------------------------------------------

    async def committed(self, partitions: "_Partitions", timeout: Timeout = 10) -> dict[TopicPartition, int]:
        """The offsets that the group has committed: a dict of TopicPartition to int; one without is left out."""
        return await self._call("committed", partitions, timeout)

    async def commit(self, what: "_Offsets | None" = None, timeout: Timeout = None) -> None:
        """Commit for the group what was read, and wait until the broker has it. Does not block the loop.

        It is begun when the commits before it are answered. Cancelled it may still be committed. Nothing to commit is
        success.

        Args:
            what: None, what polls and `async for` have given; else as the synchronous KafkaConsumer.commit_sync has it:
                a ConsumedBatch or a ConsumerRecord, what comes after it, or offsets.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: it may still be committed; others as commit_sync;
                RD_KAFKA_RESP_ERR__DESTROY: closed before a broker has answered.
            TypeError, ValueError: the offsets are malformed; nothing is committed.
            RuntimeError: outside the consumer's loop, after `close`, or in a forked child.
        Source: rd_kafka_commit_queue(); KafkaConsumer::commitAsync.
        """
        side = self._side
        loop = side.bind(self)
        deadline = deadline_of(loop, timeout)
        answered: asyncio.Future[Error | None] = loop.create_future()
        side.cursor.update_positions()
        offsets = side.client.what_to_commit(what)
        await side.commits_answered(loop, deadline)
        side.client.begin_commit(offsets, what is None, partial(commit_answered, answered))
        await asyncio.wait((answered,), timeout=seconds_left(loop, deadline))
        if not answered.done():
            raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
                                 "commit() has had no answer in time; the offsets may still be committed")
        if (error := answered.result()) is not None:
            raise KafkaException(error)

    async def _call(self, name: str, *args: Any) -> Any:
        """What the synchronous consumer's method of this name returns, called in a thread of its own."""
        side = self._side
        return await side.call(side.bind(self), getattr(side.consumer, name), *args)

    # -- what it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the client in librdkafka's logs, str."""
        return self._side.consumer.name

    @property
    def client_id(self) -> str:
        """The `client.id` in force, str."""
        return self._side.consumer.client_id

    @property
    def group_id(self) -> str:
        """The `group.id` in force, str; random unless it was set."""
        return self._side.consumer.group_id

    @property
    def properties(self) -> Properties:
        """A copy of the Properties in force."""
        return self._side.consumer.properties

    @property
    def pinned_bytes(self) -> int:
        """How much of librdkafka's memory live views hold, at most; see the synchronous KafkaConsumer.pinned_bytes."""
        return self._side.consumer.pinned_bytes

    @property
    def closed(self) -> bool:
        """Whether `close` has been called, bool."""
        return self._side.refuses()

    def get_property(self, name: str) -> str | None:
        """The value in force of any property of librdkafka, str; None: it has no value or is unknown."""
        return self._side.consumer.get_property(name)

    def __repr__(self) -> str:
        try:
            closed = ", closed" if self.closed else ""
        except RuntimeError:
            return f"<{type(self).__name__} without a consumer>"
        return f"<{type(self).__name__} {self.name}{closed}>"

    # -- the end --------------------------------------------------------------------------------

    async def close(self, timeout: Timeout = None) -> None:
        """Close, when commits are answered. Does not block the loop; cancelled it goes on.

        With `enable.auto.commit` it first commits what polls and `async for` have given; at the end of an `async with`
        that an exception has left, without what the last poll has. A poll that waits in another task raises
        RuntimeError. Records that were read stay valid. Closing again waits for the first close, or does nothing.

        Args:
            timeout: seconds (int, float or timedelta) for the answers of brokers; None: 5, while none can be reached 1.
        Raises:
            RuntimeError: outside the consumer's loop, or in a forked child.
        Source: rd_kafka_destroy(); KafkaConsumer::close.
        """
        await self._close(timeout, True)

    async def _close(self, timeout: Timeout, processed: bool) -> None:
        """`processed`: what the last poll has given may be committed."""
        loop, side = asyncio.get_running_loop(), self._side
        deadline = deadline_of(loop, timeout)
        if self._closing is None:
            if side.client.is_closed():
                return
            side.bind(self)
            self._closing = loop.create_future()
            failure: Exception | None = None
            try:
                side.begin_close(processed)
            except Exception as exc:
                failure = exc
            try:
                ended = threads.in_thread(loop, side.consumer.close, seconds_left(loop, deadline))
            except KafkaException:
                ended = loop.create_future()
                threads.run(ended, side.consumer.close, (0,))  # there are too many threads: close in this one
            ended.add_done_callback(partial(self._ended, failure))
        elif self._closing.get_loop() is not loop:
            raise RuntimeError("this consumer belongs to another loop, which is closing it: await close() there")
        closing = self._closing
        await asyncio.wait((closing,), timeout=seconds_left(loop, deadline))
        if closing.done() and (error := closing.result()) is not None:
            raise error

    def _ended(self, failure: Exception | None, ended: "asyncio.Future[None]") -> None:
        assert self._closing is not None
        self._closing.set_result(ended.exception() or failure)

    async def __aenter__(self) -> Self:
        self._side.bind(self)
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self._close(None, exc_type is None)

    def __del__(self) -> None:
        if self._made is not None:
            self._made.abandon()
