# Contract of kafkapp.records with the modules above it. Layer L2: knows librdkafka's types, no client.

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int32_t, int64_t

from kafkapp.librdkafka cimport rd_kafka_headers_t


cdef class ProducerRecord:
    cdef str _topic                 # never None; "" in an object that __new__ made and __init__ has not seen
    cdef object _key                # what the user gave: bytes-like, str, Key, Value, None
    cdef object _value              # likewise
    cdef object _id                 # any object; None: no id
    cdef list _headers              # our list of the user's headers, which may change it; None: none
    cdef int32_t _partition         # RD_KAFKA_PARTITION_UA: the partitioner chooses
    cdef int64_t _timestamp         # milliseconds since the epoch; 0: now


cdef class RecordMetadata:
    cdef str _topic
    cdef object _record_id
    cdef int32_t _partition         # RD_KAFKA_PARTITION_UA: never assigned
    cdef int32_t _latency           # microseconds; -1: unknown
    cdef int64_t _offset            # RD_KAFKA_OFFSET_INVALID: unknown
    cdef int64_t _timestamp         # milliseconds since the epoch; -1: unknown
    cdef Py_ssize_t _key_size
    cdef Py_ssize_t _value_size
    cdef signed char _timestamp_type    # rd_kafka_timestamp_type_t
    cdef signed char _status            # rd_kafka_msg_status_t


cdef class View:
    """What Key and Value share: a read view over the bytes of an object that it does not own."""
    cdef readonly object data       # what the user gave: bytes-like, str or None


# A new RecordMetadata of which nothing is known yet but these two; the caller fills in the rest.
cdef RecordMetadata new_metadata(str topic, object record_id)

# Take a view of the bytes of what may stand as a key or value: bytes-like, str, Key, Value or None (for which alone
# view.buf is NULL). To be given back with PyBuffer_Release, always. `what` names the argument in the exceptions.
cdef int get_view(object data, Py_buffer *view, str what) except -1

# librdkafka's form of a record's headers, owned by the caller until it hands them over; NULL: there are none.
cdef rd_kafka_headers_t *new_headers(object headers) except? NULL
