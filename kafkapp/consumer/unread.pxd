# C interface of kafkapp.consumer.unread.

from kafkapp.consumer.consumed_columns cimport ConsumedBlock
from kafkapp.consumer.record_queue cimport RecordQueue

# Set positions as if the poll had returned the rows of its block before `row` only.
cdef int set_positions(RecordQueue queue, ConsumedBlock block, size_t row) except -1
# Have the rows from `row` on read again.
cdef int give_back(RecordQueue queue, ConsumedBlock block, size_t row) except -1
# A poll that takes nothing: max.poll.interval.ms begins anew.
cdef int touch(RecordQueue queue) except -1
