# C interface of kafkapp.aio.loop_client.

cimport cython

from kafkapp.client.client cimport Client


@cython.final
cdef class LoopClient:
    cdef Client client
