"""Views: reads keys, values and headers in the caller's memory, and converts headers for librdkafka.

Knows librdkafka's headers, no records. Holds a buffer only while it reads it.
"""
import sys

from kafkapp.common.texts import check_text

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_FULL_RO, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo,
    PyObject_CheckBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_FromObject
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp, memset

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, rd_kafka_header_add, rd_kafka_headers_destroy, rd_kafka_headers_new,
    rd_kafka_headers_t)
from kafkapp.common.buffers cimport kp_get_buffer, kp_release_buffer
from kafkapp.common.errors cimport new_exception
from kafkapp.common.public_names cimport export_as


cdef extern from "format.h" nogil:
    int KP_HARMLESS
    int KP_ADDRESSES
    int kp_format_content(const char *format, int64_t itemsize)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef enum:
    MAX_HEADER_BYTES = 1000000000        # the upper limit of message.max.bytes


cdef str type_name(object thing):
    return type(thing).__name__


cdef int get_view(object data, Py_buffer *view, str what) except -1:
    cdef const char *text
    cdef Py_ssize_t size
    if isinstance(data, View):
        data = (<View>data).data
    if data is None:
        memset(view, 0, sizeof(Py_buffer))
        return 0
    if isinstance(data, str):
        text = utf8(data, &size, what)
        return PyBuffer_FillInfo(view, data, <void *>text, size, 1, PyBUF_SIMPLE)
    if isinstance(data, float) and data != data:        # also NumPy's, which is bytes-like
        raise TypeError(f"{what} is NaN: use None for null")
    if not PyObject_CheckBuffer(data):
        raise TypeError(f"{what} must be bytes-like, str, Key, Value or None, not {type_name(data)}")
    try:
        kp_get_buffer(data, view, PyBUF_SIMPLE)
    except (BufferError, ValueError):
        if has_gaps(data):
            raise BufferError(f"{what} must be C-contiguous: .tobytes() makes a contiguous copy") from None
        raise
    # An array of Python objects exports a buffer of pointers, which must never leave the process.
    if view.itemsize >= <Py_ssize_t>sizeof(void *):
        try:
            check_format(data, what)
        except BaseException:
            kp_release_buffer(view)
            raise
    if view.buf == NULL:
        view.buf = <void *>b""          # some exporters give no address for zero bytes; NULL means null
    return 0


cdef const char *utf8(object text, Py_ssize_t *size, str what) except NULL:
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be encoded as UTF-8: {error.reason} at position {error.start}") from None


cdef const char *utf8_name(object name, Py_ssize_t *size, str what) except NULL:
    cdef const char *text = NULL
    if isinstance(name, str):
        try:
            text = PyUnicode_AsUTF8AndSize(name, size)
        except UnicodeEncodeError:
            pass
    if text == NULL or memchr(text, 0, size[0]) != NULL:
        check_text(what, name)          # raises
    return text


cdef bint has_gaps(object data):
    """Whether it exports a buffer, but not a contiguous one."""
    cdef Py_buffer view
    try:
        kp_get_buffer(data, &view, PyBUF_FULL_RO)
    except Exception:
        return False
    kp_release_buffer(&view)
    return True


cdef int check_format(object data, str what) except -1:
    """Refuse a buffer of addresses: they mean nothing elsewhere, and would be disclosed."""
    cdef Py_buffer view
    cdef int content = -1
    try:
        kp_get_buffer(data, &view, PyBUF_FULL_RO)
    except Exception:
        pass                            # NumPy types without a format: dates, and structures of dates and objects
    else:
        content = kp_format_content(view.format, view.itemsize)
        kp_release_buffer(&view)
    if content == KP_ADDRESSES:
        raise TypeError(f"{what} must be bytes-like, not {type_name(data)} of Python objects or other pointers")
    if content == KP_HARMLESS or is_plain_type(data):
        return 0
    raise TypeError(f"{what} must be bytes-like: the buffer of this {type_name(data)} does not tell whether it holds "
                    f"pointers; .tobytes() or bytes() makes a copy that can be sent")


