# C interface of kafkapp.aio.wakeup.

cimport cython

cdef enum WakeupState:
    PENDING
    WOKEN
    CANCELLED


@cython.final
cdef class Wakeup:
    cdef object loop, message
    cdef list callbacks             # (callback, context) that were not called yet
    cdef WakeupState state
    cdef public bint _asyncio_future_blocking

    cpdef int wake(self) except -1
    cpdef int set(self) except -1
    cdef int call_soon(self) except -1
