# C interface of kafkapp.aio.record_cursor.

cimport cython

from kafkapp.consumer.consumed_columns cimport ConsumedBlock
from kafkapp.consumer.consumer_record cimport new_record
from kafkapp.consumer.record_queue cimport RecordQueue

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


@cython.final
cdef class RecordCursor:
    cdef RecordQueue queue
    cdef ConsumedBlock block        # None: no record is left
    cdef size_t row, end            # the next one, and where the run of records ends that are to be given
    cdef list runs                  # [begin, end] of the others, the next one last
    cdef set gone                   # partitions whose records are not to be given any more
    cdef unsigned long thread       # the loop's

    cdef int drop(self, set places) except -1

    cdef inline bint has_record(self) noexcept:
        """Whether there is a record, for the caller's thread."""
        return self.row < self.end and self.thread == PyThread_get_thread_ident()

    cdef inline object take(self):
        """The next record. There must be one."""
        record = new_record(self.block, self.row)
        self.row += 1
        if self.row == self.end and self.runs:
            self.row, self.end = self.runs.pop()
        return record


@cython.final
cdef class RecordIterator:
    cdef RecordCursor cursor
    cdef object refill              # a coroutine function: the next record, when the cursor has none