cdef bint is_plain_type(object data):
    """Whether its NumPy or ctypes type says that it holds numbers, characters or dates only."""
    if isinstance(data, memoryview):
        data = data.obj
    dtype = getattr(data, "dtype", None)
    if dtype is not None:
        return getattr(dtype, "hasobject", True) is False and getattr(dtype, "kind", "") in tuple("biufcmMSUV")
    ctypes = sys.modules.get("_ctypes")
    return ctypes is not None and is_plain_ctype(type(data), ctypes)


cdef bint is_plain_ctype(object kind, object ctypes) except -1:
    """Whether a ctypes type has no pointer. Its format may not say: that lacks padding, packed fields and unions."""
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        for each in kind.__mro__:
            for field in each.__dict__.get("_fields_", ()):
                if not is_plain_ctype(field[1], ctypes):
                    return False
        return True
    if issubclass(kind, ctypes.Array):
        return is_plain_ctype(kind._type_, ctypes)
    return issubclass(kind, ctypes._SimpleCData) and kind._type_ in tuple("cbB?hHiIlLqQfdgueFDG")


cdef int check_view(object data, str what) except -1:
    cdef Py_buffer view
    get_view(data, &view, what)
    kp_release_buffer(&view)
    return 0


cdef bytes to_bytes(object data, Py_ssize_t limit=-1):
    cdef Py_buffer view
    get_view(data, &view, "data")
    try:
        return PyBytes_FromStringAndSize(<char *>view.buf if view.len else NULL,
                                         view.len if limit < 0 or view.len < limit else limit)
    finally:
        kp_release_buffer(&view)


cdef object own_copy(object data):
    if data is None or PyBytes_CheckExact(data):
        return data
    if isinstance(data, str):
        return PyUnicode_FromObject(data)
    if isinstance(data, View):
        return type(data)(own_copy((<View>data).data))
    return to_bytes(data)


cdef Py_ssize_t size_of(object data) except -1:
    cdef Py_buffer view
    get_view(data, &view, "data")
    kp_release_buffer(&view)
    return view.len


cdef str to_text(object data):
    """The bytes as the C++ API prints them."""
    cdef bytes source
    cdef const unsigned char *byte
    cdef Py_ssize_t i
    if data is None or isinstance(data, View) and (<View>data).data is None:
        return "[null]"
    source = to_bytes(data)
    if not source:
        return "[empty]"
    byte = <const unsigned char *>PyBytes_AS_STRING(source)
    for i in range(len(source)):
        if not 32 <= byte[i] < 127:
            return "".join([chr(c) if 32 <= c < 127 else f"[0x{c:02x}]" for c in source])
    return PyUnicode_DecodeASCII(<const char *>byte, len(source), NULL)


cdef str to_repr(object data):
    """repr() of a key or value, with at most 64 bytes of it."""
    cdef Py_ssize_t size
    if isinstance(data, View):
        return f"{type_name(data)}({to_repr((<View>data).data)})"
    if data is None:
        return "None"
    if isinstance(data, str):
        size = len(data)
        return repr(data[:64]) + (f"... ({size} characters)" if size > 64 else "")
    try:
        size = size_of(data)
        text = repr(to_bytes(data, 64)) + (f"... ({size} bytes)" if size > 64 else "")
    except Exception as error:
        return f"<{type_name(data)}: {error}>"
    return text if isinstance(data, bytes) else f"<{type_name(data)} of {text}>"


