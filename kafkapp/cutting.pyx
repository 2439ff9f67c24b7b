"""Cutting: the records of a text, found in C and sent as a batch without a Python object for any of them.

Layer L5: knows columns and batches; where the text comes from is the command line's business.
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp.batch cimport Batch
from kafkapp.buffers cimport PyBuffer_Release, PyObject_GetBuffer
from kafkapp.columns cimport KP_SPANS, Column, kp_span


cdef extern from "lines.h" nogil:
    ctypedef struct kp_text:
        const char *data
        const char *end
        const char *delimiter
        size_t delimiter_size
        const char *key_delimiter
        size_t key_delimiter_size
        bint final
        bint null_empty

    int64_t kp_cut(kp_text *text, kp_span *values, kp_span *keys, int64_t most)
    int64_t kp_count(const kp_text *text, int64_t most)
    int kp_end_when_truncated(const char *text, int status)

cdef bytes last_words       # for as long as there may be such an end


@cython.final
@cython.no_gc_clear     # __dealloc__ asks whose the memory is; fixed when it is made, so that others end each cycle
cdef class Lines:
    """Where the keys and values of some records are in a text, which it holds. Made by `cut`.

    A sequence of (key, value) pairs of memoryviews or None; `following` is the place of what comes after them.
    """
    cdef Py_buffer view             # of the whole text
    cdef object text                # a memoryview of the same, to slice from
    cdef kp_span *values            # owned, unless this is the rest of others
    cdef kp_span *keys              # NULL: there are none
    cdef int64_t count
    cdef Lines owner                # whose rest this is, or None
    cdef readonly int64_t following

    def __init__(self):
        raise TypeError("Lines are made by cut()")

    def __dealloc__(self):
        if self.owner is None:
            free(self.values)
            free(self.keys)
            PyBuffer_Release(&self.view)

    def __len__(self):
        return self.count

    def __getitem__(self, int64_t i):
        if not 0 <= i < self.count:
            raise IndexError(i)
        return None if self.keys is NULL else self.slice(&self.keys[i]), self.slice(&self.values[i])

    def __iter__(self):
        return (self[i] for i in range(self.count))

    cdef object slice(self, kp_span *span):
        cdef int64_t start
        if span.data is NULL:
            return None
        start = span.data - <const char *>self.view.buf
        return self.text[start:start + span.size]

    def rest(self, int64_t start):
        """The lines from `start` on."""
        cdef Lines rest = Lines.__new__(Lines)
        if not 0 <= start <= self.count:
            raise IndexError(start)
        rest.owner = self if self.owner is None else self.owner     # which has the memory: no chain of rests
        rest.text = self.text
        rest.view.buf = self.view.buf
        rest.values = self.values + start
        rest.keys = NULL if self.keys is NULL else self.keys + start
        rest.count = self.count - start
        rest.following = self.following
        return rest

    def columns(self):
        """Values and keys, as `send_batch` takes them; keys None where there are none."""
        return self.column(self.values), None if self.keys is NULL else self.column(self.keys)

    cdef Column column(self, kp_span *spans):
        cdef Column column = Column.__new__(Column)
        column.c.kind = KP_SPANS
        column.c.spans = spans
        column.count = self.count
        column.held = self          # the spans stay this object's
        return column

    def tally(self, Batch batch not None):
        """What a batch of these lines has delivered.

        Returns:
            A dict of partition to [records, bytes of keys and values], and whether any failed, those aside that found
            the queue full.
        """
        cdef dict cells = {}
        cdef int64_t i, records = 0, size = 0
        cdef int partition = -1
        cdef bint failed = False
        if len(batch) != self.count:
            raise ValueError("not a batch of these lines")
        for i in range(batch.next_index):
            if batch.batch.errors[i]:
                failed = True
                continue
            if batch.batch.partitions[i] != partition:
                add(cells, partition, records, size)
                partition = batch.batch.partitions[i]
                records = size = 0
            records += 1
            size += self.values[i].size + (0 if self.keys is NULL else self.keys[i].size)
        add(cells, partition, records, size)
        return cells, failed


cdef int add(dict cells, int partition, int64_t records, int64_t size) except -1:
    if records:
        cell = cells.setdefault(partition, [0, 0])
        cell[0] += records
        cell[1] += size
    return 0


def cut(data, int64_t start, bint final, bytes delimiter not None, bytes key_delimiter=None, bint null_empty=False,
        int64_t most=2**62):
    """Find the records of a text.

    Args:
        data: bytes or mmap; held, without a copy, by the Lines and by the batches that are sent of them.
        start: where to begin.
        final: nothing follows the data, so that a last record needs no delimiter.
        delimiter: ends a record, and is no part of it.
        key_delimiter: ends a key; a record without it has none.
        null_empty: an empty key or value is null.
        most: how many to find at most.
    Returns:
        Lines; none where there is no whole record.
    """
    cdef Lines lines = Lines.__new__(Lines)
    cdef Py_buffer same
    cdef kp_text text
    PyObject_GetBuffer(data, &lines.view, PyBUF_SIMPLE)
    lines.text = memoryview(data).cast("B")
    PyObject_GetBuffer(lines.text, &same, PyBUF_SIMPLE)
    PyBuffer_Release(&same)
    if same.buf != lines.view.buf or same.len != lines.view.len:
        raise BufferError("data must give the same buffer each time")
    if not 0 <= start <= lines.view.len or not delimiter or key_delimiter == b"":
        raise ValueError("start must lie within the data, and a delimiter have a byte")
    text.data = <const char *>lines.view.buf + start
    text.end = <const char *>lines.view.buf + lines.view.len
    text.delimiter, text.delimiter_size = delimiter, len(delimiter)
    text.key_delimiter, text.key_delimiter_size = NULL, 0
    if key_delimiter is not None:
        text.key_delimiter, text.key_delimiter_size = key_delimiter, len(key_delimiter)
    text.final = final
    text.null_empty = null_empty
    with nogil:
        lines.count = kp_count(&text, most)
        lines.values = <kp_span *>malloc((lines.count + 1) * sizeof(kp_span))
        if text.key_delimiter is not NULL:
            lines.keys = <kp_span *>malloc((lines.count + 1) * sizeof(kp_span))
    if lines.values is NULL or (text.key_delimiter is not NULL and lines.keys is NULL):
        raise MemoryError()
    with nogil:
        lines.count = kp_cut(&text, lines.values, lines.keys, lines.count)
    lines.following = text.data - <const char *>lines.view.buf
    return lines


def end_when_truncated(bytes text not None, int status):
    """Have the process end, with a text on standard error, when a mapped file turns out to be shorter than its map.

    For a program of its own, such as the command line: it is the process's SIGBUS handler.

    Raises:
        OSError: the handler cannot be set.
    """
    global last_words
    last_words = text
    failure = kp_end_when_truncated(last_words, status)
    if failure:
        raise OSError(failure, "SIGBUS cannot be handled")
