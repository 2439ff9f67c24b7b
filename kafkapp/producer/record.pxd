# C interface of kafkapp.producer.record.

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t


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

# The names of a record's fields, as its constructor takes them; a record of such arguments, NULL for those not given.
cdef tuple ARGUMENT_NAMES
cdef ProducerRecord make_from_slots(PyObject **slots)
