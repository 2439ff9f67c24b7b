"""UnorderedOffsetCommitQueue: which offset to commit where records of a partition are processed in any order."""
from collections import deque

from kafkapp.consumer.topic_partition import MAX_OFFSET, checked_integer

cimport cython

from kafkapp.common.public_names cimport export_as


@cython.final
cdef class UnorderedOffsetCommitQueue:
    """UnorderedOffsetCommitQueue()\n--\n
    The offset to commit of one partition whose records are processed in any order, say by several threads: what comes
    after the highest record below which all are processed. Thread-safe; no method blocks.

    Have one for each partition, a new one after a rebalance or a seek: `wait_offset` for each record that a poll
    returns, `ack_offset` when it is processed, and from time to time `pop_offset_to_commit`, for `commit_async`.

    Source: UnorderedOffsetCommitQueue.
    """
    cdef object waiting         # deque of offsets that were not popped yet, rising; the first is in `open`
    cdef set open               # those of them that are not acknowledged
    cdef object highest         # that was waited for; -1: none
    cdef object ready           # what may be committed
    cdef object popped          # what was returned of that

    def __cinit__(self):
        self.waiting, self.open, self.highest = deque(), set(), -1

    def wait_offset(self, offset):
        """A record was read: nothing above it is committed before it is acknowledged.

        Args:
            offset: of the record, int; higher than those before.
        Raises:
            TypeError, ValueError: it is no such offset; it is not waited for.
        """
        number = checked_integer("offset", offset, MAX_OFFSET - 1)
        with cython.critical_section(self):
            known = number <= self.highest
            if not known:
                self.highest = number
                self.waiting.append(number)
                self.open.add(number)
        if known:
            raise ValueError(f"offset must be higher than those before, of which the last is {self.highest}; after a "
                             "seek or a rebalance begin with a new UnorderedOffsetCommitQueue")

    def ack_offset(self, offset):
        """A record was processed. Again, or for one that is popped already, this does nothing.

        Args:
            offset: of the record, int.
        Raises:
            TypeError, ValueError: it is no offset, or higher than all that are waited for.
        """
        number = checked_integer("offset", offset, MAX_OFFSET - 1)
        with cython.critical_section(self):
            known = number <= self.highest
            if number in self.open:
                self.open.remove(number)
                while self.waiting and self.waiting[0] not in self.open:
                    self.ready = self.waiting.popleft() + 1
        if not known:
            raise ValueError(f"offset {number} was acknowledged and never waited for: call wait_offset() first")

    def pop_offset_to_commit(self):
        """The offset to commit, int: one more than that of the highest record up to which all are processed. None:
        nothing new since the last call."""
        with cython.critical_section(self):
            offset = None if self.ready == self.popped else self.ready
            self.popped = self.ready
        return offset

    @property
    def last_popped_offset(self):
        """What `pop_offset_to_commit` has returned last, int; None: nothing yet."""
        return self.popped

    def __len__(self):
        """How many records are waited for: not processed, or behind one that is not."""
        return len(self.waiting)

    def __reduce__(self):
        raise TypeError("an UnorderedOffsetCommitQueue cannot be copied or pickled: other threads may use it")


export_as(UnorderedOffsetCommitQueue, "kafkapp.UnorderedOffsetCommitQueue")
