# C interface of kafkapp.client.blocking_calls.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_error_t, rd_kafka_t
from kafkapp.client.client cimport Client

ctypedef rd_kafka_error_t *(*TransactionFunction)(rd_kafka_t *, int) noexcept nogil


cdef object fetch_metadata(Client client, str topic, int64_t deadline)
cdef object send_offsets(Client client, list offsets, str group_id, int64_t deadline)
cdef object call_transaction(Client client, TransactionFunction function, int64_t deadline, list raised)
cdef int purge(Client client) except -1
