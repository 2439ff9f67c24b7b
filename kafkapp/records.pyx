"""Records and what becomes of them: views over memory that the caller has, and what the broker said of it.

Layer L2: knows librdkafka's headers and numbers; knows no client, and takes a buffer only while it reads it.
"""
cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_FULL_RO, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo,
    PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyIndex_Check, PyNumber_Index
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_DecodeASCII, PyUnicode_FromObject
from libc.stdint cimport INT32_MAX, INT64_MAX
from libc.string cimport memchr, memcmp, memset

from kafkapp.librdkafka cimport (
    RD_KAFKA_MSG_STATUS_PERSISTED, RD_KAFKA_OFFSET_INVALID, RD_KAFKA_PARTITION_UA, RD_KAFKA_TIMESTAMP_CREATE_TIME,
    RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, RD_KAFKA_TIMESTAMP_NOT_AVAILABLE, rd_kafka_header_add, rd_kafka_headers_destroy,
    rd_kafka_headers_new)

import time
from enum import IntEnum


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    bint PyUnicode_IS_ASCII(object text)
    int Py_ReprEnter(object thing) except -1
    void Py_ReprLeave(object thing)
    Py_ssize_t PyVectorcall_NARGS(size_t nargsf)
    ctypedef struct TypeObject "PyTypeObject":
        void *tp_vectorcall


class PersistedStatus(IntEnum):
    """Whether the broker has a record: Not, Possibly or Done.

    Source: rd_kafka_msg_status_t; Producer::PersistedStatus.
    """
    Not = 0
    Possibly = 1
    Done = 2


class _TimestampType(IntEnum):
    """Who set a timestamp: nobody, the producer or the broker.

    Source: rd_kafka_timestamp_type_t; Timestamp::Type.
    """
    NotAvailable = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
    CreateTime = RD_KAFKA_TIMESTAMP_CREATE_TIME
    LogAppendTime = RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME


_TimestampType.__qualname__ = "Timestamp.Type"
_TimestampType.__name__ = "Type"
cdef tuple STATUSES = tuple(PersistedStatus)
cdef tuple STATUS_NAMES = ("NotPersisted", "PossiblyPersisted", "Persisted")
cdef object datetime = None             # these three from the first use on: importing them costs a millisecond
cdef object millisecond = None
cdef object epoch = None


cdef int load_datetime() except -1:
    global datetime, millisecond, epoch
    if epoch is None:
        from datetime import datetime as kind, timedelta, timezone
        datetime, millisecond, epoch = kind, timedelta(milliseconds=1), kind(1970, 1, 1, tzinfo=timezone.utc)
    return 0


cdef str name_of(object thing):
    return type(thing).__name__


# -- views -----------------------------------------------------------------------------------------

cdef int get_view(object data, Py_buffer *view, str what) except -1:
    cdef const char *text
    cdef Py_ssize_t size
    if isinstance(data, View):
        data = (<View>data).data
    if data is None:
        memset(view, 0, sizeof(Py_buffer))
        return 0
    if isinstance(data, str):
        text = utf8(data, &size, what)
        return PyBuffer_FillInfo(view, data, <void *>text, size, 1, PyBUF_SIMPLE)
    if not PyObject_CheckBuffer(data):
        raise TypeError(f"{what} must be bytes-like, str, Key, Value or None, not {name_of(data)}")
    try:
        PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    except (BufferError, ValueError):
        if has_gaps(data):
            raise BufferError(f"{what} must be C-contiguous: .tobytes() makes a copy that is") from None
        raise
    # An array of Python objects is a buffer too, of pointers, which must never leave the process.
    if view.itemsize >= <Py_ssize_t>sizeof(void *):
        try:
            check_format(data, what)
        except BaseException:
            PyBuffer_Release(view)
            raise
    if view.buf == NULL:
        view.buf = <void *>b""          # some exporters have no address for nothing at all; NULL would mean null
    return 0


