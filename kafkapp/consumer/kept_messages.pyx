"""KeptMessages: which values of a consumer's polls stay in librdkafka's memory, and what that holds.

librdkafka frees a response when no record of it is left. A block may begin within one response and end within another,
whose other records other polls have, or its queue: so two responses are counted beside what the block has taken.
"""
cimport cython
from libc.stdint cimport SIZE_MAX, int64_t

from kafkapp.client.client cimport Client
from kafkapp.consumer.consumed_columns cimport (
    ConsumedBlock,
    kp_consumed_keep_from,
    kp_keeping,
    kp_pinned_bytes,
    kp_pins_new,
    kp_pins_release,
)


@cython.final
cdef class KeptMessages:
    """Of one consumer."""

    def __dealloc__(self):
        if self.pins is not NULL:
            kp_pins_release(self.pins)

    cdef int begin(self, ConsumedBlock block, size_t view_from, Py_ssize_t partitions) noexcept:
        """Have an empty block keep the messages of values from so many bytes on. `partitions`: so many are read."""
        cdef kp_keeping keeping
        if view_from == SIZE_MAX or not self.limit:
            return 0
        keeping.limit, keeping.least = self.limit, view_from
        kp_consumed_keep_from(block.columns, self.pins, &keeping)
        return self.spread(block, partitions)

    cdef int spread(self, ConsumedBlock block, Py_ssize_t partitions) noexcept:
        """So many partitions are read, in the responses of a block that is being filled."""
        block.columns.kept.keeping.around = 2 * min(self.response, self.of_partition * max(partitions, 1))
        return 0

    cdef int64_t bytes(self) noexcept:
        return kp_pinned_bytes(self.pins)


cdef KeptMessages new_kept_messages(Client client, int64_t limit):
    cdef KeptMessages kept = KeptMessages.__new__(KeptMessages)
    kept.limit = limit
    kept.response = int(client.get_property("fetch.max.bytes"))
    kept.of_partition = int(client.get_property("fetch.message.max.bytes"))
    kept.pins = kp_pins_new()
    if kept.pins is NULL:
        raise MemoryError()
    return kept
