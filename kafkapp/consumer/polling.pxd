# C interface of kafkapp.consumer.polling.

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client
from kafkapp.consumer.record_queue cimport RecordQueue


cdef class PollingConsumer:
    cdef Client client              # None until __init__ has run
    cdef RecordQueue queue          # None until then too
    cdef object __weakref__

    cdef int open_client(self, object properties, object events_polling) except -1
    cdef Client get_client(self)    # raises if __init__ has not run
    cdef RecordQueue get_queue(self)
    cdef int end(self, int64_t deadline, bint processed) except -1