cdef const char *utf8(str text, Py_ssize_t *size, str what) except NULL:
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be encoded as UTF-8: {error.reason} at position {error.start}") from None


cdef bint has_gaps(object data):
    """Whether its buffer can be had, only not in one piece."""
    cdef Py_buffer view
    try:
        PyObject_GetBuffer(data, &view, PyBUF_FULL_RO)
    except Exception:
        return False
    PyBuffer_Release(&view)
    return True


cdef int check_format(object data, str what) except -1:
    cdef Py_buffer view
    cdef bint objects
    try:
        PyObject_GetBuffer(data, &view, PyBUF_FULL_RO)
    except Exception:
        return 0                        # NumPy has types with no format (datetime64): none of them is of objects
    # In a structure's format, names stand between colons.
    objects = view.format != NULL and any("O" in part for part in view.format.decode().split(":")[::2])
    PyBuffer_Release(&view)
    if objects:
        raise TypeError(f"{what} must be bytes-like, not {name_of(data)} of Python objects")
    return 0


cdef inline int check_data(object data, str what) except -1:
    """That `data` may stand as a key or value."""
    cdef Py_buffer view
    if data is None or PyBytes_CheckExact(data) or isinstance(data, View):
        return 0
    if PyUnicode_CheckExact(data) and PyUnicode_IS_ASCII(data):
        return 0
    get_view(data, &view, what)
    PyBuffer_Release(&view)
    return 0


cdef bytes to_bytes(object data, Py_ssize_t limit=-1):
    cdef Py_buffer view
    get_view(data, &view, "data")
    try:
        return PyBytes_FromStringAndSize(<char *>view.buf if view.len else NULL,
                                         view.len if limit < 0 or view.len < limit else limit)
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t size_of(object data) except -1:
    cdef Py_buffer view
    get_view(data, &view, "data")
    PyBuffer_Release(&view)
    return view.len


cdef str to_text(object data):
    """The bytes as the C++ API prints them."""
    cdef bytes source
    cdef const unsigned char *byte
    cdef Py_ssize_t i
    if data is None or isinstance(data, View) and (<View>data).data is None:
        return "[null]"
    source = to_bytes(data)
    if not source:
        return "[empty]"
    byte = <const unsigned char *>PyBytes_AS_STRING(source)
    for i in range(len(source)):
        if not 32 <= byte[i] < 127:
            return "".join([chr(c) if 32 <= c < 127 else f"[0x{c:02x}]" for c in source])
    return PyUnicode_DecodeASCII(<const char *>byte, len(source), NULL)


cdef str to_repr(object data):
    """What was given, in at most 64 bytes of it."""
    cdef Py_ssize_t size
    if isinstance(data, View):
        return f"{name_of(data)}({to_repr((<View>data).data)})"
    if data is None:
        return "None"
    if isinstance(data, str):
        size = len(data)
        return repr(data[:64]) + (f"... ({size} characters)" if size > 64 else "")
    try:
        size = size_of(data)
        text = repr(to_bytes(data, 64)) + (f"... ({size} bytes)" if size > 64 else "")
    except Exception as error:
        return f"<{name_of(data)}: {error}>"
    return text if isinstance(data, bytes) else f"<{name_of(data)} of {text}>"


