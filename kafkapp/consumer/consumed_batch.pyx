"""ConsumedBatch: the records of one poll, as columns, by the Arrow C data interface, or one by one."""
cimport cython
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from kafkapp.common.atomics cimport KP_GIL
from kafkapp.common.public_names cimport export_as
from kafkapp.consumer.consumed_columns cimport (
    KP_TEXT,
    ArrowArray,
    ArrowSchema,
    ConsumedBlock,
    kp_bytes_column,
    kp_bytes_format,
    kp_consumed,
    kp_consumed_bytes,
    kp_consumed_export,
    kp_consumed_formats,
    kp_consumed_not_utf8,
    kp_consumed_requested,
    kp_consumed_values,
)
from kafkapp.consumer.consumer_record cimport ConsumerRecord, new_record

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *thing)


cdef void free_schema(object capsule) noexcept:
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release is not NULL:
        schema.release(schema)
    free(schema)


cdef void free_array(object capsule) noexcept:
    cdef ArrowArray *array = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
    if array.release is not NULL:
        array.release(array)
    free(array)


cdef const ArrowSchema *schema_of(object capsule) except NULL:
    """What a reader has in a capsule, which it owns."""
    cdef ArrowSchema *schema = NULL
    if PyCapsule_IsValid(capsule, "arrow_schema"):
        schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema is NULL or schema.release is NULL:
        raise TypeError("requested_schema must be a capsule of an ArrowSchema that is not released, or None")
    return schema


cdef object schema_capsule(kp_consumed *columns, kp_consumed_formats formats):
    cdef ArrowSchema *schema = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
    if schema is NULL:
        raise MemoryError()
    try:
        capsule = PyCapsule_New(schema, "arrow_schema", free_schema)
    except:
        free(schema)
        raise
    if kp_consumed_export(columns, formats, schema, NULL):
        raise MemoryError()
    return capsule


cdef object array_capsule(kp_consumed *columns, kp_consumed_formats formats):
    cdef ArrowArray *array = <ArrowArray *>calloc(1, sizeof(ArrowArray))
    if array is NULL:
        raise MemoryError()
    try:
        capsule = PyCapsule_New(array, "arrow_array", free_array)
    except:
        free(array)
        raise
    if kp_consumed_export(columns, formats, NULL, array):
        raise MemoryError()
    return capsule


