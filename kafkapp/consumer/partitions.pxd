# C interface of kafkapp.consumer.partitions.

from kafkapp.consumer.polling cimport PollingConsumer


cdef class PartitionConsumer(PollingConsumer):
    cdef int seek_all(self, object partitions, object start, str what, object timeout) except -1
    cdef int set_paused(self, object partitions, bint paused, str what) except -1
    cdef dict assigned(self, object partitions, str what)
