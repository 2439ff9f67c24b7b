# Send path: the base class of the producers.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR__FATAL, rd_kafka_resp_err_t
from kafkapp.client.client cimport Client
from kafkapp.producer.record cimport ProducerRecord


cdef class Sender:
    cdef Client client              # None until __init__ has run
    cdef object __weakref__

    cdef Client get_client(self)
    cdef int open_client(self, properties, int thread, dict defaults) except -1
    cdef rd_kafka_resp_err_t enqueue(self, ProducerRecord record, object target, int kind, object option,
                                     bint block, int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL
    cdef object enqueue_error(self, rd_kafka_resp_err_t err, ProducerRecord record)


cdef bint wants_copy(object option) except -1
