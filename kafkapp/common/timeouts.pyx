"""Timeouts and deadlines: seconds at the API, milliseconds of the monotonic clock inside."""
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.long cimport PyLong_AsDouble
from cpython.number cimport PyNumber_Index
from libc.math cimport rint
from libc.stdint cimport int64_t


cdef extern from "time.h" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *when)
    int CLOCK_MONOTONIC


cdef double MAX_SECONDS = 1e12      # a longer timeout is forever


cdef int64_t now_ms() noexcept nogil:
    cdef timespec when
    clock_gettime(CLOCK_MONOTONIC, &when)
    return when.tv_sec * 1000 + when.tv_nsec // 1000000


cdef int64_t timeout_to_ms(object timeout, str what="timeout") except -2:
    """A timeout in milliseconds, rounded up; -1 for None, which waits forever."""
    cdef double seconds
    if timeout is None:
        return -1
    seconds = checked_seconds(timeout, what)
    return -1 if seconds > MAX_SECONDS else rounded_up_to_ms(seconds)


cpdef int64_t rounded_up_to_ms(double seconds) noexcept:
    """Seconds, at least 0, as milliseconds; no positive time becomes 0.

    To the microsecond first, as timedelta has it: 2.007 is a little more in binary, and would become 2008 ms.
    """
    cdef int64_t us = <int64_t>rint(seconds * 1e6)
    if us == 0 and seconds > 0:
        return 1
    return (us + 999) // 1000


class TimeoutRangeError(ValueError, OverflowError):
    """An int that no float can hold: a ValueError, and the OverflowError that Python itself raises."""


cdef double checked_seconds(object timeout, str what) except -1:
    """A timeout in seconds. NumPy's integers are no int, and have __index__."""
    cdef double seconds
    number = timeout
    try:
        if hasattr(timeout, "total_seconds"):
            number = timeout.total_seconds()
        if isinstance(number, bool):
            raise TypeError
        seconds = PyFloat_AS_DOUBLE(number) if isinstance(number, float) else PyLong_AsDouble(PyNumber_Index(number))
    except OverflowError:
        raise TimeoutRangeError(f"{what} must be at least 0 seconds that a float can hold, or None to wait forever"
                                ) from None
    except TypeError:
        raise TypeError(f"{what} must be seconds (int, float or timedelta) or None, not {type(timeout).__name__}"
                        ) from None
    if seconds != seconds or seconds < 0:
        raise ValueError(f"{what} must be at least 0 seconds, or None to wait forever, not {seconds:g}")
    return seconds


def seconds_of(timeout):
    """A timeout as the API takes it, in seconds; None: forever.

    Raises:
        TypeError, ValueError: it is not a timeout.
    """
    cdef double seconds
    if timeout is None:
        return None
    seconds = checked_seconds(timeout, "timeout")
    return None if seconds > MAX_SECONDS else seconds


cdef int64_t deadline_of(object timeout) except -2:
    """The moment when a timeout expires; -1: never."""
    cdef int64_t ms = timeout_to_ms(timeout)
    # The clock is read in whole milliseconds: one more, so that no wait is shorter than the timeout.
    return ms if ms <= 0 else now_ms() + ms + 1


cdef int remaining_ms(int64_t deadline, int limit_ms) noexcept:
    cdef int64_t left
    if deadline < 0:
        return limit_ms
    left = deadline - now_ms()
    return 0 if left < 0 else <int>min(left, <int64_t>limit_ms)


cdef bint expired(int64_t deadline) noexcept:
    return deadline >= 0 and now_ms() >= deadline