@cython.freelist(64)
@cython.trashcan(True)      # it may be a view of a memoryview of a view, and so on
cdef class View:
    def __cinit__(self, data=None):
        if type(self) is View:
            raise TypeError("a View cannot be created directly: create a Key or a Value")
        if isinstance(data, View):
            data = (<View>data).data
        if data is not None:
            check_view(data, type_name(self))
        self.data = data

    @property
    def size(self):
        """The number of bytes (int): 0 for a null view."""
        return size_of(self.data)

    def __len__(self):
        return size_of(self.data)

    def __bool__(self):
        return size_of(self.data) != 0

    def __bytes__(self):
        return to_bytes(self.data)

    def __eq__(self, other):
        cdef Py_buffer mine, theirs
        if isinstance(other, View):
            other = (<View>other).data
        elif isinstance(other, str):
            return NotImplemented       # no bytes equal a str, as everywhere in Python
        if self.data is None or other is None:
            return self.data is other
        if self.data is other:
            return True
        try:
            get_view(other, &theirs, "other")
        except (TypeError, ValueError, BufferError):
            return NotImplemented
        try:
            get_view(self.data, &mine, "data")
            try:
                return mine.len == theirs.len and memcmp(mine.buf, theirs.buf, mine.len) == 0
            finally:
                kp_release_buffer(&mine)
        finally:
            kp_release_buffer(&theirs)

    def __hash__(self):
        return hash(None) if self.data is None else hash(to_bytes(self.data))

    def __str__(self):
        return to_text(self.data)

    def __repr__(self):
        return to_repr(self)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return type(self)(own_copy(self.data))

    def __reduce__(self):
        return type(self), (own_copy(self.data),)

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef Py_buffer *held
        if flags & PyBUF_WRITABLE:
            raise BufferError(f"a {type_name(self)} is read-only")
        held = <Py_buffer *>PyMem_Malloc(sizeof(Py_buffer))
        if held == NULL:
            raise MemoryError()
        try:
            get_view(self.data, held, "data")
        except BaseException:
            PyMem_Free(held)
            raise
        view.internal = held            # released by __releasebuffer__
        view.obj = self
        view.buf = held.buf if held.buf != NULL else <void *>b""
        view.len = held.len
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = <char *>"B" if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        view.suboffsets = NULL

    def __releasebuffer__(self, Py_buffer *view):
        kp_release_buffer(<Py_buffer *>view.internal)
        PyMem_Free(view.internal)


@cython.final
cdef class Key(View):
    """Key(data=None)\n--\n
    A read-only view over a record's key; see `Value`."""


@cython.final
cdef class Value(View):
    """Value(data=None)\n--\n
    A read-only view over the bytes of an object. Copies nothing, and holds the object's buffer only while reading.

    It equals any bytes-like object of the same bytes. A null view equals `None` and null views; an empty one is not
    null. The hash is that of the current bytes. `copy.copy` returns the view itself; `copy.deepcopy` and `pickle` copy
    the bytes.

    Args:
        data: a C-contiguous bytes-like object, `str` (its UTF-8 form), a view, or `None`: null.
    Raises:
        TypeError: `data` has no bytes, or has pointers.
        ValueError: a `str` with lone surrogates, a released `memoryview`, a closed `mmap`.
        BufferError: a buffer that is not C-contiguous.
    Source: ConstBuffer.
    """


NullKey = Key()
NullValue = Value()


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


export_as(Key, "kafkapp.Key")
export_as(Value, "kafkapp.Value")
export_as(Header, "kafkapp.Header")


cdef Py_ssize_t add_header(rd_kafka_headers_t *headers, object key, object value, Py_ssize_t before=0) except -1:
    """Check a header, and add it unless `headers` is NULL. `before`: bytes of those before it; returns the new sum."""
    cdef Py_buffer view
    cdef const char *name
    cdef Py_ssize_t size
    name = utf8_name(key, &size, "a header's name")
    if PyBytes_CheckExact(value):
        before = checked_size(before, size, len(<bytes>value))
        if headers != NULL:
            rd_kafka_header_add(headers, name, size, PyBytes_AS_STRING(value), len(<bytes>value))
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
