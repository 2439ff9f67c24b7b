"""RecordCursor: records of the last poll that `async for` has not given out yet; RecordIterator gives them.

While there are such records, what `async for` awaits is the iterator itself, which ends at once with one of them: no
coroutine and no other object is made. The consumer's positions follow when somebody asks for them.
"""
cimport cython
from cpython.ref cimport PyObject, PyTypeObject

from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.polling cimport PollingConsumer
from kafkapp.consumer.unread cimport give_back, set_positions

cdef extern from "Python.h":
    PyObject *PyExc_StopIteration
    void PyErr_SetObject(PyObject *type, PyObject *value)

cdef extern from *:
    """
    typedef PyObject *(*kp_next)(PyObject *);
    #define KP_SET_NEXT(type, function) ((type)->tp_iternext = (function))
    """
    ctypedef PyObject *(*kp_next)(PyObject *) except? NULL
    void KP_SET_NEXT(PyTypeObject *type, kp_next function)


@cython.final
cdef class RecordCursor:
    """Of one consumer. Used in the loop's thread only."""

    def __cinit__(self, PollingConsumer consumer not None):
        self.queue = consumer.get_queue()

    def begin(self, ConsumedBatch batch not None):
        """Give out the records of a batch that the last poll has returned, which is not empty. Returns the first."""
        set_positions(self.queue, batch.block, 0)
        self.block, self.row, self.count = batch.block, 0, batch.columns().count
        self.thread = PyThread_get_thread_ident()
        return self.take()

    def update_positions(self):
        """Have the positions follow what was given out."""
        if self.block is not None:
            set_positions(self.queue, self.block, self.row)
            if self.row == self.count:
                self.block = None

    def give_back(self):
        """Have the records that were not given out read again, by the next poll."""
        if self.block is not None:
            give_back(self.queue, self.block, self.row)
            self.block, self.row, self.count = None, 0, 0


@cython.final
cdef class RecordIterator:
    """RecordIterator(cursor, refill)\n--\n
    What `aiter()` gives of a consumer."""

    def __cinit__(self, RecordCursor cursor not None, refill):
        self.cursor, self.refill = cursor, refill

    def __aiter__(self):
        return self

    def __anext__(self):
        return self if self.cursor.has_record() else self.refill()

    def __await__(self):
        return self if self.cursor.has_record() else self.refill().__await__()

    def __iter__(self):
        return self

    def __next__(self):
        if not self.cursor.has_record():
            raise RuntimeError("await what __anext__() returns")
        raise StopIteration(self.cursor.take())


# Cython adds a traceback to each StopIteration that has a value: it would take longer than all else.
cdef PyObject *next_record(PyObject *iterator) except? NULL:
    cdef RecordCursor cursor = (<RecordIterator>iterator).cursor
    if not cursor.has_record():
        raise RuntimeError("await what __anext__() returns")
    record = cursor.take()
    PyErr_SetObject(PyExc_StopIteration, <PyObject *>record)
    return NULL


KP_SET_NEXT(<PyTypeObject *>RecordIterator, next_record)
