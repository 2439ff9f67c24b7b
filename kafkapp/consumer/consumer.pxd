# C interface of kafkapp.consumer.consumer.

from kafkapp.consumer.partitions cimport PartitionConsumer


cdef class KafkaConsumer(PartitionConsumer):
    cdef tuple what(self, object what)      # offsets, and their metadata
