"""RecordCursor: records of the last poll that `async for` has not given out yet; RecordIterator gives them.

While there are such records, what `async for` awaits is the iterator itself, which ends at once with one of them: no
coroutine and no other object is made. The consumer's positions follow when somebody asks for them.
"""
cimport cython
from cpython.ref cimport Py_INCREF, PyObject, PyTypeObject

from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.polling cimport PollingConsumer
from kafkapp.consumer.unread cimport give_back, set_positions

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
    PyObject *PyExc_StopIteration
    void PyErr_SetObject(PyObject *type, PyObject *value)

cdef extern from *:
    """
    typedef PyObject *(*kp_next)(PyObject *);
    typedef PySendResult (*kp_send)(PyObject *, PyObject *, PyObject **);
    #define KP_SET_NEXT(type, function) ((type)->tp_iternext = (function))
    #define KP_SET_SEND(type, function) ((type)->tp_as_async->am_send = (function))
    """
    ctypedef PyObject *(*kp_next)(PyObject *) except? NULL
    ctypedef PySendResult (*kp_send)(PyObject *, PyObject *, PyObject **) except PYGEN_ERROR
    void KP_SET_NEXT(PyTypeObject *type, kp_next function)
    void KP_SET_SEND(PyTypeObject *type, kp_send function)


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
        raise StopIteration(take(self))


cdef object take(object iterator):
    cdef RecordCursor cursor = (<RecordIterator>iterator).cursor
    if not cursor.has_record():
        raise RuntimeError("await what __anext__() returns")
    return cursor.take()


# Cython adds a traceback to each StopIteration that has a value: it would take longer than all else.
cdef PyObject *next_record(PyObject *iterator) except? NULL:
    record = take(<object>iterator)
    PyErr_SetObject(PyExc_StopIteration, <PyObject *>record)
    return NULL


# CPython 3.11, and 3.15, ask for this first: no exception is made.
cdef PySendResult send(PyObject *iterator, PyObject *value, PyObject **result) except PYGEN_ERROR:
    result[0] = NULL
    record = take(<object>iterator)
    Py_INCREF(record)
    result[0] = <PyObject *>record
    return PYGEN_RETURN


KP_SET_NEXT(<PyTypeObject *>RecordIterator, next_record)
KP_SET_SEND(<PyTypeObject *>RecordIterator, send)
