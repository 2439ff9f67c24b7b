# Contract of kafkapp.records with the modules above it. Layer L2: knows librdkafka's types, no client.

from libc.stdint cimport int32_t, int64_t


cdef class ProducerRecord:
    cdef str _topic                 # never empty of type: checked when set
    cdef object _key                # what the user gave: bytes-like, str, Key, None
    cdef object _value              # likewise
    cdef object _id                 # any object; None: no id
    cdef object _headers            # list of the user's headers, or None
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
    cdef object data                # what the user gave: bytes-like, str or None


cdef RecordMetadata new_metadata(str topic, object record_id)
