# C interface of kafkapp.consumer.consumer.

from kafkapp.client.client cimport Client
from kafkapp.consumer.record_queue cimport RecordQueue


cdef class KafkaConsumer:
    cdef Client client              # None until __init__ has run
    cdef RecordQueue queue          # None until then too
    cdef object __weakref__

    cdef Client get_client(self)    # raises if __init__ has not run
    cdef RecordQueue get_queue(self)
    cdef int seek_all(self, object partitions, object offset, str what, object timeout) except -1
    cdef int set_paused(self, object partitions, bint paused, str what) except -1
    cdef dict assigned(self, object partitions, str what)
