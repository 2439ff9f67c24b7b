"""Line splitter: finds the records of a delimited text in C, for a batch without a Python object for each of them.

Knows columns and batches, not where the text comes from.
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp.common.buffers cimport kp_get_buffer, kp_release_buffer
from kafkapp.producer.batch cimport Batch
from kafkapp.producer.columns cimport KP_SPANS, Column, kp_span


cdef extern from "line_splitter.h" nogil:
    ctypedef struct kp_text:
        const char *data
        const char *end
        const char *delimiter
        size_t delimiter_size
        const char *key_delimiter
        size_t key_delimiter_size
        bint final
        bint null_empty

    int64_t kp_split_lines(kp_text *text, kp_span *values, kp_span *keys, int64_t max_lines)
    int64_t kp_count_lines(const kp_text *text, int64_t max_lines)
    int kp_exit_when_truncated(const char *text, int status)

cdef bytes truncation_text      # referenced here: the signal handler reads its memory


@cython.final
@cython.no_gc_clear     # __dealloc__ reads `owner`; its references never change, so another object breaks each cycle
cdef class Lines:
    """The records that `split_lines` has found in a text: where their keys and values are. Holds the text's buffer.

    A sequence of (key, value) pairs of memoryviews or None; `following` is the offset of the text behind them.
    """
    cdef Py_buffer view             # of the whole text
    cdef object text                # a memoryview of the same, to slice from
    cdef kp_span *values            # owned by `owner`, or by this object if that is None
    cdef kp_span *keys              # likewise; NULL: there are none
    cdef int64_t count
    cdef Lines owner                # the Lines of which this is the rest, or None
    cdef readonly int64_t following

    def __init__(self):
        raise TypeError("Lines cannot be created directly: split_lines() returns them")

    def __dealloc__(self):
        if self.owner is None:
            free(self.values)
            free(self.keys)
            kp_release_buffer(&self.view)

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
        rest.owner = self if self.owner is None else self.owner     # never a rest itself: no chain
        rest.text = self.text
        rest.view.buf = self.view.buf
        rest.values = self.values + start
        rest.keys = NULL if self.keys is NULL else self.keys + start
        rest.count = self.count - start
        rest.following = self.following
        return rest

    def columns(self):
        """The columns of values and of keys for `send_batch`; None where there are no keys."""
        return self.column(self.values), None if self.keys is NULL else self.column(self.keys)

    cdef Column column(self, kp_span *spans):
        cdef Column column = Column.__new__(Column)
        column.c.kind = KP_SPANS
        column.c.spans = spans
        column.count = self.count
        column.held = self          # which owns the spans
        return column

    def tally(self, Batch batch not None):
        """What a batch of these lines has delivered.

        Returns:
            A dict of partition to [records, bytes of keys and values], and whether any record has failed, apart from
            those that found the queue full.
        """
        cdef dict cells = {}
        cdef int64_t i, records = 0, size = 0
        cdef int partition = -1
        cdef bint failed = False
        if len(batch) != self.count:
            raise ValueError("Lines.tally() takes a batch of these lines")
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


def split_lines(data, int64_t start, bint final, bytes delimiter not None, bytes key_delimiter=None,
                bint null_empty=False, int64_t max_lines=2**62):
    """Find the records of a text.

    Args:
        data: bytes or mmap; held without a copy by the Lines, and by the batches made of them.
        start: the offset to begin at.
        final: nothing follows the data, so the last record needs no delimiter.
        delimiter: ends a record and is no part of it.
        key_delimiter: ends a key; a record without one has no key.
        null_empty: an empty key or value is null.
        max_lines: limit of the number of records.
    Returns:
        Lines; empty where there is no complete record.
    """
    cdef Lines lines = Lines.__new__(Lines)
    cdef Py_buffer same
    cdef kp_text text
    kp_get_buffer(data, &lines.view, PyBUF_SIMPLE)
    lines.text = memoryview(data).cast("B")
    kp_get_buffer(lines.text, &same, PyBUF_SIMPLE)
    kp_release_buffer(&same)
    if same.buf != lines.view.buf or same.len != lines.view.len:
        raise BufferError("data must give the same buffer each time")
    if not 0 <= start <= lines.view.len or not delimiter or key_delimiter == b"":
        raise ValueError("start must lie within the data, and a delimiter must not be empty")
    text.data = <const char *>lines.view.buf + start
    text.end = <const char *>lines.view.buf + lines.view.len
    text.delimiter, text.delimiter_size = delimiter, len(delimiter)
    text.key_delimiter, text.key_delimiter_size = NULL, 0
    if key_delimiter is not None:
        text.key_delimiter, text.key_delimiter_size = key_delimiter, len(key_delimiter)
    text.final = final
    text.null_empty = null_empty
    with nogil:
        lines.count = kp_count_lines(&text, max_lines)
        lines.values = <kp_span *>malloc((lines.count + 1) * sizeof(kp_span))
        if text.key_delimiter is not NULL:
            lines.keys = <kp_span *>malloc((lines.count + 1) * sizeof(kp_span))
    if lines.values is NULL or (text.key_delimiter is not NULL and lines.keys is NULL):
        raise MemoryError()
    with nogil:
        lines.count = kp_split_lines(&text, lines.values, lines.keys, lines.count)
    lines.following = text.data - <const char *>lines.view.buf
    return lines


def exit_when_truncated(bytes text not None, int status):
    """Have the process exit, with a text on standard error, when a mapped file turns out to be shorter than its map.

    For programs, such as the command line, and not for libraries: it sets the SIGBUS handler of the process.

    Raises:
        OSError: the handler cannot be set.
    """
    global truncation_text
    truncation_text = text
    failure = kp_exit_when_truncated(truncation_text, status)
    if failure:
        raise OSError(failure, "the SIGBUS handler cannot be set")