cdef class View:
    def __cinit__(self, data=None):
        if type(self) is View:
            raise TypeError("make a Key or a Value")
        if isinstance(data, View):
            data = (<View>data).data
        check_data(data, name_of(self))
        self.data = data

    @property
    def size(self):
        """How many bytes there are: 0 for a null view."""
        return size_of(self.data)

    def __len__(self):
        return size_of(self.data)

    def __bool__(self):
        return size_of(self.data) != 0

    def __bytes__(self):
        return to_bytes(self.data)

    def __eq__(self, other):
        cdef Py_buffer mine, theirs
        if isinstance(other, View):
            other = (<View>other).data
        elif isinstance(other, str):
            return NotImplemented       # no bytes equal a str, as everywhere in Python
        if self.data is None or other is None:
            return self.data is other
        if self.data is other:
            return True
        try:
            get_view(other, &theirs, "other")
        except (TypeError, ValueError, BufferError):
            return NotImplemented
        try:
            get_view(self.data, &mine, "data")
            try:
                return mine.len == theirs.len and memcmp(mine.buf, theirs.buf, mine.len) == 0
            finally:
                PyBuffer_Release(&mine)
        finally:
            PyBuffer_Release(&theirs)

    def __hash__(self):
        return hash(None) if self.data is None else hash(to_bytes(self.data))

    def __str__(self):
        return to_text(self.data)

    def __repr__(self):
        return to_repr(self)

    def __reduce__(self):
        return type(self), (self.data,)

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef Py_buffer *held
        if flags & PyBUF_WRITABLE:
            raise BufferError(f"a {name_of(self)} is read-only")
        held = <Py_buffer *>PyMem_Malloc(sizeof(Py_buffer))
        if held == NULL:
            raise MemoryError()
        try:
            get_view(self.data, held, "data")
        except BaseException:
            PyMem_Free(held)
            raise
        view.internal = held            # released by __releasebuffer__
        view.obj = self
        view.buf = held.buf if held.buf != NULL else <void *>b""
        view.len = held.len
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = <char *>"B" if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        view.suboffsets = NULL

    def __releasebuffer__(self, Py_buffer *view):
        PyBuffer_Release(<Py_buffer *>view.internal)
        PyMem_Free(view.internal)


@cython.final
cdef class Key(View):
    """A read view over a record's key; see `Value`."""


@cython.final
cdef class Value(View):
    """A read view over the bytes of an object, which are neither copied nor held until somebody reads them.

    It equals any bytes-like object of the same bytes. A null view equals `None` and null views; an empty one is
    not null. The hash is that of the bytes at the moment.

    Args:
        data: a C-contiguous bytes-like object, `str` (its UTF-8 form), a view, or `None`: null.
    Raises:
        TypeError: no bytes can be had from `data`.
        ValueError: a `str` with lone surrogates, a released `memoryview`, a closed `mmap`.
        BufferError: a buffer with gaps.
    Source: ConstBuffer.
    """


NullKey = Key()
NullValue = Value()


# -- headers ---------------------------------------------------------------------------------------

@cython.final
cdef class Header:
    """A name and the bytes that go with it. Does not change.

    Args:
        key: `str` without NUL.
        value: bytes-like, `Key`, `Value` or `None`: null.
    Raises:
        TypeError: a name that is no `str`, a value that is not bytes-like; a `str` wants `.encode()`.
        ValueError: a name with NUL or lone surrogates.
    Source: rd_kafka_header_add(); Header.
    """
    cdef readonly str key
    cdef readonly object value

    def __init__(self, key, value):
        add_header(NULL, key, value)
        self.key = PyUnicode_FromObject(key)
        self.value = value

    def __cinit__(self, *args, **kwargs):
        self.key = ""

    def __eq__(self, other):
        if not isinstance(other, Header):
            return NotImplemented
        return self.key == (<Header>other).key and Value(self.value) == Value((<Header>other).value)

    def __hash__(self):
        return hash((self.key, Value(self.value)))

    def __str__(self):
        return f"{self.key}:{to_text(self.value)}"

    def __repr__(self):
        return f"Header({self.key!r}, {to_repr(self.value)})"

    def __reduce__(self):
        return Header, (self.key, self.value)


