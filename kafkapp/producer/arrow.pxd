# Arrow: columns that are read from exporters of Arrow arrays. Knows no client, and not what a column is for.

from libc.stdint cimport int64_t


cdef extern from "arrow.h" nogil:
    struct ArrowSchema:
        const char *format
        const char *name
        int64_t n_children
        ArrowSchema **children
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept

    struct ArrowArray:
        int64_t length
        ArrowArray *dictionary
        void (*release)(ArrowArray *) noexcept

    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept nogil
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept nogil
        const char *(*get_last_error)(ArrowArrayStream *) noexcept
        void (*release)(ArrowArrayStream *) noexcept

    int64_t KP_MAX_ITEMS


cdef class ArrowColumn:
    cdef int64_t count              # -1: one item for all records
    cdef int64_t first              # of a stream's chunk: how many records come before it
    cdef object held                # owner of the memory: immutable, or a tuple of such
    cdef ArrowArray arrow           # owned while its `release` is set

    cdef int release(self) except -1
    cdef int set_count(self, int64_t count, str what) except -1

    # Read the array or the stream of an exporter, whose chunks are columns of the same class.
    cdef int read(self, object exporter, str what) except -1
    cdef int from_array(self, object exporter, str what) except -1
    cdef int from_stream(self, object exporter, str what) except -1
    cdef list read_stream(self, ArrowArrayStream *stream, str what)

    # Of each subclass. Raise unless arrays of this schema can be read:
    cdef int check_schema(self, const ArrowSchema *schema, str what) except -1
    # Read the array that the column owns, whose schema is checked:
    cdef int take(self, const ArrowSchema *schema, str what) except -1
    # Become one column of the chunks:
    cdef int join(self, list chunks, str what) except -1


cdef bint is_arrow(object given)

# Raise for a schema, or a dictionary's, without a format; the text of a format, for messages.
cdef int check_format(const ArrowSchema *schema, str what) except -1
cdef str format_of(const ArrowSchema *schema)

cdef object malformed(str what, const char *problem)
