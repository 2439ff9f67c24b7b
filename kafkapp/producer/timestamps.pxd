# Timestamps: of all records of a batch, or of each, as milliseconds. Knows no client.

from libc.stdint cimport int64_t

from kafkapp.producer.arrow cimport ArrowColumn
from kafkapp.producer.columns cimport kp_column


cdef class Timestamps(ArrowColumn):
    cdef int64_t one                # of all records, 0: now
    cdef const int64_t *each        # NULL: there is one for all; need not be aligned
    cdef int64_t *converted         # owned
    cdef Py_buffer view             # owned: the user's int64 milliseconds
    cdef int convert(self, const kp_column *numbers, int64_t count, int64_t per_second, bint not_a_time,
                     str what) except -1
    cdef int from_numpy(self, object given, str what) except -1
    cdef int from_buffer(self, object given, str what) except -1


# Check what is given for `count` records.
cdef Timestamps new_timestamps(object given, int64_t count)
