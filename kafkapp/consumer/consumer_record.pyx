"""ConsumerRecord: one row of a batch's columns, whose fields are made when they are read."""
from kafkapp.common.timestamp import Timestamp
from kafkapp.common.headers import Header

cimport cython
from cpython.object cimport PyObject_GenericGetAttr
from cpython.ref cimport PyObject
from libc.stdint cimport int8_t, int32_t, int64_t

from kafkapp.common.public_names cimport export_as
from kafkapp.common.views cimport new_key, new_value
from kafkapp.consumer.consumed_columns cimport (
    ConsumedBlock,
    bytes_of,
    kp_append,
    kp_bytes_column,
    kp_consumed,
    kp_consumed_size,
    kp_resize_block,
    kp_resize_rows,
    new_block,
    value_of,
)

cdef extern from *:
    ctypedef struct PyTypeObject:
        void *tp_getattro

cdef str VALUE = "value"
cdef dict TIMESTAMP_TYPES = {int(kind): kind for kind in Timestamp.Type}


@cython.final
@cython.freelist(256)
@cython.no_gc           # its block is in no cycle
cdef class ConsumerRecord:
    """ConsumerRecord(*args, **kwargs)\n--\n
    A record that was read. Immutable. Keeps the memory of its batch, also by its key, value and headers; of a batch of
    `poll` with large values that is librdkafka's too. `detach`, `copy.deepcopy` and `pickle` copy it.

    It equals a record with the same fields; headers that were not read are no headers. The hash is that of topic,
    partition and offset.

    Source: rd_kafka_message_t; ConsumerRecord.
    """

    def __init__(self, *args, **kwargs):
        raise TypeError("a ConsumerRecord cannot be created directly: the items of a ConsumedBatch are such")

    cdef kp_consumed *columns(self) except NULL:
        if self.block is None:
            raise RuntimeError("this ConsumerRecord is empty: the items of a ConsumedBatch are not")
        return self.block.columns

    @property
    def topic(self):
        """The topic's name, str."""
        cdef kp_consumed *columns = self.columns()
        return self.block.topics()[columns.topics[self.row]]

    @property
    def partition(self):
        """The partition's number, int."""
        return self.columns().partitions[self.row]

    @property
    def offset(self):
        """The record's offset in its partition, int."""
        return self.columns().offsets[self.row]

    @property
    def leader_epoch(self):
        """The epoch of the partition's leader, int; None: unknown, also with librdkafka before 2.3."""
        cdef int32_t epoch = self.columns().leader_epochs[self.row]
        return None if epoch < 0 else epoch

    @property
    def timestamp(self):
        """A Timestamp; None: the record has none."""
        cdef kp_consumed *columns = self.columns()
        if columns.timestamps[self.row] < 0:
            return None
        kind = columns.timestamp_types[self.row]
        return Timestamp(columns.timestamps[self.row], TIMESTAMP_TYPES.get(kind, kind))

    @property
    def key(self):
        """The key, a Key: a view of the batch's memory. Its `data` is None for null."""
        cdef Py_ssize_t size
        cdef const void *data = bytes_of(&self.columns().keys, self.row, &size)
        return new_key(self.block, data, size)

    @property
    def value(self):
        """The value, a Value: a view of the batch's memory, or of librdkafka's: see `poll`. Its `data` is None
        for null."""
        return value_view(self)

    @property
    def headers(self):
        """The headers, a list of Header, in their order and with duplicates; empty when there are none.

        A name ends at its first NUL, as librdkafka gives it; what is not UTF-8 in it is U+FFFD.

        Raises:
            RuntimeError: the batch was read without headers: see `poll_batch(headers=True)`.
        """
        cdef kp_consumed *columns = self.columns()
        cdef int32_t i
        if not columns.with_headers:
            raise RuntimeError("this batch was read without headers: use poll_batch(headers=True)")
        return [header_of(self.block, i)
                for i in range(columns.header_offsets[self.row], columns.header_offsets[self.row + 1])]

    def last_header_value(self, name):
        """The Value of the last header of this name (str); a null Value when there is none."""
        for header in reversed(self.headers):
            if header.key == name:
                return header.value
        return new_value(None, NULL, 0)

    def detach(self):
        """A ConsumerRecord that equals it and has memory of its own: a copy, for what outlives its batch."""
        return _restore_consumer_record(*fields(self))

    def __eq__(self, other):
        if not isinstance(other, ConsumerRecord):
            return NotImplemented
        return fields(self) == fields(other)

    def __hash__(self):
        return hash((self.topic, self.partition, self.offset))

    def __str__(self):
        key, moment = self.key, self.timestamp
        return (f"{self.topic}-{self.partition}:{self.offset}, {'' if moment is None else f'{moment}, '}"
                f"{f'{key}/' if key else ''}{self.value}")

    def __repr__(self):
        if self.block is None:
            return "<ConsumerRecord>"
        return f"<ConsumerRecord {self.topic}-{self.partition}:{self.offset}>"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self.detach()

    def __reduce__(self):
        return _restore_consumer_record, fields(self)


