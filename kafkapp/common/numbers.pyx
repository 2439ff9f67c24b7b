"""Number arguments: each accepted exactly, or refused with a message that names the argument.

Accepted are int and what has __index__ (such as NumPy's integers); for timestamps also datetime.
"""
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.number cimport PyIndex_Check, PyNumber_Index
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_PARTITION_UA

from kafkapp.common.timestamp import datetime_to_ms


cdef object exact_int(object number, str wanted):
    """A number as an int, exactly; TypeError for a float, a bool or an array."""
    reason = ""
    if not isinstance(number, bool) and PyIndex_Check(number):
        try:
            return PyNumber_Index(number)
        except TypeError as error:
            reason = f": {error}"
    raise TypeError(f"{wanted}, not {type(number).__name__}{reason}")


cdef int32_t checked_partition(object partition) except -2:
    cdef long long number
    cdef int overflow = 0
    if partition is None:
        return RD_KAFKA_PARTITION_UA
    if not PyLong_CheckExact(partition):
        partition = exact_int(partition, f"partition must be None or an int from 0 to {INT32_MAX}")
    number = PyLong_AsLongLongAndOverflow(partition, &overflow)
    if overflow or not 0 <= number <= INT32_MAX:
        raise ValueError(f"partition must be from 0 to {INT32_MAX}, or None: the partitioner chooses; "
                         f"not {short_int(partition)}")
    return <int32_t>number


cdef int64_t checked_timestamp(object timestamp) except -1:
    cdef long long number
    cdef int overflow = 0
    if timestamp is None:
        return 0
    given = timestamp
    if not PyLong_CheckExact(timestamp):
        timestamp = datetime_to_ms(timestamp)
        if timestamp is None:
            timestamp = given = exact_int(given, "timestamp must be an int of milliseconds since the epoch, an aware "
                                                 "datetime or None")
    number = PyLong_AsLongLongAndOverflow(timestamp, &overflow)
    if overflow or number <= 0:
        raise ValueError(f"timestamp must be from 1 to {INT64_MAX} milliseconds since the epoch, or None: now; "
                         f"not {given if given is not timestamp else short_int(timestamp)}")
    return number


cdef str short_int(object number):
    cdef Py_ssize_t bits = int.bit_length(number)       # a subclass of int may override any method
    return int.__repr__(number) if bits <= 128 else f"an int of {bits} bits"
