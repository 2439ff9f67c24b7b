"""Columns: finds many keys or values in a sequence, in a buffer with offsets or in an Arrow array, without a copy.

Knows where the bytes of each item are, and holds the exporters until it is released.
"""
import sys

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyObject_CheckBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from kafkapp.common.buffers cimport kp_get_buffer, kp_release_buffer
from kafkapp.common.views cimport View, exporter_of, get_view
from kafkapp.producer.arrow cimport ArrowColumn, ArrowSchema, format_of, is_arrow, malformed


cdef extern from *:
    """
    /* Find the memory of a tuple's items, up to the first that is not bytes. Returns their number. */
    static Py_ssize_t kp_bytes_spans(PyObject *items, kp_span *spans) {
        Py_ssize_t i, n = PyTuple_GET_SIZE(items);
        for (i = 0; i < n; i++) {
            PyObject *item = PyTuple_GET_ITEM(items, i);
            if (!PyBytes_CheckExact(item))
                return i;
            spans[i].data = PyBytes_AS_STRING(item);
            spans[i].size = PyBytes_GET_SIZE(item);
        }
        /* A tuple of bytes is part of no cycle: untracked, the garbage collector does not walk it again and again. */
        PyObject_GC_UnTrack(items);
        return n;
    }
    """
    Py_ssize_t kp_bytes_spans(PyObject *items, kp_span *spans)


