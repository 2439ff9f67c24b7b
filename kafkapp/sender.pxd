# Contract of kafkapp.sender with the producers above it. Layer L5.

from libc.stdint cimport int64_t

from kafkapp.client cimport Client
from kafkapp.librdkafka cimport RD_KAFKA_RESP_ERR__FATAL, rd_kafka_resp_err_t
from kafkapp.records cimport ProducerRecord


cdef class Sender:
    cdef Client client              # None until __init__ has run
    cdef object __weakref__

    cdef Client opened(self)
    cdef int start(self, properties, int thread, dict defaults) except -1
    cdef rd_kafka_resp_err_t hand_over(self, ProducerRecord record, object target, int kind, object option,
                                       bint block, int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL
    cdef object refusal(self, rd_kafka_resp_err_t err, ProducerRecord record)


cdef bint copies(object option) except -1
