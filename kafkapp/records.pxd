# Contract of kafkapp.records with the modules above it. Layer L2: knows librdkafka's types, no client.

from libc.stdint cimport int32_t, int64_t

from kafkapp.views cimport View, get_view, new_headers     # for those above, who need not know of views


cdef class ProducerRecord:
    cdef str _topic                 # never None; "" in an object that __new__ made and __init__ has not seen
    cdef object _key                # what the user gave: bytes-like, str, Key, Value, None
    cdef object _value              # likewise
    cdef object _id                 # any object; None: no id
    cdef list _headers              # our list of the user's headers, which may change it; None: none
    cdef int32_t _partition         # RD_KAFKA_PARTITION_UA: the partitioner chooses
    cdef int64_t _timestamp         # milliseconds since the epoch; 0: now


# What it is now, for who looks at more than one field: another thread may change it.
cdef ProducerRecord taken(ProducerRecord record)


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


# A new RecordMetadata of which nothing is known yet but these two; the caller fills in the rest.
cdef RecordMetadata new_metadata(str topic, object record_id)