@cython.final
@cython.no_gc_clear     # C reads what it holds; its references are set once, so another object breaks each cycle
cdef class Column(ArrowColumn):
    """Where the keys or values of a batch are; holds their memory."""

    def __dealloc__(self):
        self.release()

    cdef int mark_sent(self, str what) except -1:
        """Claim the column for one batch, which releases it."""
        with cython.critical_section(self):
            if self.sent:
                raise ValueError(f"{what}: these columns were sent already: columns() returns new ones")
            self.sent = True
        return 0

    cdef int release(self) except -1:
        """Release the exporters. The caller must know that librdkafka has reported every record."""
        cdef Py_buffer *views
        cdef kp_span *spans
        cdef Py_ssize_t i, n
        with cython.critical_section(self):     # as ArrowColumn.release()
            views, self.views = self.views, NULL
            n, self.view_count = self.view_count, 0
            spans, self.spans = self.spans, NULL
        for i in range(n):
            kp_release_buffer(&views[i])
        free(views)
        free(spans)
        return ArrowColumn.release(self)

    cdef int hold(self, Py_buffer *view) except -1:
        """Take over an acquired buffer; when there is no memory it is released here."""
        cdef Py_buffer *grown = self.views
        if self.view_count & (self.view_count - 1) == 0:
            grown = <Py_buffer *>realloc(self.views, max(1, 2 * self.view_count) * sizeof(Py_buffer))
            if grown is NULL:
                kp_release_buffer(view)
                raise MemoryError()
        self.views = grown
        memcpy(&self.views[self.view_count], view, sizeof(Py_buffer))
        self.view_count += 1
        return 0

    cdef int span(self, kp_span *span, object data, str what) except -1:
        """Find the memory of one item. The tuple holds bytes and str; anything else is held by its buffer: a class
        derived from bytes may export another one."""
        cdef Py_buffer view
        cdef object plain = exporter_of(data)
        get_view(plain, &view, what)
        span.data = <const char *>view.buf
        span.size = view.len
        if plain is None or PyBytes_CheckExact(plain) or isinstance(plain, str):
            kp_release_buffer(&view)
        else:
            if view.buf is NULL:
                span.data = <const char *>&self.c       # any address: an empty item is not null
            self.hold(&view)
        return 0

    cdef int from_sequence(self, tuple items, str what) except -1:
        cdef Py_ssize_t i
        cdef object item
        self.set_count(len(items), what)
        self.held = items
        self.allocate_spans()
        for i in range(kp_bytes_spans(<PyObject *>items, self.spans), self.count):
            item = items[i]
            if PyBytes_CheckExact(item):
                self.spans[i].data = PyBytes_AS_STRING(item)
                self.spans[i].size = PyBytes_GET_SIZE(item)
            else:
                try:
                    self.span(&self.spans[i], item, what)
                except (TypeError, ValueError, BufferError) as exc:
                    place_error(exc, what, i)
                    raise
        return 0

    cdef int from_buffer(self, object data, object offsets, str what, str offsets_name) except -1:
        cdef Py_buffer view
        data = exporter_of(data)
        if data is None or isinstance(data, str):
            raise TypeError(f"{what} must be one buffer where {offsets_name} are given, not {type(data).__name__}")
        get_view(data, &view, what)
        self.hold(&view)
        self.held = data
        self.c.data = <const char *>view.buf
        self.c.size = view.len
        get_numbers(&view, offsets, offsets_name)
        self.hold(&view)
        self.c.kind = KP_OFFSETS32 if view.itemsize == 4 else KP_OFFSETS64
        self.c.offsets = view.buf
        if view.len == 0:
            raise ValueError(f"{offsets_name} must have at least one entry: n + 1 for n records")
        self.set_count(view.len // view.itemsize - 1, what)
        return self.check(offsets_name)

    cdef int check(self, str what) except -1:
        cdef int64_t bad
        with nogil:
            bad = kp_column_check(&self.c, self.count)
        if bad >= 0:
            raise ValueError(f"{what}[{bad}] is beyond its buffer" if self.c.kind == KP_VIEWS else
                             f"{what}[{bad}] is less than the one before or beyond the buffer's {self.c.size} bytes")
        return 0

    cdef int check_schema(self, const ArrowSchema *schema, str what) except -1:
        cdef kp_column kind
        if not kp_arrow_kind(&kind, schema if schema.dictionary is NULL else schema.dictionary):
            form = format_of(schema)
            raise TypeError(f"{what} must be an Arrow array of binary, string or fixed-size binary values, not of "
                            f"format {form!r}: {'choose one of its columns' if form == '+s' else 'cast it first'}")
        return 0

    cdef int take(self, const ArrowSchema *schema, str what) except -1:
        cdef const char *problem
        if schema.dictionary is not NULL:
            return self.decode(schema, what)
        kp_arrow_kind(&self.c, schema)
        self.set_count(max(0, self.arrow.length), what)     # before its end is looked at, which may be nowhere
        problem = kp_arrow_column(&self.c, &self.arrow)
        if problem is not NULL:
            raise malformed(what, problem)
        return self.check(f"{what}'s views" if self.c.kind == KP_VIEWS else f"{what}'s offsets")

    cdef int decode(self, const ArrowSchema *schema, str what) except -1:
        """As take(), for a dictionary-encoded array: finds each item in the dictionary."""
        cdef Column values = Column.__new__(Column)     # owns nothing: the array owns its dictionary
        cdef const char *problem = b"it has no dictionary, and its format has one"
        cdef int64_t count = self.arrow.length
        if self.arrow.dictionary is not NULL:
            kp_arrow_kind(&values.c, schema.dictionary)
            values.set_count(max(0, self.arrow.dictionary.length), f"{what}: its dictionary")
            problem = kp_arrow_column(&values.c, self.arrow.dictionary)
        if problem is not NULL:
            raise malformed(what, problem)
        values.check(f"offsets of the dictionary of {what}")
        self.set_count(max(0, count), what)
        self.allocate_spans()
        with nogil:
            problem = kp_arrow_decode(&values.c, values.count, schema.format, &self.arrow, self.spans)
        if problem is not NULL:
            raise malformed(what, problem)
        return 0

    cdef int join(self, list chunks, str what) except -1:
        cdef Column chunk
        cdef int64_t i = 0, bad
        if len(chunks) == 1:
            chunk = chunks[0]
            self.c, self.count = chunk.c, chunk.count
        else:
            self.set_count(sum([(<Column>one).count for one in chunks]), what)
            self.allocate_spans()
            for chunk in chunks:
                with nogil:
                    bad = kp_column_spans(&chunk.c, chunk.count, self.spans + i)
                if bad >= 0:
                    raise ValueError(f"{what}: the stream's memory was changed meanwhile")
                i += chunk.count
                PyErr_CheckSignals()
        self.held = tuple(chunks)
        return 0

    cdef int allocate_spans(self) except -1:
        """Room for the places of all items, which are to be filled in."""
        self.spans = <kp_span *>malloc(max(1, self.count) * sizeof(kp_span))
        if self.spans is NULL:
            raise MemoryError()
        self.c.kind = KP_SPANS
        self.c.spans = self.spans
        return 0


cdef int place_error(object exc, str what, Py_ssize_t i, tuple parts=()) except -1:
    """Have an error about one of `what`, or about what begins with one of `parts`, say which."""
    text = exc.args[0] if len(exc.args) == 1 else None
    if type(text) is str and text.startswith(what + " "):
        exc.args = (f"{what}[{i}]{text[len(what):]}",)
    elif type(text) is str and text.startswith(parts):
        exc.args = (f"{what}[{i}]: {text}",)
    else:
        exc.add_note(f"at {what}[{i}]")     # an exporter's own words
    return 0


cdef bint is_per_record(object given):
    """Whether numbers for each record are given, not one for all. NumPy's arrays have __index__ and its scalars export
    buffers: their dimensions tell them apart."""
    if given is None or isinstance(given, int):
        return False
    if PyObject_CheckBuffer(given):
        return getattr(given, "ndim", 1) != 0
    return isinstance(given, (list, tuple))     # get_numbers() raises for these


cdef str NATIVE_ORDER = "@=<" if sys.byteorder == "little" else "@=>!"


cdef int get_numbers(Py_buffer *view, object numbers, str what, int itemsize=0) except -1:
    """Acquire a buffer of int32 or int64, in native byte order."""
    wanted = "int32" if itemsize == 4 else "int64" if itemsize == 8 else "int32 or int64"
    if not PyObject_CheckBuffer(numbers):
        raise TypeError(f"{what} must be a buffer of {wanted} (array.array, NumPy), not {type(numbers).__name__}")
    if numpy_kind(numbers) and getattr(numbers, "mask", None) is not None and numbers.mask.any():
        raise TypeError(f"{what} has masked numbers, whose memory may hold anything: .filled() says what they are")
    try:
        kp_get_buffer(numbers, view, PyBUF_FORMAT | PyBUF_ND)
    except (BufferError, ValueError) as exc:
        try:
            memoryview(numbers).release()
        except (BufferError, ValueError):       # a type without a buffer format, as NumPy's datetime64
            raise TypeError(f"{what} must be a buffer of {wanted}: {exc}") from None
        raise BufferError(f"{what} must be C-contiguous: {exc}") from None
    form = view.format.decode("utf-8", "replace") if view.format is not NULL else "B"
    if (view.ndim != 1 or (form[1:] if form[:1] in NATIVE_ORDER else form) not in ("i", "l", "q")
            or view.itemsize not in (itemsize or 4, itemsize or 8)):
        kp_release_buffer(view)
        raise TypeError(f"{what} must be a one-dimensional buffer of {wanted}, not of format {form!r}")
    return 0


cdef tuple STRINGS = ("S", "U", "T")     # NumPy's kinds of bytes, of text, of StringDType


cdef object numpy_kind(object values):
    return getattr(getattr(values, "dtype", None), "kind", "")


cdef tuple items_of(object values):
    """The items of a sequence. NumPy's strings become Python's, which are shorter and have a null: tolist() drops the
    NULs at their ends, as all of NumPy does, turns UTF-32 round, and gives None for what is masked."""
    return tuple(values.tolist() if numpy_kind(values) in STRINGS else values)


cdef bint is_sequence(object values):
    if isinstance(values, (list, tuple)):
        return True
    if isinstance(values, (str, bytes, bytearray, memoryview, dict, View)):
        return False
    # NumPy's arrays of objects and of strings export buffers: they count as sequences.
    if PyObject_CheckBuffer(values) and not (numpy_kind(values) in ("O", *STRINGS) and getattr(values, "ndim", 0)):
        return False
    return hasattr(values, "__len__") and hasattr(values, "__getitem__") and not hasattr(values, "keys")


cdef Column new_column(object values, object offsets, str what):
    """The column of a sequence, of a buffer with offsets or of an Arrow array; or a Column itself."""
    cdef Column column = Column.__new__(Column)
    if isinstance(values, Column):
        (<Column>values).mark_sent(what)
        return values
    if offsets is not None:
        column.from_buffer(values, offsets, what, "offsets" if what == "values" else "key_offsets")
    elif is_arrow(values):
        column.read(values, what)
    elif is_sequence(values):
        column.from_sequence(items_of(values), what)
    else:
        raise TypeError(f"{what} must be a sequence of bytes-like objects, str or None, a buffer with offsets, "
                        f"or an object with __arrow_c_array__ or __arrow_c_stream__, not {type(values).__name__}")
    return column


cdef int check_single_key(object key, str what) except -1:
    """Refuse a buffer of several items as one key, such as NumPy's array of strings or a grid of bytes."""
    cdef Py_buffer view
    cdef bint several
    if key is None or isinstance(key, (bytes, str, View)) or not PyObject_CheckBuffer(key):
        return 0
    try:
        kp_get_buffer(key, &view, PyBUF_FORMAT | PyBUF_ND)
        form = b"B" if view.format is NULL else <bytes>view.format
        several = view.ndim > 1 or view.ndim == 1 and form.lstrip(b"@=<>!") not in (b"B", b"b", b"c")   # ctypes: "<c"
    except (BufferError, ValueError):
        try:
            kp_get_buffer(key, &view, PyBUF_ND)    # NumPy's dates have no format
        except (BufferError, ValueError):
            return 0                                    # span() raises for it
        several = view.ndim > 0
    kp_release_buffer(&view)
    if several:
        raise TypeError(f"{what} must be one key or a sequence of keys, not {type(key).__name__} of several items: "
                        f"pass a list, or one buffer with key_offsets")
    return 0


cdef Column new_key_column(object keys, object offsets, str what):
    """As new_column(), for keys: also one key for all records, or None."""
    cdef Column column
    cdef kp_span span
    if offsets is None and not isinstance(keys, Column) and not is_arrow(keys) and not is_sequence(keys):
        check_single_key(keys, what)
        column = Column.__new__(Column)
        column.count = -1
        column.held = keys
        column.span(&span, keys, what)
        column.c.kind = KP_NULLS if span.data is NULL else KP_ONE
        column.c.data = span.data
        column.c.size = span.size
        return column
    return new_column(keys, offsets, what)