@cython.final
@cython.no_gc           # its block is in no cycle
cdef class ConsumedBatch:
    """ConsumedBatch(*args, **kwargs)\n--\n
    The records of one poll, in the order in which they were read; false when there are none.

    A sequence of ConsumerRecord, made when looked at. As columns: an Arrow struct array (`pyarrow.record_batch(batch)`,
    `polars.DataFrame(batch)`), or read-only memoryviews of the same memory without pyarrow. Everything stays
    valid whatever becomes of the consumer: it was copied once, or is memory of librdkafka's that the batch holds, as
    large values of `poll` are; their column is made when it is first asked for, by a copy.

    Source: rd_kafka_consume_batch_queue().
    """

    def __init__(self, *args, **kwargs):
        raise TypeError("a ConsumedBatch cannot be created directly: poll() and poll_batch() return one")

    cdef kp_consumed *columns(self) except NULL:
        if self.block is None:
            raise RuntimeError("this ConsumedBatch is empty: poll() and poll_batch() return one that is not")
        return self.block.columns

    cdef object column(self, const void *data, size_t count, Py_ssize_t itemsize, const char *format):
        return memoryview(self.block.column(data, count, itemsize, format))

    cdef const kp_bytes_column *values(self) except NULL:
        """The values as one column: a copy of them, made once, where the batch keeps librdkafka's messages."""
        cdef kp_consumed *columns = self.columns()
        cdef const kp_bytes_column *values
        with nogil:
            values = kp_consumed_values(columns)
        if values is NULL:
            raise MemoryError()
        return values

    cdef object data(self, const kp_bytes_column *column):
        return self.column(column.data, column.offsets[self.columns().count], 1, b"B")

    cdef object validity(self, kp_bytes_column *column):
        return None if column.validity is NULL or not column.nulls else self.column(
            column.validity, (self.columns().count + 7) // 8, 1, b"B")

    # -- a sequence -------------------------------------------------------------------------------

    def __len__(self):
        return self.columns().count

    def __getitem__(self, index):
        cdef Py_ssize_t row
        cdef Py_ssize_t count = self.columns().count
        if isinstance(index, slice):
            return [new_record(self.block, row) for row in range(*index.indices(count))]
        row = index
        if row < 0:
            row += count
        if not 0 <= row < count:
            raise IndexError(f"the batch has {count} records")
        return new_record(self.block, row)

    def __iter__(self):
        cdef BatchIterator iterator = BatchIterator.__new__(BatchIterator)
        iterator.count, iterator.block = self.columns().count, self.block
        return iterator

    def __repr__(self):
        if self.block is None:
            return "<ConsumedBatch>"
        return f"<ConsumedBatch of {len(self)} records>"

    def __reduce__(self):
        raise TypeError("a ConsumedBatch cannot be copied or pickled: take its columns, or export it to Arrow")

    # -- for the whole batch ----------------------------------------------------------------------

    @property
    def nbytes(self):
        """How many bytes its keys, values and headers have, int."""
        return kp_consumed_bytes(self.columns())

    @property
    def ends(self):
        """What comes next to read: a dict of TopicPartition to offset, of each partition that has records here."""
        cdef kp_consumed *columns = self.columns()
        return self.block.places(&columns.ends)

    @property
    def eofs(self):
        """Partitions that were read to their end: a dict of TopicPartition to offset. Only with
        `enable.partition.eof`."""
        cdef kp_consumed *columns = self.columns()
        return self.block.places(&columns.eofs)

    # -- columns ----------------------------------------------------------------------------------

    @property
    def topics(self):
        """The names of topics, a tuple of str, to which `topic_indices` refers."""
        self.columns()
        return self.block.topics()

    @property
    def topic_indices(self):
        """The topic of each record, as an index into `topics`: int32."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.topics, columns.count, 4, b"i")

    @property
    def partitions(self):
        """The partition of each record: int32."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.partitions, columns.count, 4, b"i")

    @property
    def offsets(self):
        """The offset of each record: int64."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.offsets, columns.count, 8, b"q")

    @property
    def timestamps(self):
        """The timestamp of each record, in milliseconds since the epoch: int64, -1 for one without."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.timestamps, columns.count, 8, b"q")

    @property
    def timestamp_types(self):
        """Who set it, a Timestamp.Type: int8."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.timestamp_types, columns.count, 1, b"b")

    @property
    def key_offsets(self):
        """Where each key begins in `key_data`, and the last one ends: int32, one more than records."""
        cdef kp_consumed *columns = self.columns()
        return self.column(columns.keys.offsets, columns.count + 1, 4, b"i")

    @property
    def key_data(self):
        """The bytes of all keys."""
        return self.data(&self.columns().keys)

    @property
    def key_validity(self):
        """A bit for each record, the first in the lowest: whether its key is not null. None: no key is null."""
        return self.validity(&self.columns().keys)

    @property
    def value_offsets(self):
        """Where each value begins in `value_data`, and the last one ends: int32, one more than records."""
        return self.column(self.values().offsets, len(self) + 1, 4, b"i")

    @property
    def value_data(self):
        """The bytes of all values."""
        return self.data(self.values())

    @property
    def value_validity(self):
        """A bit for each record, the first in the lowest: whether its value is not null. None: no value is null."""
        return self.validity(&self.columns().values)

    # -- the Arrow C data interface ---------------------------------------------------------------

    def __arrow_c_schema__(self):
        return schema_capsule(self.columns(), kp_consumed_requested(NULL))

    def __arrow_c_array__(self, requested_schema=None):
        """The schema and the array, as capsules.

        Args:
            requested_schema: an "arrow_schema" capsule, or None. The fields `key`, `value` and the value of `headers`
                become large_binary, binary_view, string, large_string or string_view where it says so; the rest of it
                is not followed, as the interface allows.
        Raises:
            TypeError: `requested_schema` is no such capsule.
            ValueError: a string is asked for, and a record is not UTF-8. The text names the first one.
        """
        cdef kp_consumed *columns = self.columns()
        cdef kp_consumed_formats formats = kp_consumed_requested(NULL)
        if requested_schema is not None:
            formats = kp_consumed_requested(schema_of(requested_schema))
            self.check_text("key", &columns.keys, columns.count, formats.key, NULL)
            self.check_text("value", self.values(), columns.count, formats.value, NULL)
            if columns.with_headers:
                self.check_text("header", &columns.header_values, columns.header_count, formats.header_value,
                                columns.header_offsets)
        return schema_capsule(columns, formats), array_capsule(columns, formats)

    cdef int check_text(self, str what, const kp_bytes_column *column, size_t rows, kp_bytes_format format,
                        const int32_t *ends) except -1:
        """Raise if a column that is asked for as a string is none. `ends`: of each record's rows; NULL: it has one."""
        cdef int64_t bad
        if format < KP_TEXT:
            return 0
        with nogil:
            bad = kp_consumed_not_utf8(column, rows)
            if bad >= 0 and ends is not NULL:
                rows = 0
                while ends[rows + 1] <= bad:
                    rows += 1
                bad = rows
        if bad >= 0:
            raise ValueError(f"the {what} of {new_record(self.block, bad)!r}, row {bad}, is not UTF-8: ask for binary")
        return 0


@cython.final
@cython.no_gc           # as the batch
cdef class BatchIterator:
    """What `iter()` gives of a ConsumedBatch."""
    cdef ConsumedBlock block
    cdef size_t row, count          # the next one, and how many there are
    cdef PyObject *given[2]         # owned: the last two records, where there is a GIL

    def __dealloc__(self):
        Py_XDECREF(self.given[0])
        Py_XDECREF(self.given[1])

    def __iter__(self):
        return self

    def __next__(self):
        cdef size_t row
        cdef PyObject *before
        with cython.critical_section(self):
            row = self.row
            self.row += row < self.count
        if row == self.count:
            raise StopIteration
        if not KP_GIL:
            return new_record(self.block, row)
        # A loop has still the last record. If nobody has the one before, it becomes the next.
        before = self.given[row % 2]
        if before is NULL or Py_REFCNT(before) != 1:
            record = new_record(self.block, row)
            Py_INCREF(record)
            self.given[row % 2] = <PyObject *>record
            Py_XDECREF(before)
            return record
        (<ConsumerRecord>before).row = row
        return <object>before


cdef ConsumedBatch new_batch(ConsumedBlock block):
    cdef ConsumedBatch batch = ConsumedBatch.__new__(ConsumedBatch)
    batch.block = block
    return batch


export_as(ConsumedBatch, "kafkapp.ConsumedBatch")
