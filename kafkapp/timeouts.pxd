# Contract of kafkapp.timeouts with the modules above it. Layer L1.

from libc.stdint cimport int64_t

cdef int64_t now_ms() noexcept nogil                       # ms of the monotonic clock
cdef int64_t timeout_to_ms(object timeout, str what=*) except -2    # from seconds or timedelta, rounded up; None: -1
cdef int64_t deadline_of(object timeout) except -2      # the moment when a time-out is over, -1: never
cdef int remaining_ms(int64_t deadline, int limit_ms) noexcept     # ms until then, at most `most`
cdef bint expired(int64_t deadline) noexcept
