"""Arrow: reads the arrays of an exporter of Arrow's C data interface, one or the chunks of a stream, without a copy.

Knows how arrays change hands. What they are read for is said by the subclasses of ArrowColumn.
"""
import os

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid


# An exporter that returns the same capsules again, or one whose array another library has imported.
cdef str CONSUMED_TEXT = "the Arrow {} was consumed or released already: export the array anew for each call"


@cython.no_gc_clear     # C reads what it holds; its references are set once, so another object breaks each cycle
cdef class ArrowColumn:
    """Something for each record, which may come from Arrow; holds its memory."""

    def __dealloc__(self):
        ArrowColumn.release(self)

    cdef int release(self) except -1:
        """Release the exporters. The caller must know that nobody reads the memory any more."""
        cdef object _held
        cdef ArrowArray arrow
        with cython.critical_section(self):     # the sender of a copied batch and its last report may both release it
            _held, self.held = self.held, None       # dropped at the end, outside the critical section
            arrow, self.arrow.release = self.arrow, NULL
        if arrow.release is not NULL:
            arrow.release(&arrow)
        return 0

    cdef int set_count(self, int64_t count, str what) except -1:
        if count > KP_MAX_ITEMS:
            raise ValueError(f"{what}: {count} of them are too many for one batch, which takes up to {KP_MAX_ITEMS}")
        self.count = count
        return 0

    cdef int check_schema(self, const ArrowSchema *schema, str what) except -1:
        raise NotImplementedError

    cdef int take(self, const ArrowSchema *schema, str what) except -1:
        raise NotImplementedError

    cdef int join(self, list chunks, str what) except -1:
        raise NotImplementedError

    cdef int read(self, object exporter, str what) except -1:
        return self.from_array(exporter, what) if hasattr(exporter, "__arrow_c_array__") else \
            self.from_stream(exporter, what)

    cdef int from_array(self, object exporter, str what) except -1:
        cdef const ArrowSchema *schema
        cdef ArrowArray *array
        cdef tuple capsules
        given = exporter.__arrow_c_array__()
        capsules = tuple(given) if isinstance(given, tuple) else ()     # one derived from it may give others
        if not (len(capsules) == 2 and PyCapsule_IsValid(capsules[0], "arrow_schema")
                and PyCapsule_IsValid(capsules[1], "arrow_array")):
            raise TypeError(f"{what}: __arrow_c_array__() did not return a schema and an array")
        schema = <const ArrowSchema *>PyCapsule_GetPointer(capsules[0], "arrow_schema")
        array = <ArrowArray *>PyCapsule_GetPointer(capsules[1], "arrow_array")
        if schema.release is NULL:
            raise ValueError(f"{what}: {CONSUMED_TEXT.format('schema')}")
        check_format(schema, what)
        self.check_schema(schema, what)
        # Moved out of the capsule, as the Arrow C data interface defines: from here on the column owns the array, and
        # the capsule shows that it is consumed.
        with cython.critical_section(capsules[1]):
            if array.release is NULL:
                raise ValueError(f"{what}: {CONSUMED_TEXT.format('array')}")
            self.arrow, array.release = array[0], NULL
        return self.take(schema, what)

    cdef int from_stream(self, object exporter, str what) except -1:
        cdef ArrowArrayStream stream
        cdef ArrowArrayStream *source
        cdef list chunks
        capsule = exporter.__arrow_c_stream__()
        if not PyCapsule_IsValid(capsule, "arrow_array_stream"):
            raise TypeError(f"{what}: __arrow_c_stream__() did not return a stream")
        source = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
        with cython.critical_section(capsule):
            if source.release is NULL:
                raise ValueError(f"{what}: {CONSUMED_TEXT.format('stream')}")
            stream, source.release = source[0], NULL
        try:
            chunks = self.read_stream(&stream, what)
        finally:
            stream.release(&stream)
        return self.join(chunks, what)

    cdef list read_stream(self, ArrowArrayStream *stream, str what):
        """A column of each chunk. The exporter may wait for its source, or run Python code: it gets no GIL."""
        cdef ArrowSchema schema
        cdef ArrowArray *array
        cdef ArrowColumn chunk
        cdef list chunks = []
        cdef int64_t count = 0
        cdef int failure
        schema.release = NULL
        with nogil:
            failure = stream.get_schema(stream, &schema)
        if failure:
            raise stream_error(stream, failure, what)
        if schema.release is NULL:
            raise ValueError(f"{what}: {CONSUMED_TEXT.format('schema')}")
        try:
            check_format(&schema, what)
            self.check_schema(&schema, what)
            while True:
                chunk = type(self).__new__(type(self))      # owns what comes
                chunk.first = count
                array = &chunk.arrow
                with nogil:
                    failure = stream.get_next(stream, array)
                if failure:
                    array.release = NULL
                    raise stream_error(stream, failure, what)
                if array.release is NULL:
                    return chunks
                chunk.take(&schema, what)
                chunks.append(chunk)
                count += chunk.count
                self.set_count(count, what)         # a stream without an end ends here
                PyErr_CheckSignals()
        finally:
            schema.release(&schema)


cdef bint is_arrow(object given):
    return hasattr(given, "__arrow_c_array__") or hasattr(given, "__arrow_c_stream__")


cdef int check_format(const ArrowSchema *schema, str what) except -1:
    if schema.format is NULL or (schema.dictionary is not NULL and schema.dictionary.format is NULL):
        raise ValueError(f"{what}: a malformed Arrow schema: it has no format")
    return 0


cdef str format_of(const ArrowSchema *schema):
    return schema.format.decode("utf-8", "replace")


cdef object malformed(str what, const char *problem):
    return ValueError(f"{what}: a malformed Arrow array: {problem.decode()}")


cdef object stream_error(ArrowArrayStream *stream, int failure, str what):
    cdef const char *text = stream.get_last_error(stream)
    return OSError(f"{what}: the Arrow stream failed: "
                   f"{os.strerror(failure) if text is NULL else text.decode('utf-8', 'replace')}")
