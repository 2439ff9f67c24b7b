# Contract of kafkapp.views with the modules above it. Layer L2, below records: knows librdkafka's headers.

from cpython.buffer cimport Py_buffer

from kafkapp.librdkafka cimport rd_kafka_headers_t


cdef class View:
    """What Key and Value share: a read view over the bytes of an object that it does not own."""
    cdef readonly object data       # what the user gave: bytes-like, str or None


# Take a view of the bytes of what may stand as a key or value: bytes-like, str, Key, Value or None (for which alone
# view.buf is NULL). To be given back with PyBuffer_Release, always. `what` names the argument in the exceptions.
cdef int get_view(object data, Py_buffer *view, str what) except -1

# That get_view() would succeed now.
cdef int check_view(object data, str what) except -1

# How many bytes of those there are now.
cdef Py_ssize_t size_of(object data) except -1

# What `deepcopy` and `pickle` make of a key or value: it in memory of its own.
cdef object own_copy(object data)

# What a view prints, and what stands in a repr: there at most 64 bytes of it.
cdef str to_text(object data)
cdef str to_repr(object data)

# A new list of the headers that the user gave, checked; None for None.
cdef list new_header_list(object headers)

# librdkafka's form of a record's headers, owned by the caller until it hands them over; NULL: there are none.
cdef rd_kafka_headers_t *new_headers(object headers) except? NULL
