# Room in librdkafka's queue: size limits, and snapshots of records that wait.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_headers_t
from kafkapp.client.client cimport Client
from kafkapp.producer.record cimport ProducerRecord


cdef extern from "produce.h" nogil:
    int64_t kp_headers_size(const rd_kafka_headers_t *headers)


# Read the limits of a record's size from the properties. Logs a warning where the queue's is less than a message's.
cdef int read_size_limits(Client client) except -1

# The Error of a record that is too large, with its sizes in bytes and both limits.
cdef object too_large_error(Client client, int64_t key_size, int64_t value_size, int64_t headers_size)

# The same for a record that would wait for room forever; None where librdkafka is to decide.
cdef object never_fits_error(Client client, ProducerRecord record)

# A snapshot of a record that waits for room; `copy`: with a copy of its value, else the value's memory is held.
cdef ProducerRecord queued_copy(ProducerRecord record, bint copy)
