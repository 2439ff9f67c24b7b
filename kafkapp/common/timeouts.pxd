# C interface of kafkapp.common.timeouts.

from libc.stdint cimport int64_t

cdef int64_t now_ms() noexcept nogil                        # of the monotonic clock
cdef int64_t timeout_to_ms(object timeout, str what=*) except -2    # from seconds or timedelta, rounded up; None: -1
cpdef int64_t rounded_up_to_ms(double seconds) noexcept     # at most MAX_SECONDS
cdef int64_t deadline_of(object timeout) except -2          # the moment when a timeout expires, -1: never
cdef int remaining_ms(int64_t deadline, int limit_ms) noexcept      # until then, at most limit_ms
cdef bint expired(int64_t deadline) noexcept
