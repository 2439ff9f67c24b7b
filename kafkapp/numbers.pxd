# Contract of kafkapp.numbers with the modules above it. Layer L2, below records.

from libc.stdint cimport int32_t, int64_t

# The int that a number is, exactly; `wanted` begins the TypeError for what is none.
cdef object exact_int(object number, str wanted)

# What a message shows of an int, which may have thousands of digits.
cdef str short_int(object number)

cdef int32_t checked_partition(object partition) except -2      # None: RD_KAFKA_PARTITION_UA
cdef int64_t checked_timestamp(object timestamp) except -1      # milliseconds; None: 0, now
