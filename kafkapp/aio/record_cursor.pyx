"""RecordCursor: records of the last poll that `async for` has not given out yet; RecordIterator gives them.

While there are such records, what `async for` awaits is the iterator itself, which ends at once with one of them: no
coroutine and no other object is made. The consumer's positions follow when somebody asks for them.
"""
cimport cython
from cpython.ref cimport Py_INCREF, PyObject, PyTypeObject

from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.polling cimport PollingConsumer
from kafkapp.consumer.unread cimport give_back, runs_of, set_positions

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
        self.block, self.row, self.end = batch.block, 0, batch.columns().count
        self.gone, self.thread = set(), PyThread_get_thread_ident()
        return self.take()

    def update_positions(self):
        """Have the positions follow what was given out."""
        if self.block is not None:
            set_positions(self.queue, self.block, self.row, self.gone)
            if self.row == self.end:
                self.block = None

    def give_back(self, places=None):
        """Have the records of some partitions (an iterable of TopicPartition), of all for None, that were not given out
        read again, by the next poll."""
        cdef set some = None if places is None else set(places)
        if self.block is None:
            return
        give_back(self.queue, self.block, self.row, self.gone, some)
        if some is None:
            self.block, self.runs, self.row, self.end = None, None, 0, 0
        else:
            self.drop(some)

    def left(self):
        """How many records are still to be given."""
        cdef size_t count = self.end - self.row
        for begin, end in self.runs or ():
            count += end - begin
        return count

    def hold(self):
        """Rebalances may come: positions are those of what was given out. Then keep() has to be called."""
        if self.block is not None:
            give_back(self.queue, self.block, self.row, self.gone, set())
        self.queue.moved.clear()

    def keep(self):
        """Give no record of partitions that a rebalance since hold() has taken away or paused, or of which it has said
        where to go on; all others are still to be given."""
        if self.block is not None and self.queue.moved:
            self.drop(self.queue.moved)
        if self.queue.paused:
            self.give_back(self.queue.paused)

    cdef int drop(self, set places) except -1:
        self.gone.update(places)
        self.runs = runs_of(self.block, self.row, self.gone)
        self.row, self.end = self.runs.pop() if self.runs else (0, 0)
        if not self.end:
            self.block = None
        return 0


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
