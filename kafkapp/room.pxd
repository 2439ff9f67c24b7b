# Contract of kafkapp.room with the senders above it. Layer L5, above the client.

from libc.stdint cimport int64_t

from kafkapp.client cimport Client
from kafkapp.librdkafka cimport rd_kafka_headers_t
from kafkapp.records cimport ProducerRecord


cdef extern from "produce.h" nogil:
    int64_t kp_headers_size(const rd_kafka_headers_t *headers)


# Note how large a value may be that the queue has room for, and log a warning where that is less than a message may be.
cdef int limit_room(Client client) except -1

# The Error of a record that is too large, with its sizes in bytes and both limits.
cdef object too_large(Client client, int64_t key_size, int64_t value_size, int64_t headers_size)

# The same of a record that waits for room, and so for nothing; None where that is for librdkafka to say.
cdef object never_fits(Client client, ProducerRecord record)

# A record as it is now, for one that waits.
cdef ProducerRecord copy_of(ProducerRecord record, bint copy)
