# Headers: of all records of a batch, of each, or in Arrow's columns. Knows librdkafka's headers, no client.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_headers_t
from kafkapp.producer.arrow cimport ArrowColumn, ArrowSchema
from kafkapp.producer.columns cimport Column, kp_column


cdef extern from "headers.h" nogil:
    ctypedef struct kp_range:
        int64_t start
        int64_t end

    ctypedef struct kp_headers:
        rd_kafka_headers_t *all
        rd_kafka_headers_t **rows
        const kp_range *ranges
        kp_column names
        kp_column values


cdef class HeadersColumn(ArrowColumn):
    cdef kp_headers c
    cdef kp_range *ranges           # owned
    cdef Column names, values       # those of Arrow: one after the other
    cdef int from_rows(self, tuple rows, str what) except -1
    cdef int allocate_ranges(self) except -1
    cdef int set_columns(self, Column names, Column values) except -1
    cdef kp_headers *pointer(self) noexcept     # for C; NULL: no record has any


# Check what is given for `count` records.
cdef HeadersColumn new_headers_column(object given, int64_t count)
