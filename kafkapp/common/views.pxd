# Views: reads keys and values in memory of others.

from cpython.buffer cimport Py_buffer


cdef class View:
    """Base of Key and Value: a read-only view over the bytes of an object, or over memory that an object owns."""
    # NULL: the bytes are those of `source`, whose buffer is held only while they are read. Else `source` owns this
    # memory, which stays there, and what it is, as long as that lives.
    cdef const void *memory
    cdef Py_ssize_t length          # of `memory`
    cdef object source              # without memory: as given, bytes-like, str or None


cdef class Key(View):
    pass


cdef class Value(View):
    pass


# Views of memory of this owner, which keep the owner and nothing else: see View. It must be in no cycle. NULL: null.
cdef Key new_key(object owner, const void *memory, Py_ssize_t length)
cdef Value new_value(object owner, const void *memory, Py_ssize_t length)

# What a key or value has its bytes from: an object that is no View of another one.
cdef object exporter_of(object data)

# Whether it is bytes, or a View of bytes or of memory: their place, which nothing moves while `data` lives.
cdef bint find_bytes(object data, const void **memory, Py_ssize_t *length) noexcept

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

# The name of an object's type, for messages.
cdef str type_name(object thing)