cdef int add_header(rd_kafka_headers_t *headers, object key, object value) except -1:
    """Add one header; NULL only checks it."""
    cdef Py_buffer view
    cdef const char *name
    cdef Py_ssize_t size
    if not isinstance(key, str):
        raise TypeError(f"a header's name must be str, not {name_of(key)}")
    name = utf8(key, &size, "a header's name")
    if memchr(name, 0, size) != NULL:
        raise ValueError(f"a header's name must have no NUL: {key!r}")
    if isinstance(value, str):
        raise TypeError(f"the value of header {key!r} must be bytes-like or None, not str: use .encode()")
    if PyBytes_CheckExact(value):
        if headers != NULL:
            rd_kafka_header_add(headers, name, size, PyBytes_AS_STRING(value), len(<bytes>value))
        return 0
    get_view(value, &view, f"the value of header {key!r}")
    if headers != NULL:
        # rdkafka_header.c: no address is null on the wire, an address and no size is empty.
        rd_kafka_header_add(headers, name, size, view.buf, view.len)
    PyBuffer_Release(&view)
    return 0


cdef int add_headers(rd_kafka_headers_t *headers, tuple items) except -1:
    for item in items:
        if isinstance(item, Header):
            add_header(headers, (<Header>item).key, (<Header>item).value)
        elif isinstance(item, (tuple, list)):
            pair = tuple(item)
            if len(pair) != 2:
                raise ValueError(f"a header must be a pair of a name and a value, not {len(pair)} things")
            add_header(headers, pair[0], pair[1])
        else:
            raise TypeError(f"a header must be a Header or a pair of a name and a value, not {name_of(item)}")
    return 0


cdef tuple header_items(object headers):
    """A snapshot: the user's code runs while headers are taken apart, and may change what it gave."""
    if isinstance(headers, dict):
        return tuple(headers.items())
    if isinstance(headers, (list, tuple)):
        return tuple(headers)
    raise TypeError(f"headers must be a list of Header or (str, bytes-like or None), a dict or None, "
                    f"not {name_of(headers)}")


cdef rd_kafka_headers_t *new_headers(object headers) except? NULL:
    cdef rd_kafka_headers_t *result
    if headers is None:
        return NULL
    items = header_items(headers)
    if not items:
        return NULL
    result = rd_kafka_headers_new(len(items))
    try:
        add_headers(result, items)
    except BaseException:
        rd_kafka_headers_destroy(result)
        raise
    return result


cdef list checked_headers(object headers):
    if headers is None:
        return None
    items = header_items(headers)
    add_headers(NULL, items)
    return list(items)


# -- records ---------------------------------------------------------------------------------------

cdef str checked_topic(object topic):
    cdef const char *name
    cdef Py_ssize_t size
    if not isinstance(topic, str):
        raise TypeError(f"topic must be str, not {name_of(topic)}")
    name = utf8(topic, &size, "topic")
    if memchr(name, 0, size) != NULL:
        raise ValueError(f"topic must have no NUL: {topic[:64]!r}")
    return topic if PyUnicode_CheckExact(topic) else PyUnicode_FromObject(topic)


cdef int32_t checked_partition(object partition) except -2:
    cdef long long number
    cdef int overflow = 0
    if partition is None:
        return RD_KAFKA_PARTITION_UA
    if not PyLong_CheckExact(partition):
        if isinstance(partition, bool) or not PyIndex_Check(partition):
            raise TypeError(f"partition must be None or an int from 0 to {INT32_MAX}, not {name_of(partition)}")
        partition = PyNumber_Index(partition)
    number = PyLong_AsLongLongAndOverflow(partition, &overflow)
    if overflow or not 0 <= number <= INT32_MAX:
        raise ValueError(f"partition must be from 0 to {INT32_MAX}, or None: the partitioner chooses; "
                         f"not {short_int(partition)}")
    return <int32_t>number


