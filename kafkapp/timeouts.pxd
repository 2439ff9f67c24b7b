# Contract of kafkapp.timeouts with the modules above it. Layer L1.

from libc.stdint cimport int64_t

cdef int64_t now() noexcept nogil                       # ms of the monotonic clock
cdef int64_t to_ms(object timeout, str what=*) except -2    # seconds or timedelta to ms, rounded up; None: -1, for ever
cdef int64_t deadline_of(object timeout) except -2      # the moment when a time-out is over, -1: never
cdef int remaining(int64_t deadline, int most) noexcept     # ms until then, at most `most`
cdef bint passed(int64_t deadline) noexcept
