# C interface of kafkapp.client.kafka_client.

from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport Service


cdef class KafkaClient:
    cdef Client client              # None until __init__ has run
    cdef object __weakref__

    cdef int open_client(self, object properties, int thread, Service service, dict defaults) except -1
    cdef int begin(self, Client client) except -1
    cdef Client get_client(self)    # raises if __init__ has not run

cdef bint is_auto(object events_polling) except -1
