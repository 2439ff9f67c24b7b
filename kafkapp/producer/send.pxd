# C interface of kafkapp.producer.send.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR__FATAL, rd_kafka_headers_t, rd_kafka_resp_err_t
from kafkapp.client.client cimport Client
from kafkapp.producer.record cimport ProducerRecord


cdef extern from "produce.h" nogil:
    int64_t kp_headers_size(const rd_kafka_headers_t *headers)


# Enqueue a record. Returns librdkafka's error code; raises for what is refused earlier, also for what is no record.
# `target` gets the delivery report, as `kind` (KP_CALLBACK...) says; None: nothing does. `block`: wait while the queue
# is full, until `deadline`. `straight`: what enqueue_straight() has returned for the record.
cdef rd_kafka_resp_err_t enqueue(Client client, object record, object target, int kind, object option, bint block,
                                 int64_t deadline, int straight) except? RD_KAFKA_RESP_ERR__FATAL

# The Error of a record that librdkafka refused.
cdef object enqueue_error(Client client, rd_kafka_resp_err_t err, ProducerRecord record)

# Read the limits of a new client's records, and warn if they contradict each other.

cdef bint wants_copy(object option) except -1

# The Error of a record that is too large, with its sizes in bytes and both limits.
cdef object too_large_error(Client client, int64_t key_size, int64_t value_size, int64_t headers_size)

# The same for a record that would wait for room forever; None where librdkafka is to decide.
cdef object never_fits_error(Client client, ProducerRecord record)

# A snapshot of a record that waits for room; `copy`: with a copy of its value, else the value's memory is held.
cdef ProducerRecord queued_copy(ProducerRecord record, bint copy)
