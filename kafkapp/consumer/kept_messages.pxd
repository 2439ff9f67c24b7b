# C interface of kafkapp.consumer.kept_messages, and declarations of csrc/consumed_kept.h.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client
from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_pins


@cython.final
cdef class KeptMessages:
    cdef kp_pins *pins              # owned share
    cdef int64_t limit              # max.pinned.bytes
    cdef int64_t response           # fetch.max.bytes
    cdef int64_t of_partition       # in one response: fetch.message.max.bytes

    cdef int begin(self, ConsumedBlock block, size_t view_from, Py_ssize_t partitions) noexcept
    cdef int spread(self, ConsumedBlock block, Py_ssize_t partitions) noexcept
    cdef int64_t bytes(self) noexcept


cdef KeptMessages new_kept_messages(Client client, int64_t limit)
