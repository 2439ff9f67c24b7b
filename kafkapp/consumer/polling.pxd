# C interface of kafkapp.consumer.polling.

from libc.stdint cimport int64_t

from kafkapp.client.kafka_client cimport KafkaClient
from kafkapp.consumer.record_queue cimport RecordQueue


cdef class PollingConsumer(KafkaClient):
    cdef RecordQueue queue          # None until __init__ has run

    cdef RecordQueue get_queue(self)
    cdef int end(self, int64_t deadline, bint processed) except -1
