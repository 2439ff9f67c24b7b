"""ConsumerRecord: one row of a batch's columns, whose fields are made when they are read."""
from kafkapp.common.timestamp import Timestamp
from kafkapp.common.views import Header, Key, Value

cimport cython
from libc.stdint cimport int32_t

from kafkapp.common.public_names cimport export_as
from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_consumed


@cython.final
@cython.no_gc_clear     # its block refers to nothing, so it is in no cycle
cdef class ConsumerRecord:
    """ConsumerRecord(*args, **kwargs)\n--\n
    A record that was read. Keeps the memory of its batch; nothing of librdkafka's.

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
        return Timestamp(columns.timestamps[self.row], columns.timestamp_types[self.row])

    @property
    def key(self):
        """The key, a Key: a view of the batch's memory. Its `data` is None for null."""
        cdef kp_consumed *columns = self.columns()
        return Key(self.block.item(&columns.keys, self.row))

    @property
    def value(self):
        """The value, a Value: a view of the batch's memory. Its `data` is None for null."""
        cdef kp_consumed *columns = self.columns()
        return Value(self.block.item(&columns.values, self.row))

    @property
    def headers(self):
        """The headers, a list of Header, in their order and with duplicates; empty when there are none.

        Raises:
            RuntimeError: the batch was read without headers: see `poll_batch(headers=True)`.
        """
        cdef kp_consumed *columns = self.columns()
        cdef int32_t i
        if not columns.with_headers:
            raise RuntimeError("this batch was read without headers: use poll_batch(headers=True)")
        return [Header(bytes(self.block.item(&columns.header_names, i)).decode("utf-8", "replace"),
                       Value(self.block.item(&columns.header_values, i)))
                for i in range(columns.header_offsets[self.row], columns.header_offsets[self.row + 1])]

    def last_header_value(self, name):
        """The Value of the last header of this name (str); a null Value when there is none."""
        for header in reversed(self.headers):
            if header.key == name:
                return header.value
        return Value(None)

    def __str__(self):
        return f"{self.topic}-{self.partition}:{self.offset}, {self.timestamp}, {self.key}/{self.value}"

    def __repr__(self):
        if self.block is None:
            return "<ConsumerRecord>"
        return f"<ConsumerRecord {self.topic}-{self.partition}:{self.offset}>"

    def __reduce__(self):
        raise TypeError("a ConsumerRecord cannot be copied or pickled: it is a view of its batch; take its fields")


cdef ConsumerRecord new_record(ConsumedBlock block, size_t row):
    cdef ConsumerRecord record = ConsumerRecord.__new__(ConsumerRecord)
    record.block, record.row = block, row
    return record


export_as(ConsumerRecord, "kafkapp.ConsumerRecord")
