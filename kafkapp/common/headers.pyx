"""Headers: checks them, and converts them for librdkafka. Knows no records."""
cimport cython
from cpython.buffer cimport Py_buffer
from cpython.unicode cimport PyUnicode_FromObject

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, rd_kafka_header_add, rd_kafka_headers_destroy, rd_kafka_headers_new,
    rd_kafka_headers_t)
from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.errors cimport new_exception
from kafkapp.common.public_names cimport export_as
from kafkapp.common.views cimport Value, find_bytes, get_view, own_copy, to_repr, to_text, type_name, utf8_name


cdef enum:
    MAX_HEADER_BYTES = 1000000000        # the upper limit of message.max.bytes


@cython.final
cdef class Header:
    """Header(key, value)\n--\n
    A header: a name and a value. Immutable.

    Args:
        key: the name, `str` without NUL.
        value: bytes-like, `str` (its UTF-8 form), `Key`, `Value` or `None`: null.
    Raises:
        TypeError: a name that is no `str`, a value that is none of these.
        ValueError: a name with NUL or lone surrogates.
    Source: rd_kafka_header_add(); Header.
    """
    cdef readonly str key
    cdef readonly object value

    def __cinit__(self, key, value):
        add_header(NULL, key, value)
        self.key = PyUnicode_FromObject(key)
        self.value = value

    def __eq__(self, other):
        if not isinstance(other, Header):
            return NotImplemented
        return self.key == (<Header>other).key and Value(self.value) == Value((<Header>other).value)

    def __hash__(self):
        return hash((self.key, Value(self.value)))

    def __str__(self):
        return f"{self.key}:{to_text(self.value)}"

    def __repr__(self):
        return f"Header({self.key!r}, {to_repr(self.value)})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return Header(self.key, own_copy(self.value))

    def __reduce__(self):
        return Header, (self.key, own_copy(self.value))


export_as(Header, "kafkapp.Header")


cdef Py_ssize_t add_header(rd_kafka_headers_t *headers, object key, object value, Py_ssize_t before=0) except -1:
    """Check a header, and add it unless `headers` is NULL. `before`: bytes of those before it; returns the new sum."""
    cdef Py_buffer view
    cdef const char *name
    cdef const void *data
    cdef Py_ssize_t size, length
    name = utf8_name(key, &size, "a header's name")
    if find_bytes(value, &data, &length):
        before = checked_size(before, size, length)
        if headers != NULL:
            rd_kafka_header_add(headers, name, size, data, length)
        return before
    get_view(value, &view, f"the value of header {key[:64]!r}")
    try:
        before = checked_size(before, size, view.len)
        if headers != NULL:
            # rdkafka_header.c: NULL is a null value, an address with size 0 an empty one.
            rd_kafka_header_add(headers, name, size, view.buf, view.len)
    finally:
        kp_release_buffer(&view)
    return before


cdef inline Py_ssize_t checked_size(Py_ssize_t before, Py_ssize_t name, Py_ssize_t value) except -1:
    """The sum with one header more. Limited: librdkafka copies headers unchecked, and aborts when out of memory."""
    if name > MAX_HEADER_BYTES - before or value > MAX_HEADER_BYTES - before - name:
        raise new_exception(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                            f"headers of {before + name + value} bytes: the limit is {MAX_HEADER_BYTES} bytes a record")
    return before + name + value


cdef int add_headers(rd_kafka_headers_t *headers, tuple items) except -1:
    cdef Py_ssize_t size = 0
    for item in items:
        if isinstance(item, Header):
            size = add_header(headers, (<Header>item).key, (<Header>item).value, size)
        elif isinstance(item, (tuple, list)):
            pair = tuple(item)
            if len(pair) != 2:
                raise ValueError(f"a header must be a pair of a name and a value, not {len(pair)} items")
            size = add_header(headers, pair[0], pair[1], size)
        else:
            raise TypeError(f"a header must be a Header or a pair of a name and a value, not {type_name(item)}")
    return 0


cdef tuple header_items(object headers):
    """A snapshot: exporters run code while headers are read, which may change the user's list."""
    if isinstance(headers, dict):
        return tuple(headers.items())
    if isinstance(headers, (list, tuple)):
        return tuple(headers)
    raise TypeError(f"headers must be a list of Header or of pairs of a name and a value, a dict or None, "
                    f"not {type_name(headers)}")


cdef rd_kafka_headers_t *new_headers(object headers) except? NULL:
    cdef rd_kafka_headers_t *result
    if headers is None:
        return NULL
    items = header_items(headers)
    if not items:
        return NULL
    result = rd_kafka_headers_new(len(items))
    try:
        add_headers(result, items)
    except BaseException:
        rd_kafka_headers_destroy(result)
        raise
    return result


cdef list new_header_list(object headers):
    if headers is None:
        return None
    items = header_items(headers)
    add_headers(NULL, items)
    return list(items)
