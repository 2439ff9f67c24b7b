# C interface of kafkapp.consumer.consumer_record.

cimport cython

from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_consumed


@cython.final
cdef class ConsumerRecord:
    cdef ConsumedBlock block
    cdef size_t row

    cdef kp_consumed *columns(self) except NULL


cdef ConsumerRecord new_record(ConsumedBlock block, size_t row)
