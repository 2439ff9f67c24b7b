"""ConsumerPolls: the polls of an asyncio consumer, and how its loop resumes the one that waits.

What is cold when a record comes after a while takes most of the time until it is in hand: all of this is compiled, and
as little as can be.
"""
from asyncio import sleep

from posix.unistd cimport read

from kafkapp.aio.wakeup cimport Wakeup
from kafkapp.consumer.consumed_batch cimport ConsumedBatch

cdef double TURN_SECONDS = 0.005    # how long polls go on without a wait before the loop's other tasks have their turn
cdef int ITERATED_RECORDS = 2000    # how many records `async for` takes from librdkafka at a time


cdef class ConsumerPolls:
    """Base of ConsumerSide, which has what is not here: its client, its cursor, other methods."""

    def __cinit__(self):
        self.waiting = []

    async def poll(self, loop, take, deadline):
        """Wait until `take()`, which does not block, gives something.

        Returns:
            What it gave; empty when the deadline, of the loop's clock, has expired, or wakeup() was called.
        Raises:
            RuntimeError: another task polls, or the consumer is closed.
        """
        cdef ConsumedBatch batch
        if self.polls:
            raise RuntimeError("another task polls this consumer: only one may poll at a time")
        self.polls = True
        try:
            if loop.time() - self.turn_began > TURN_SECONDS:
                await sleep(0)      # before anything is taken
                self.turn_began = loop.time()
            while True:
                self.check_usable()
                self.cursor.give_back()
                if self.client.has_to_read_again():
                    await self.read_again(loop)
                    if self.client.has_to_read_again() and deadline is not None and loop.time() >= deadline:
                        return self.client.empty_batch()
                    continue
                if self.woken:
                    self.woken = False
                    return self.client.empty_batch()
                batch = self.client.empty_batch() if self.seeking else take()
                if batch.columns().count or batch.columns().eofs.count or (
                        deadline is not None and loop.time() >= deadline):
                    return batch
                if self.client.has_to_read_again():
                    continue        # after a rebalance: librdkafka signals no second time what was taken
                await self.signalled(loop, deadline)
                self.turn_began = loop.time()
        finally:
            self.polls = False

    async def next_record(self, owner):
        """The next record of `async for`, when the cursor has none."""
        cdef ConsumedBatch batch
        loop = self.bind(owner)
        while True:
            batch = await self.poll(loop, self.take_records, None)
            if batch.columns().count:
                return self.cursor.begin(batch)
            if not batch.columns().eofs.count:
                raise StopAsyncIteration

    def take_records(self):
        return self.consumer.poll(0, ITERATED_RECORDS)

    # -- waiting ----------------------------------------------------------------------------------

    async def signalled(self, loop, deadline):
        """Wait for what librdkafka signals."""
        cdef Wakeup wakeup = Wakeup(loop)
        self.waiting.append(wakeup)
        timer = None if deadline is None else loop.call_at(deadline, (<object>wakeup).set)
        try:
            await wakeup
        finally:
            if timer is not None:
                timer.cancel()
            if wakeup in self.waiting:      # it has timed out, or was cancelled
                self.waiting.remove(wakeup)

    cdef object stop_waiting(self):
        waiting = self.waiting
        self.waiting = []
        return waiting

    def wake(self):
        """Have the poll that waits look again, soon."""
        for wakeup in self.stop_waiting():
            (<Wakeup>wakeup).set()

    cdef int wake_now(self) except -1:
        """The same at once."""
        waiting = self.stop_waiting()
        for wakeup in waiting[1:]:
            (<Wakeup>wakeup).set()
        if waiting:
            (<Wakeup>waiting[0]).wake()
        return 0


def on_records(side, int descriptor):
    """A callback of the loop's: librdkafka has written to this descriptor. `side`: a weakref to a ConsumerSide."""
    cdef char signals[64]
    cdef ConsumerPolls alive = side()
    if alive is None:
        return
    alive.wake_now()                # first: the poll has its records before all else
    if not alive.is_watched():
        return                      # it was closed in there
    read(descriptor, signals, sizeof(signals))
    if alive.waiting and alive.client.has_records():
        alive.wake()                # the signal that was read may be for these; not at once: a seek may keep them
