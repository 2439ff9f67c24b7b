# C interface of kafkapp.common.numbers.

from libc.stdint cimport int32_t, int64_t

# A number as an int, exactly; `wanted` is the beginning of the TypeError.
cdef object exact_int(object number, str wanted)

# An int for a message: it may have thousands of digits.
cdef str short_int(object number)

cdef int32_t checked_partition(object partition) except -2      # None: RD_KAFKA_PARTITION_UA
cdef int64_t checked_timestamp(object timestamp) except -1      # milliseconds; None: 0, now