cdef int64_t checked_timestamp(object timestamp) except -1:
    cdef long long number
    cdef int overflow = 0
    if timestamp is None:
        return 0
    given = timestamp
    if not PyLong_CheckExact(timestamp):
        if isinstance(timestamp, bool) or not PyIndex_Check(timestamp):
            load_datetime()
            if not isinstance(timestamp, datetime):
                raise TypeError(f"timestamp must be an int of milliseconds since the epoch, an aware datetime or None, "
                                f"not {name_of(timestamp)}")
            if timestamp.utcoffset() is None:
                raise ValueError("timestamp must be an aware datetime: .astimezone() takes a naive one as local time")
            timestamp = (timestamp - epoch) // millisecond
        timestamp = PyNumber_Index(timestamp)
    number = PyLong_AsLongLongAndOverflow(timestamp, &overflow)
    if overflow or number <= 0:
        raise ValueError(f"timestamp must be from 1 to {INT64_MAX} milliseconds since the epoch, or None: now; "
                         f"not {given if given is not timestamp else short_int(timestamp)}")
    return number


cdef str short_int(object number):
    return str(number) if number.bit_length() <= 128 else f"an int of {number.bit_length()} bits"


cdef class ProducerRecord:
    """What is to be sent, as a thin wrapper that owns no payload and may be used again after a send.

    Args:
        topic: `str` without NUL; the only thing that cannot be set again.
        partition: from 0 to 2**31 - 1, or `None`: the partitioner chooses.
        key, value: a C-contiguous bytes-like object, `str` (its UTF-8 form), `Key`, `Value`, or `None`: null.
        id: any object, for the caller's own use; handed back as it is.
        headers: a list of `Header` or (`str`, bytes-like or `None`), or a dict. Order and duplicates are kept.
        timestamp: milliseconds since the epoch, more than 0, or an aware `datetime`; `None`: now.
    Raises:
        TypeError, ValueError: they name the argument and say what would do.
        BufferError: a buffer with gaps.
    Source: ProducerRecord.
    """
    def __cinit__(self, *args, **kwargs):
        self._topic = ""
        self._partition = RD_KAFKA_PARTITION_UA

    def __init__(self, topic, partition=None, key=None, value=None, id=None, *, headers=None, timestamp=None):
        self._topic = checked_topic(topic)
        self._partition = checked_partition(partition)
        check_data(key, "key")
        self._key = key
        check_data(value, "value")
        self._value = value
        self._id = id
        self._headers = checked_headers(headers)
        self._timestamp = checked_timestamp(timestamp)

    @property
    def topic(self):
        """The topic's name."""
        return self._topic

    @property
    def partition(self):
        """The partition, or `None`: the partitioner chooses."""
        return None if self._partition == RD_KAFKA_PARTITION_UA else self._partition

    @partition.setter
    def partition(self, partition):
        self._partition = checked_partition(partition)

    @property
    def key(self):
        """The object that was put in."""
        return self._key

    @key.setter
    def key(self, key):
        check_data(key, "key")
        self._key = key

    @property
    def value(self):
        """The object that was put in."""
        return self._value

    @value.setter
    def value(self, value):
        check_data(value, "value")
        self._value = value

    @property
    def id(self):
        """The caller's own object, or `None`."""
        return self._id

    @id.setter
    def id(self, id):
        self._id = id

    @property
    def headers(self):
        """The record's own list of `Header`, which may be changed in place until the record is sent."""
        if self._headers is None:
            self._headers = []
        for i, item in enumerate(self._headers):
            if isinstance(item, tuple):
                self._headers[i] = Header(item[0], item[1])
        return self._headers

    @headers.setter
    def headers(self, headers):
        self._headers = checked_headers(headers)

    @property
    def timestamp(self):
        """Milliseconds since the epoch, or `None`: the moment of the send."""
        return self._timestamp or None

    @timestamp.setter
    def timestamp(self, timestamp):
        self._timestamp = checked_timestamp(timestamp)

    def __str__(self):
        partition = "NA" if self._partition == RD_KAFKA_PARTITION_UA else self._partition
        number = "" if self._id is None else f"{self._id},"
        headers = f"headers[{','.join([str(header) for header in self.headers])}], " if self._headers else ""
        return f"{self._topic}-{partition}:{number} {headers}{to_text(self._key)}/{to_text(self._value)}"

    def __repr__(self):
        if Py_ReprEnter(self):
            return "ProducerRecord(...)"    # it is its own id
        try:
            parts = [repr(self._topic)]
            if self._partition != RD_KAFKA_PARTITION_UA:
                parts.append(f"partition={self._partition}")
            parts += [f"key={to_repr(self._key)}", f"value={to_repr(self._value)}"]
            if self._id is not None:
                parts.append(f"id={self._id!r}")
            if self._headers:
                parts.append(f"headers=<{len(self._headers)}>")
            if self._timestamp:
                parts.append(f"timestamp={self._timestamp}")
            return f"{name_of(self)}({', '.join(parts)})"
        finally:
            Py_ReprLeave(self)


