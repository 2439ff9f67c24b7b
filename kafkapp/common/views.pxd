# Views: reads keys, values and headers in the caller's memory. Knows librdkafka's headers.

from cpython.buffer cimport Py_buffer

from kafkapp._librdkafka.rdkafka cimport rd_kafka_headers_t


cdef class View:
    """Base of Key and Value: a read-only view over the bytes of an object."""
    cdef readonly object data       # as given: bytes-like, str or None


cdef class Key(View):
    pass


cdef class Value(View):
    pass


# Acquire the bytes of a key or value: bytes-like, str, Key, Value or None (the only one for which view.buf is NULL).
# The caller must release the view with kp_release_buffer. `what` names the argument in the exceptions.
cdef int get_view(object data, Py_buffer *view, str what) except -1

# Raise what get_view() would raise now.
cdef int check_view(object data, str what) except -1

# The UTF-8 of a name that texts.check_text() accepts; it belongs to the name. Raises as that.
cdef const char *utf8_name(object name, Py_ssize_t *size, str what) except NULL

# The number of those bytes now.
cdef Py_ssize_t size_of(object data) except -1

# A copy of a key or value, for `deepcopy` and `pickle`: bytes, but str as str and a view as a view.
cdef object own_copy(object data)

# str() and repr() of a key or value; repr() shows at most 64 bytes of it.
cdef str to_text(object data)
cdef str to_repr(object data)

# A new list of the given headers, checked; None for None.
cdef list new_header_list(object headers)

# Headers as librdkafka takes them, checked, owned by the caller until the record is enqueued; NULL: there are none.
cdef rd_kafka_headers_t *new_headers(object headers) except? NULL

# The name of an object's type, for messages.
cdef str type_name(object thing)
