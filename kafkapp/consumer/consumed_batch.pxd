# C interface of kafkapp.consumer.consumed_batch.

cimport cython

from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_bytes_column, kp_consumed


@cython.final
cdef class ConsumedBatch:
    cdef ConsumedBlock block

    cdef kp_consumed *columns(self) except NULL
    cdef object column(self, const void *data, size_t count, Py_ssize_t itemsize, const char *format)
    cdef object data(self, kp_bytes_column *column)
    cdef object validity(self, kp_bytes_column *column)


cdef ConsumedBatch new_batch(ConsumedBlock block)
