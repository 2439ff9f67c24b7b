# C interface of kafkapp.producer.record_metadata.

from libc.stdint cimport int32_t, int64_t


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

# An id as text.
cdef str id_text(object record_id)
