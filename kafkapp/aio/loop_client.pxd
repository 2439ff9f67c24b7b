# C interface of kafkapp.aio.loop_client.

cimport cython

from kafkapp.aio.event_client cimport EventClient
from kafkapp.client.blocking_calls cimport BlockingCall


@cython.final
cdef class LoopClient(EventClient):
    cdef int start(self, BlockingCall call, timeout, done) except -1
