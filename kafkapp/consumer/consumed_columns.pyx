"""Consumed columns: owns a block of csrc/consumed_columns.c, and exports its memory as buffers. Knows no consumer."""
from kafkapp.consumer.topic_partition import TopicPartition

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo

from kafkapp.client.client cimport Py_IsFinalizing

cdef const char *EMPTY = b""      # for what has no memory: NULL would mean null


@cython.final
@cython.no_gc           # it refers to strings only
cdef class ConsumedBlock:
    """The columns of one batch; what its records, columns and arrays have in common."""

    def __dealloc__(self):
        if self.columns is NULL:
            return
        if not self.columns.kept.count:
            kp_consumed_release(self.columns)
        elif not Py_IsFinalizing():     # then a destruction that has waited for it would run beside the process's exit
            with nogil:
                kp_consumed_release(self.columns)

    cdef tuple topics(self):
        cdef kp_bytes_column *names = &self.columns.names
        cdef size_t i
        with cython.critical_section(self):
            if self._topics is None:
                self._topics = tuple([names.data[names.offsets[i]:names.offsets[i + 1]].decode("utf-8", "replace")
                                      for i in range(self.columns.name_count)])
            return self._topics

    cdef dict places(self, kp_places *places):
        cdef tuple topics = self.topics()
        cdef size_t i
        return {TopicPartition(topics[places.places[i].topic], places.places[i].partition): places.places[i].offset
                for i in range(places.count)}

    cdef object column(self, const void *data, size_t count, Py_ssize_t itemsize, const char *format):
        cdef ConsumedColumn column = ConsumedColumn.__new__(ConsumedColumn)
        column.block, column.data, column.shape = self, data if data is not NULL else <const void *>EMPTY, count
        column.itemsize, column.format = itemsize, format
        return column


@cython.final
@cython.no_gc           # exports the block's memory; a block is in no cycle
cdef class ConsumedColumn:
    """Memory of a block, exported as a read-only buffer."""
    cdef ConsumedBlock block
    cdef const void *data
    cdef Py_ssize_t itemsize
    cdef Py_ssize_t shape
    cdef const char *format

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.block is None:
            raise BufferError("this object has no memory: use the columns of a ConsumedBatch")
        PyBuffer_FillInfo(view, self, <void *>self.data, self.shape * self.itemsize, True, flags)
        view.itemsize = self.itemsize
        if view.format is not NULL:
            view.format = <char *>self.format
        if view.shape is not NULL:
            view.shape = &self.shape
        if view.strides is not NULL:
            view.strides = &self.itemsize

    def __len__(self):
        return self.shape


cdef ConsumedBlock new_block(bint with_headers, const kp_consumed_size *guess=NULL, kp_spare *spare=NULL):
    cdef ConsumedBlock block = ConsumedBlock.__new__(ConsumedBlock)
    block.columns = kp_consumed_new(with_headers, guess, spare)
    if block.columns is NULL:
        raise MemoryError()
    return block
