# Records: ProducerRecord and RecordMetadata. Knows librdkafka's types, no client.

from libc.stdint cimport int32_t, int64_t

from kafkapp.common.views cimport View, get_view, new_headers     # re-exported


cdef class ProducerRecord:
    cdef str _topic                 # never None; "" before __init__
    cdef object _key                # as given: bytes-like, str, Key, Value or None
    cdef object _value              # likewise
    cdef object _id                 # any object; None: no id
    cdef list _headers              # a list that the user may change; None: no headers
    cdef int32_t _partition         # RD_KAFKA_PARTITION_UA: the partitioner chooses
    cdef int64_t _timestamp         # milliseconds since the epoch; 0: now


# A copy of all fields at one moment: another thread may change the record between two reads.
cdef ProducerRecord snapshot(ProducerRecord record)


# The name of a topic, as an exact str without NUL; raises TypeError or ValueError.
cdef str checked_topic(object topic)


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


# A new RecordMetadata, with all else unknown: the caller fills it in.
cdef RecordMetadata new_metadata(str topic, object record_id)
