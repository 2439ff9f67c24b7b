# C interface of kafkapp.consumer.consumer_service.

cimport cython

from kafkapp.client.handle cimport Service


@cython.final
cdef class ConsumerService(Service):
    pass