# -- what became of them ---------------------------------------------------------------------------

@cython.final
cdef class Timestamp:
    """A point in time with who set it. Does not change.

    Args:
        ms: milliseconds since the epoch.
        type: a `Timestamp.Type`.
    Source: rd_kafka_message_timestamp(); Timestamp.
    """
    cdef readonly int64_t ms
    cdef readonly object type

    Type = _TimestampType

    def __init__(self, ms, type=_TimestampType.CreateTime):
        self.ms = ms
        self.type = _TimestampType(type)

    @property
    def datetime(self):
        """The same as an aware `datetime` in UTC.

        Raises:
            OverflowError: `datetime` ends with the year 9999.
        """
        load_datetime()
        return epoch + self.ms * millisecond

    def __eq__(self, other):
        if not isinstance(other, Timestamp):
            return NotImplemented
        return self.ms == (<Timestamp>other).ms and self.type == (<Timestamp>other).type

    def __hash__(self):
        return hash((self.ms, self.type))

    def __str__(self):
        try:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.ms // 1000)) + f".{self.ms % 1000:03d}"
        except (OverflowError, ValueError, OSError):
            text = f"{self.ms} ms"          # no calendar goes that far
        return f"{self.type.name}[{text}]" if self.type else text

    def __repr__(self):
        return f"Timestamp({self.ms}, Timestamp.Type.{self.type.name})"

    def __reduce__(self):
        return Timestamp, (self.ms, self.type)


@cython.final
@cython.freelist(256)
cdef class RecordMetadata:
    """What the broker said of a record. Does not change and may be kept.

    Source: rd_kafka_message_t; Producer::RecordMetadata.
    """
    def __init__(self):
        raise TypeError("a RecordMetadata comes from a producer")

    @property
    def topic(self):
        """The topic's name."""
        return self._topic

    @property
    def partition(self):
        """The partition; -1 if none was ever chosen."""
        return self._partition

    @property
    def offset(self):
        """The offset, or `None` if unknown: a failure, or `acks=0`."""
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
        """Seconds from the send to the report, or `None` if unknown."""
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
        number = "" if self._record_id is None else f":id[{self._record_id}]"
        moment = "" if self._timestamp < 0 else f",{self.timestamp}"
        return f"{self._topic}-{partition}@{offset}{number}{moment},{STATUS_NAMES[self._status]}"

    def __repr__(self):
        return f"<RecordMetadata {self}>"

    def __reduce__(self):
        return _restore_metadata, fields(self)


cdef tuple fields(RecordMetadata data):
    return (data._topic, data._record_id, data._partition, data._latency, data._offset, data._timestamp,
            data._key_size, data._value_size, data._timestamp_type, data._status)


def _restore_metadata(topic, record_id, partition, latency, offset, timestamp, key_size, value_size, timestamp_type,
                      status):
    """For `pickle` and `copy`."""
    data = new_metadata(topic, record_id)
    data._partition, data._latency, data._offset, data._timestamp = partition, latency, offset, timestamp
    data._key_size, data._value_size = key_size, value_size
    data._timestamp_type, data._status = timestamp_type, status
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
