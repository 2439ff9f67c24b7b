# C interface of kafkapp.aio.loop_client.

cimport cython

from kafkapp.client.blocking_calls cimport BlockingCall
from kafkapp.client.client cimport Client


@cython.final
cdef class LoopClient:
    cdef Client client

    cdef int start(self, BlockingCall call, timeout, done) except -1
