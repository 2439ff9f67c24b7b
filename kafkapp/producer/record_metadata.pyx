"""RecordMetadata: what a record's delivery report says. Knows librdkafka's numbers."""
cimport cython

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_OFFSET_INVALID, RD_KAFKA_PARTITION_UA
from kafkapp.common.public_names cimport export_as

from enum import IntEnum

from kafkapp.common.timestamp import Timestamp


class PersistedStatus(IntEnum):
    """Whether a broker has a record: Not, Possibly, Done. Source: rd_kafka_msg_status_t; Producer::PersistedStatus."""
    __module__ = "kafkapp"
    Not = 0
    Possibly = 1
    Done = 2


cdef tuple STATUSES = tuple(PersistedStatus)
cdef tuple STATUS_NAMES = ("NotPersisted", "PossiblyPersisted", "Persisted")


cdef str id_text(object record_id):
    """str() of an id; repr() of bytes, whose str() is an error under python -bb."""
    return repr(record_id) if isinstance(record_id, (bytes, bytearray)) else str(record_id)


@cython.final
@cython.freelist(256)
@cython.trashcan(True)
cdef class RecordMetadata:
    """RecordMetadata(*args, **kwargs)\n--\n
    The outcome of a record, as its delivery report says. Immutable.

    Source: rd_kafka_message_t; Producer::RecordMetadata.
    """
    def __init__(self, *args, **kwargs):
        raise TypeError("a RecordMetadata cannot be created directly: delivery callbacks and send() give them")

    @property
    def topic(self):
        """The topic's name."""
        return self._topic

    @property
    def partition(self):
        """The partition; -1 if none was chosen."""
        return self._partition

    @property
    def offset(self):
        """The offset, or `None` if unknown: a failure, `acks=0`, or a duplicate that the broker already had."""
        return None if self._offset == RD_KAFKA_OFFSET_INVALID else self._offset

    @property
    def record_id(self):
        """The `id` of the record."""
        return self._record_id

    @property
    def key_size(self):
        """The key's size in bytes."""
        return self._key_size

    @property
    def value_size(self):
        """The value's size in bytes."""
        return self._value_size

    @property
    def timestamp(self):
        """The record's `Timestamp`, or `None` if unknown."""
        return None if self._timestamp < 0 else Timestamp(self._timestamp, self._timestamp_type)

    @property
    def persisted_status(self):
        """Whether the broker has the record: a `PersistedStatus`."""
        return STATUSES[self._status]

    @property
    def latency(self):
        """Seconds from the send to the delivery report (float), exact to 0.2 ms, or `None` if unknown."""
        return None if self._latency < 0 else self._latency / 1e6

    def __eq__(self, other):
        if not isinstance(other, RecordMetadata):
            return NotImplemented
        return fields(self) == fields(other)

    def __hash__(self):
        return hash((self._topic, self._partition, self._offset))

    def __str__(self):
        partition = "NA" if self._partition == RD_KAFKA_PARTITION_UA else self._partition
        offset = "NA" if self._offset == RD_KAFKA_OFFSET_INVALID else self._offset
        number = "" if self._record_id is None else f":id[{id_text(self._record_id)}]"
        moment = "" if self._timestamp < 0 else f",{self.timestamp}"
        return f"{self._topic}-{partition}@{offset}{number}{moment},{STATUS_NAMES[self._status]}"

    def __repr__(self):
        return f"<RecordMetadata {self}>"

    def __reduce__(self):
        return _restore_metadata, fields(self)


cdef tuple fields(RecordMetadata data):
    return (data._topic, data._record_id, data._partition, data._latency, data._offset, data._timestamp,
            data._key_size, data._value_size, data._timestamp_type, data._status)


def _restore_metadata(*fields):
    """Recreate a copied or pickled RecordMetadata. Internal."""
    cdef RecordMetadata data = RecordMetadata.__new__(RecordMetadata)
    (data._topic, data._record_id, data._partition, data._latency, data._offset, data._timestamp,
     data._key_size, data._value_size, data._timestamp_type, data._status) = fields
    return data


cdef RecordMetadata new_metadata(str topic, object record_id):
    cdef RecordMetadata data = RecordMetadata.__new__(RecordMetadata)
    data._topic = topic
    data._record_id = record_id
    data._partition = RD_KAFKA_PARTITION_UA
    data._offset = RD_KAFKA_OFFSET_INVALID
    data._timestamp = -1
    data._latency = -1
    return data


export_as(RecordMetadata, "kafkapp.RecordMetadata")
_restore_metadata.__module__ = "kafkapp"      # pickles name it
