"""ConsumerSide: has an event loop wait for a consumer's records, and serve its group and its other events.

Records stay in a queue of librdkafka's, which is bounded, until a task polls: that takes what there is, without waiting
and without another `await` before it returns. So a cancelled task has taken nothing. Rebalances come in another queue,
which the loop serves at once: the group waits for no task.
"""
import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Self, TypeVar

from kafkapp.aio import threads
from kafkapp.aio.consumer_client import ConsumerClient
from kafkapp.aio.consumer_polls import ConsumerPolls, on_records
from kafkapp.aio.deadlines import deadline_of, seconds_left
from kafkapp.aio.loop_bound import LoopBound
from kafkapp.aio.record_cursor import RecordCursor
from kafkapp.common.errors import Error, ErrorCode, KafkaException
from kafkapp.common.options import EventsPollingOption
from kafkapp.consumer.consumed_batch import ConsumedBatch
from kafkapp.consumer.consumer import KafkaConsumer
from kafkapp.consumer.topic_partition import TopicPartition

T = TypeVar("T")

TOUCHES = 4  # how often in each max.poll.interval.ms the loop says that it runs
ATTEMPT_SECONDS = 0.05  # how long a thread seeks at a time: so long may `pause` and `assign` hold the loop up
RETRY_SECONDS = 0.02  # from one time to the next
PASSING = (ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR__STATE,
           ErrorCode.RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS, ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT)  # of such a time


