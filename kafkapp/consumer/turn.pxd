# C interface of kafkapp.consumer.turn.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client


@cython.final
cdef class Turn:
    cdef Client client
    cdef unsigned long holder       # ident of the thread whose turn it is, 0: nobody's
    cdef int waiting                # calls other than polls that wait for it, or have it

    cdef bint is_mine(self) noexcept
    cdef bint begin_poll(self, int64_t deadline) except -1
    cdef bint make_way(self, int64_t deadline) except -1
    cdef int end_poll(self) except -1
    cdef bint begin(self, str what, int64_t deadline) except -1
    cdef int end(self, bint taken) except -1


cdef Turn new_turn(Client client)