cdef object value_view(ConsumerRecord record):
    cdef Py_ssize_t size
    cdef const void *data = value_of(record.columns(), record.row, &size)
    return new_value(record.block, data, size)


cdef object attribute_of(object record, object name):
    """What object.__getattribute__() gives, which for the value, that is asked for most, costs more than the value."""
    if <PyObject *>name is <PyObject *>VALUE:
        return value_view(<ConsumerRecord>record)
    return PyObject_GenericGetAttr(record, name)


cdef ConsumerRecord new_record(ConsumedBlock block, size_t row):
    cdef ConsumerRecord record = ConsumerRecord.__new__(ConsumerRecord)
    record.block, record.row = block, row
    return record


cdef object header_of(ConsumedBlock block, size_t i):
    cdef Py_ssize_t name_size, size
    cdef const char *name = <const char *>bytes_of(&block.columns.header_names, i, &name_size)
    cdef const void *data = bytes_of(&block.columns.header_values, i, &size)
    return Header(name[:name_size].decode(), new_value(block, data, size))


cdef bytes own_bytes(const void *data, Py_ssize_t size):
    return None if data is NULL else (<const char *>data)[:size]


cdef bytes data_of(ConsumedBlock block, kp_bytes_column *column, size_t row):
    cdef Py_ssize_t size
    cdef const void *data = bytes_of(column, row, &size)
    return own_bytes(data, size)


cdef tuple fields(ConsumerRecord record):
    """The arguments of _restore_consumer_record()."""
    cdef kp_consumed *columns = record.columns()
    cdef ConsumedBlock block = record.block
    cdef size_t row = record.row
    cdef Py_ssize_t size
    cdef const void *value = value_of(columns, row, &size)
    cdef int32_t i
    headers = None if not columns.with_headers else tuple([
        (data_of(block, &columns.header_names, i), data_of(block, &columns.header_values, i))
        for i in range(columns.header_offsets[row], columns.header_offsets[row + 1])])
    return (record.topic, columns.partitions[row], columns.offsets[row], columns.timestamps[row],
            columns.timestamp_types[row], columns.leader_epochs[row], data_of(block, &columns.keys, row),
            own_bytes(value, size), headers)


def _restore_consumer_record(str topic, int32_t partition, int64_t offset, int64_t timestamp, int8_t timestamp_type,
                             int32_t leader_epoch, bytes key, bytes value, tuple headers):
    """Recreate a copied or pickled record, with memory of its own. Internal."""
    cdef kp_consumed_size size = [1, 0, 0]
    cdef ConsumedBlock block = new_block(headers is not None, &size)
    cdef kp_consumed *columns = block.columns
    cdef size_t row = 0
    cdef size_t count = len(headers or ())
    if kp_resize_block(columns, 1) or kp_resize_rows(&columns.names, 1) or count and (
            kp_resize_rows(&columns.header_names, count) or kp_resize_rows(&columns.header_values, count)):
        raise MemoryError()
    put(&columns.names, 0, 1, topic.encode())
    columns.name_count, columns.topics[0], columns.partitions[0], columns.offsets[0] = 1, 0, partition, offset
    columns.timestamps[0], columns.timestamp_types[0] = timestamp, timestamp_type
    columns.leader_epochs[0] = leader_epoch
    put(&columns.keys, 0, 1, key)
    put(&columns.values, 0, 1, value)
    if headers is not None:
        for name, value in headers:
            put(&columns.header_names, row, count, name)
            put(&columns.header_values, row, count, value)
            row += 1
        columns.header_count = columns.header_offsets[1] = <int32_t>row
    columns.count = 1
    return new_record(block, 0)


cdef int put(kp_bytes_column *column, size_t row, size_t room, bytes data) except -1:
    if kp_append(column, row, room, NULL if data is None else <const char *>data, 0 if data is None else len(data)):
        raise MemoryError("no memory for a copied record")
    return 0


(<PyTypeObject *>ConsumerRecord).tp_getattro = <void *>attribute_of
export_as(ConsumerRecord, "kafkapp.ConsumerRecord")
_restore_consumer_record.__module__ = "kafkapp"      # pickles name it