class ConsumerSide(ConsumerPolls, LoopBound):
    """All that the event loop has of one kafkapp.aio.KafkaConsumer.

    Attributes:
        consumer: a KafkaConsumer with manual polling.
        cursor: the records that `async for` has not given out yet.
        closing: no poll is accepted.
        in_rebalance: the user's `on_rebalance` runs.
    """

    what = "consumer"

    def __init__(self, properties: Any) -> None:
        self.consumer = KafkaConsumer(properties, EventsPollingOption.Manual)
        self.client, self.cursor = ConsumerClient(self.consumer), RecordCursor(self.consumer)
        self.closing = False
        self.in_rebalance = False
        LoopBound.__init__(self, self.consumer, self.client, _nothing)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seeks: asyncio.Future[None] | None = None  # a thread reads again
        self._touching: asyncio.TimerHandle | None = None
        self._touch_seconds = int(self.consumer.get_property("max.poll.interval.ms") or 300_000) / 1000 / TOUCHES

    # -- its loop -------------------------------------------------------------------------------

    def refuses(self) -> bool:
        return self.closing or self.client.is_closed()

    def bound_loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None:
            self._loop = loop
            self._touch_later(loop)

    def dispatch(self) -> None:
        """Run the callbacks of the events that have come, handle rebalances, wake the poll that waits."""
        if not self.is_watched() or self._loop is None:
            return  # closed
        try:
            self.client.dispatch_events()
        finally:
            try:
                self._serve()
            finally:
                if self.client.has_events():  # librdkafka signals only the first one in an empty queue
                    self._loop.call_soon(self._dispatch_for_loop)
                self.wake()

    def watch_more(self, loop: asyncio.AbstractEventLoop) -> None:
        self.client.wake_polls_through(*self.open_descriptor(loop, partial(on_records, weakref.ref(self))))

    def _serve(self) -> None:
        """Handle rebalances, keep errors for polls to raise. What `async for` has taken of partitions that go is not
        given; the rest is."""
        if self.is_watched() and self.client.has_rebalances():
            self.cursor.hold()
            try:
                self.client.serve()
            finally:
                self.cursor.keep()

    def _touch_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._touching = loop.call_later(self._touch_seconds, _touch, weakref.ref(self))

    def touch(self) -> None:
        """A poll that takes nothing, as the loop runs: `max.poll.interval.ms` begins anew. Again, in time."""
        if self._loop is not None and self.is_watched():
            self._touch_later(self._loop)
            self.client.touch()
            self._serve()  # if a callback that raised has kept `dispatch` from it

    # -- seeking ---------------------------------------------------------------------------------------

    async def read_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """Seek back to what no poll has returned. Goes on in its thread if the task is cancelled."""
        if self._seeks is None:
            self._seeks = threads.in_thread(loop, self.client.read_again, ATTEMPT_SECONDS)
            self._seeks.add_done_callback(self._called)
        seeks = self._seeks
        await asyncio.wait((seeks,))
        self._seeks = None
        with passing():
            seeks.result()
        if self.client.has_to_read_again():
            await asyncio.sleep(RETRY_SECONDS)

    async def seek(self, owner: Any, seek: Callable[[float], None], places: list[TopicPartition] | None,
                   timeout: int | float | timedelta | None) -> None:
        """Call `seek(timeout)`, which seeks these partitions, all for None, in threads, a short time each: what the
        loop calls meanwhile has its turn in between. No poll takes anything before the end."""
        loop = self.bind(owner)
        deadline = deadline_of(loop, timeout)
        self.cursor.give_back(places)
        self.seeking += 1
        try:
            while True:
                left = seconds_left(loop, deadline)
                seconds = ATTEMPT_SECONDS if left is None else min(left, ATTEMPT_SECONDS)
                with nullcontext() if left == 0 else passing():
                    return await self.call(loop, seek, seconds)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self.seeking -= 1
            self.wake()

    async def commits_answered(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        """Wait until the commits that were begun are answered: librdkafka sends one again that a broker was not ready
        for, and it would undo a later one."""
        while self.client.has_commits():
            if seconds_left(loop, deadline) == 0:
                raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, "commit() has waited in vain for commits "
                                     "before it to be answered; its own was not begun")
            await self.signalled(loop, deadline)
            if self.refuses():
                raise KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__DESTROY,
                                     "commit(): closed before a broker has answered commits before it")

    def check_usable(self) -> None:
        if self.refuses():
            raise RuntimeError("the consumer is closed")

    def wakeup(self) -> None:
        """End the poll that waits now, else the next one. In any thread."""
        self.woken = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._wake_up)

    def _wake_up(self) -> None:
        self.cursor.give_back()  # an `async for` polls next
        self.wake()

    async def call(self, loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks in a thread of its own. It goes on if the task is cancelled."""
        called = threads.in_thread(loop, function, *args)
        called.add_done_callback(self._called)
        await asyncio.wait((called,))  # which does not cancel it: it is done when its thread is
        return called.result()

    def _called(self, called: "asyncio.Future[Any]") -> None:
        called.exception()  # seen, if the task was cancelled
        try:
            self._serve()
        finally:
            self.wake()  # a poll finds nothing while another thread seeks

    # -- the end --------------------------------------------------------------------------------

    def begin_close(self, processed: bool) -> None:
        """From here on it closes: polls raise, and the loop dispatches no more.

        `processed`: what the last poll has given may be committed. Raises what `on_rebalance` does.
        """
        self.closing = True
        self.cursor.give_back()
        if processed:
            self.client.release()
        self.detach()
        if self._touching is not None:
            self._touching.cancel()
        self.wake()
        self.client.give_up()


class Batches:
    """What KafkaConsumer.batches() returns. Keeps the consumer alive."""

    def __init__(self, poll: Callable[[], Awaitable[ConsumedBatch]]) -> None:
        self._poll = poll

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConsumedBatch:
        batch = await self._poll()
        if not batch and not batch.eofs:
            raise StopAsyncIteration
        return batch


def commit_answered(answered: "asyncio.Future[Error | None]", offsets: dict[TopicPartition, int],
                    error: Error | None) -> None:
    """The callback of a commit: in the loop, or in the thread that closes."""
    with suppress(RuntimeError):  # the loop is closed
        answered.get_loop().call_soon_threadsafe(threads.set_result, answered, error)


@contextmanager
def passing() -> Iterator[None]:
    """What passes is tried again."""
    try:
        yield
    except KafkaException as exc:
        if exc.error.code not in PASSING:
            raise


def _nothing() -> None:
    """What the loop calls after each dispatch: the callbacks have run in it."""


def _touch(side: "weakref.ref[ConsumerSide]") -> None:
    if (alive := side()) is not None:
        alive.touch()
