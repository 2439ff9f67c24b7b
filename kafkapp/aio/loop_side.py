"""LoopSide: has an event loop dispatch the delivery reports of a producer.

Owns what the loop has of the producer: the records that wait for room, the completed futures, the calls
that wait for reports, the thread that ends lingering for them. Sends and reports use no thread.
"""
import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from kafkapp.aio.deadlines import seconds_left
from kafkapp.aio.loop_bound import LoopBound
from kafkapp.aio.loop_client import LoopClient
from kafkapp.aio.outbox import Outbox
from kafkapp.aio.transactions import TransactionCalls
from kafkapp.common.options import EventsPollingOption
from kafkapp.common.threads import start_thread
from kafkapp.producer.async_producer import KafkaAsyncProducer

LINGER_CHECK_SECONDS = 0.02  # how often the thread that ends lingering checks whether that is still wanted
FATAL_CHECK_SECONDS = 0.5  # how often to look for records that return to the queue after a fatal error


class LoopSide(LoopBound):
    """All that the event loop has of one KafkaProducer. Does not refer to it: the loop keeps no producer alive.

    Used in the loop's thread only, except for `abandon`.

    Attributes:
        producer: a KafkaAsyncProducer with manual polling.
        client: its client, for the loop.
        outbox: enqueues its records.
        transactions: its transaction calls.
    """

    what = "producer"

    def __init__(self, properties: Any) -> None:
        self.producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
        self.client = LoopClient(self.producer)
        self.outbox = Outbox(self.client)
        self.transactions = TransactionCalls(self.client)
        self._completed = self.outbox.completed
        super().__init__(self.producer, self.client, self._completed.run)
        self._progressed: asyncio.Future[None] | None = None  # done at the next report or when room is made
        self._flushes = 0  # how many calls wait for delivery reports
        self._linger_over: threading.Event | None = None  # set to end the thread that ends lingering for them
        self._fatal_check: asyncio.TimerHandle | None = None

    # -- its loop -------------------------------------------------------------------------------

    def refuses(self) -> bool:
        return self.outbox.closed

    def bound_loop(self) -> asyncio.AbstractEventLoop | None:
        return self._completed.loop

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completed.bind(loop)

    # -- dispatching ----------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Dispatch the reports that have come, enqueue waiting records."""
        loop = self._completed.loop
        if not self.is_watched() or loop is None:
            return  # closed
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

    def interrupted(self) -> None:
        self.run_callbacks_soon()

    def give_up_waiting(self) -> None:
        self.outbox.fail_waiting()

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
        super().detach()
        if self._fatal_check is not None:
            self._fatal_check.cancel()

    def end_waits(self) -> None:
        """After the last report, which no dispatch has seen: wake the calls that wait, and run callbacks."""
        self._progress()
        self.run_callbacks_soon()

    def run_callbacks_soon(self) -> None:
        """Have the loop run the callbacks of completed futures: no dispatch will do so."""
        self._completed.soon()


def _end_lingering_until(client: LoopClient, enough: threading.Event) -> None:
    """Body of a thread: ends lingering until `enough` is set."""
    with suppress(RuntimeError):  # the producer is closed
        while not enough.is_set():
            if not client.end_lingering_for(LINGER_CHECK_SECONDS):
                enough.wait(LINGER_CHECK_SECONDS)
