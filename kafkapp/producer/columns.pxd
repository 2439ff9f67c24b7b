# Columns: where the keys or values of a batch are. Knows memory and Arrow, no client.

cimport cython
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint8_t

from kafkapp.producer.arrow cimport ArrowArray, ArrowColumn, ArrowSchema


cdef extern from "batch.h" nogil:
    ctypedef struct kp_span:
        const char *data
        int64_t size

    ctypedef enum kp_column_kind:
        KP_NULLS
        KP_ONE
        KP_SPANS
        KP_OFFSETS32
        KP_OFFSETS64
        KP_FIXED
        KP_VIEWS

    ctypedef struct kp_column:
        kp_column_kind kind
        const char *data
        int64_t size
        const kp_span *spans
        const void *offsets
        int64_t width
        const void **buffers
        const int64_t *buffer_sizes
        int64_t buffer_count
        const uint8_t *valid
        int64_t valid_offset

    int64_t kp_column_check(const kp_column *column, int64_t count)


cdef extern from "arrow.h" nogil:
    bint kp_arrow_kind(kp_column *column, const ArrowSchema *schema)
    const char *kp_arrow_column(kp_column *column, const ArrowArray *array)
    const char *kp_arrow_decode(const kp_column *values, int64_t count, const char *format, const ArrowArray *array,
                                kp_span *spans)
    int64_t kp_column_spans(const kp_column *column, int64_t count, kp_span *spans)


@cython.final
cdef class Column(ArrowColumn):
    # `held`: a tuple of immutable objects, or the Lines with the spans
    cdef kp_column c
    cdef kp_span *spans             # owned
    cdef Py_buffer *views           # owned, as are the buffers in it
    cdef Py_ssize_t view_count
    cdef bint sent                 # a batch has it, and releases it
    cdef int mark_sent(self, str what) except -1
    cdef int hold(self, Py_buffer *view) except -1
    cdef int span(self, kp_span *span, object data, str what) except -1
    cdef int from_sequence(self, tuple items, str what) except -1
    cdef int from_buffer(self, object data, object offsets, str what, str offsets_name) except -1
    cdef int decode(self, const ArrowSchema *schema, str what) except -1
    cdef int allocate_spans(self) except -1
    cdef int check(self, str what) except -1


cdef Column new_column(object values, object offsets, str what)
cdef bint is_per_record(object given)
cdef int get_numbers(Py_buffer *view, object numbers, str what, int itemsize=*) except -1
cdef object numpy_kind(object values)
cdef int place_error(object exc, str what, Py_ssize_t i, tuple parts=*) except -1
cdef Column new_key_column(object keys, object offsets, str what)
