"""Envelopes of consumed records: a line of JSON for each, as `kafkapp produce -f envelope` reads it, written in C."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free

from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.consumed_columns cimport kp_bytes_column, kp_consumed


cdef extern from "envelopes.h" nogil:
    ctypedef struct kp_lines:
        char *data
        size_t size
        size_t room

    int kp_append_envelope(kp_lines *lines, const kp_consumed *block, const kp_bytes_column *values, size_t row)


def envelope_lines(ConsumedBatch batch not None, rows=None):
    """The envelopes of a batch, or of these rows, as one bytes object; each ends with a line end, and has no other."""
    cdef kp_consumed *block = batch.columns()
    cdef const kp_bytes_column *values = batch.values()
    cdef kp_lines lines = kp_lines(NULL, 0, 0)
    cdef size_t row
    cdef int failure = 0
    try:
        if rows is None:
            with nogil:
                for row in range(block.count):
                    failure = failure or kp_append_envelope(&lines, block, values, row)
        else:
            for index in rows:
                row = index
                if row >= block.count:
                    raise IndexError(f"the batch has {block.count} records")
                failure = failure or kp_append_envelope(&lines, block, values, row)
        if failure:
            raise MemoryError()
        return PyBytes_FromStringAndSize(lines.data, lines.size)
    finally:
        free(lines.data)
