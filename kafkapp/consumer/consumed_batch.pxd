# C interface of kafkapp.consumer.consumed_batch.

cimport cython
from libc.stdint cimport int32_t

from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_bytes_column, kp_bytes_format, kp_consumed


@cython.final
cdef class ConsumedBatch:
    cdef ConsumedBlock block

    cdef kp_consumed *columns(self) except NULL
    cdef object column(self, const void *data, size_t count, Py_ssize_t itemsize, const char *format)
    cdef const kp_bytes_column *values(self) except NULL
    cdef object data(self, const kp_bytes_column *column)
    cdef object validity(self, kp_bytes_column *column)
    cdef int check_text(self, str what, const kp_bytes_column *column, size_t rows, kp_bytes_format format,
                        const int32_t *ends) except -1


cdef ConsumedBatch new_batch(ConsumedBlock block)
