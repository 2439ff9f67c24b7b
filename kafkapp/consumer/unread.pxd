# C interface of kafkapp.consumer.unread.

from kafkapp.consumer.consumed_columns cimport ConsumedBlock
from kafkapp.consumer.record_queue cimport RecordQueue

# All of these are of the rows of a poll's block from `row` on, but for the partitions in `without`.

# [begin, end] of each run of these rows, the last one first.
cdef list runs_of(ConsumedBlock block, size_t row, set without)
# Set positions as if the poll had returned only the rows before.
cdef int set_positions(RecordQueue queue, ConsumedBlock block, size_t row, set without) except -1
# Have the rows of some of these partitions, of all for None, read again.
cdef int give_back(RecordQueue queue, ConsumedBlock block, size_t row, set without, set places) except -1
# A poll that takes nothing: max.poll.interval.ms begins anew.
cdef int touch(RecordQueue queue) except -1
