# C interface of kafkapp.aio.consumer_client.

cimport cython

from kafkapp.aio.event_client cimport EventClient
from kafkapp.consumer.record_queue cimport RecordQueue


@cython.final
cdef class ConsumerClient(EventClient):
    cdef RecordQueue queue
