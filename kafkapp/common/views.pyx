"""Views: reads keys and values in memory of others. Knows no records. Holds a buffer only while it reads it."""
import sys

from kafkapp.common.texts import check_text

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_FULL_RO, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo,
    PyObject_CheckBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_FromObject
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp, memset

from kafkapp.common.atomics cimport KP_GIL
from kafkapp.common.buffers cimport kp_get_buffer, kp_release_buffer
from kafkapp.common.public_names cimport export_as


cdef extern from "format.h" nogil:
    int KP_HARMLESS
    int KP_ADDRESSES
    int kp_format_content(const char *format, int64_t itemsize)

cdef extern from "view_pool.h":
    ctypedef struct kp_view_pool:
        int count
    kp_view_pool kp_keys
    kp_view_pool kp_values
    PyObject *kp_view_from_pool(kp_view_pool *pool, PyObject *owner, const void *memory, Py_ssize_t length)
    bint kp_view_pool_start(PyObject *key, PyObject *value_type, PyObject *owner, const void *memory, Py_ssize_t length)
    Key owned_key "(PyObject *)"(PyObject *owned)           # a reference that is the caller's already
    Value owned_value "(PyObject *)"(PyObject *owned)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    void PyObject_GC_UnTrack(PyObject *thing)


cdef str type_name(object thing):
    return type(thing).__name__


cdef object exporter_of(object data):
    return (<View>data).source if isinstance(data, View) and (<View>data).memory is NULL else data


cdef bint find_bytes(object data, const void **memory, Py_ssize_t *length) noexcept:
    if isinstance(data, View):
        if (<View>data).memory is not NULL:
            memory[0], length[0] = (<View>data).memory, (<View>data).length
            return True
        data = (<View>data).source
    if not PyBytes_CheckExact(data):
        return False
    memory[0], length[0] = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    return True


cdef int get_view(object data, Py_buffer *view, str what) except -1:
    cdef const char *text
    cdef Py_ssize_t size
    if isinstance(data, View):
        if (<View>data).memory is not NULL:
            return PyBuffer_FillInfo(view, data, <void *>(<View>data).memory, (<View>data).length, 1, PyBUF_SIMPLE)
        data = (<View>data).source
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
        return type(data)(copy_of_source(data))
    return to_bytes(data)


cdef object copy_of_source(View view):
    return to_bytes(view) if view.memory is not NULL else own_copy(view.source)


cdef bint is_null(object data):
    return exporter_of(data) is None


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
    if is_null(data):
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


cdef int hold_source(object source, Py_buffer *view) except -1:
    """Acquire the buffer of what a view reads. `view` has it: View.__releasebuffer__ releases it."""
    cdef Py_buffer *held = <Py_buffer *>PyMem_Malloc(sizeof(Py_buffer))
    if held == NULL:
        raise MemoryError()
    try:
        get_view(source, held, "data")
    except BaseException:
        PyMem_Free(held)
        raise
    view.internal = held
    view.buf, view.len = held.buf if held.buf != NULL else <void *>b"", held.len
    return 0


cdef inline Py_ssize_t length_of(View view) except -1:
    return view.length if view.memory is not NULL else size_of(view.source)


@cython.freelist(64)
@cython.trashcan(True)      # it may be a view of a memoryview of a view, and so on
@cython.no_gc_clear         # its memory needs the owner, which is in no cycle; whatever else is in one can end it
cdef class View:
    def __cinit__(self, data=None):
        if type(self) is View:
            raise TypeError("a View cannot be created directly: create a Key or a Value")
        if data is not None:
            if isinstance(data, View):
                self.memory, self.length = (<View>data).memory, (<View>data).length
                data = (<View>data).source
                if self.memory is not NULL:
                    PyObject_GC_UnTrack(<PyObject *>self)      # see set_memory()
            else:
                check_view(data, type_name(self))
            self.source = data

    @property
    def data(self):
        """The object whose bytes these are, as given; None: null. Of what was read: a memoryview."""
        return self.source if self.memory is NULL else memoryview(self)

    @property
    def size(self):
        """The number of bytes (int): 0 for a null view."""
        return length_of(self)

    def __len__(self):
        return length_of(self)

    def __bool__(self):
        return length_of(self) != 0

    def __bytes__(self):
        if self.memory is not NULL:
            return PyBytes_FromStringAndSize(<const char *>self.memory, self.length)
        return to_bytes(self.source)

    def __eq__(self, other):
        cdef Py_buffer mine, theirs
        cdef const void *memory
        cdef const void *other_memory
        cdef Py_ssize_t length, other_length
        if find_bytes(self, &memory, &length) and find_bytes(other, &other_memory, &other_length):
            return length == other_length and memcmp(memory, other_memory, length) == 0
        if isinstance(other, str):
            return NotImplemented       # no bytes equal a str, as everywhere in Python
        other = exporter_of(other)
        if is_null(self) or other is None:
            return is_null(self) and other is None
        if exporter_of(self) is other:
            return True
        try:
            get_view(other, &theirs, "other")
        except (TypeError, ValueError, BufferError):
            return NotImplemented
        try:
            get_view(self, &mine, "data")
            try:
                return mine.len == theirs.len and memcmp(mine.buf, theirs.buf, mine.len) == 0
            finally:
                kp_release_buffer(&mine)
        finally:
            kp_release_buffer(&theirs)

    def __hash__(self):
        return hash(None) if is_null(self) else hash(to_bytes(self))

    def __str__(self):
        return to_text(self)

    def __repr__(self):
        return to_repr(self)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return type(self)(copy_of_source(self))

    def __reduce__(self):
        return type(self), (copy_of_source(self),)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError(f"a {type_name(self)} is read-only")
        view.buf, view.len, view.internal = <void *>self.memory, self.length, NULL
        if self.memory is NULL:
            hold_source(self.source, view)
        view.obj = self
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = <char *>"B" if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        view.suboffsets = NULL

    def __releasebuffer__(self, Py_buffer *view):
        if view.internal != NULL:       # NULL: of memory, which is not held by a buffer
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


cdef inline View set_memory(View view, object owner, const void *memory, Py_ssize_t length):
    if memory is not NULL:
        view.memory, view.length, view.source = memory, length, owner
        PyObject_GC_UnTrack(<PyObject *>view)      # in no cycle, as the owner: the collector need not look at it
    return view


cdef Key new_key(object owner, const void *memory, Py_ssize_t length):
    if memory is NULL or not kp_keys.count:
        return set_memory(Key.__new__(Key), owner, memory, length)
    return owned_key(kp_view_from_pool(&kp_keys, <PyObject *>owner, memory, length))


cdef Value new_value(object owner, const void *memory, Py_ssize_t length):
    if memory is NULL or not kp_values.count:
        return set_memory(Value.__new__(Value), owner, memory, length)
    return owned_value(kp_view_from_pool(&kp_values, <PyObject *>owner, memory, length))


cdef int start_pool() except -1:
    cdef bytes owner = b"owner"
    cdef Key key = new_key(owner, <const char *>owner, 5)
    if not kp_view_pool_start(<PyObject *>key, <PyObject *>Value, <PyObject *>owner, <const char *>owner, 5):
        raise SystemError("kafkapp: Cython lays the fields of a view out in another way than csrc/view_pool.h")
    return 0


if KP_GIL:
    start_pool()
NullKey = Key()
NullValue = Value()


export_as(Key, "kafkapp.Key")
export_as(Value, "kafkapp.Value")
