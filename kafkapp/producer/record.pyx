"""Records: ProducerRecord, what a user sends. Knows views and librdkafka's numbers; knows no client."""
cimport cython
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_FromObject

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_PARTITION_UA
from kafkapp.common.atomics cimport KP_GIL
from kafkapp.common.headers cimport new_header_list
from kafkapp.common.numbers cimport checked_partition, checked_timestamp
from kafkapp.common.public_names cimport export_as
from kafkapp.common.views cimport View, check_view, own_copy, to_repr, to_text, type_name, utf8_name
from kafkapp.producer.record_metadata cimport id_text

from kafkapp.common.headers import Header


cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t nargsf)
    PyObject *PyTuple_GET_ITEM(PyObject *items, Py_ssize_t i)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *items)
    ctypedef struct PyTypeObject:
        void *tp_vectorcall
    PyObject *NONE "Py_None"
    int Py_ReprEnter(object thing) except -1
    void Py_ReprLeave(object thing)

cdef extern from "plain_arguments.h":
    bint kp_plain_data(PyObject *data)
    bint kp_plain_partition(PyObject *number, int32_t *partition)

cdef extern from "record_pool.h":
    bint kp_record_pool_start(PyObject *type, PyObject *names, PyObject *record)
    bint kp_plain_name(PyObject *topic)
    PyObject *kp_record_from_pool(PyObject *topic, PyObject *partition, PyObject *key, PyObject *value, PyObject *id)
    ProducerRecord new_owned "(PyObject *)"(PyObject *owned)     # a reference that is the caller's already


cdef enum:
    FIELDS = 7      # of a record; their names are ARGUMENT_NAMES


cdef inline int check_data(object data, str what) except -1:
    """Check that `data` can be a key or value."""
    if kp_plain_data(<PyObject *>data) or isinstance(data, View):
        return 0
    return check_view(data, what)


cdef str checked_topic(object topic):
    cdef Py_ssize_t size
    utf8_name(topic, &size, "topic")
    return topic if PyUnicode_CheckExact(topic) else PyUnicode_FromObject(topic)


@cython.trashcan(True)      # its id may be a record that has an id, and so on; csrc/record_pool.h does the same
cdef class ProducerRecord:
    """ProducerRecord(topic, partition=None, key=None, value=None, id=None, *, headers=None, timestamp=None)\n--\n
    A record to send: a thin wrapper that copies no payload and may be changed and sent again.

    Args:
        topic: `str` without NUL; the only attribute that cannot be set.
        partition: from 0 to 2**31 - 1, or `None`: the partitioner chooses.
        key, value: a C-contiguous bytes-like object, `str` (its UTF-8 form), `Key`, `Value`, or `None`: null.
        id: any object, for the caller's own use; returned as `RecordMetadata.record_id`.
        headers: a list of `Header` or (`str`, bytes-like or `None`), or a dict. Order and duplicates are kept.
        timestamp: milliseconds since the epoch, more than 0, or an aware `datetime`; `None`: now.

    `copy.copy` shares key, value and id; `copy.deepcopy` and `pickle` copy key, value and headers (to `bytes`, a `str`
    to `str`), and the id as they copy any object.

    Raises:
        TypeError, ValueError: an argument is of a wrong type or value; the text says which, and what is accepted.
        BufferError: a key or value is not C-contiguous.
    Source: ProducerRecord.
    """
    def __cinit__(self):
        self._topic = ""
        self._partition = RD_KAFKA_PARTITION_UA

    def __init__(self, topic, partition=None, key=None, value=None, id=None, *, headers=None, timestamp=None):
        # Here and in the methods below: without the GIL other threads may use the record meanwhile.
        with cython.critical_section(self):
            fill(self, topic, partition, key, value)
            self._id = id
            if headers is not None or self._headers is not None:
                self._headers = new_header_list(headers)
            self._timestamp = checked_timestamp(timestamp)

    @property
    @cython.critical_section
    def topic(self):
        """The topic's name."""
        return self._topic

    @property
    @cython.critical_section
    def partition(self):
        """The partition, or `None`: the partitioner chooses."""
        return None if self._partition == RD_KAFKA_PARTITION_UA else self._partition

    @partition.setter
    @cython.critical_section
    def partition(self, partition):
        self._partition = checked_partition(partition)

    @property
    @cython.critical_section
    def key(self):
        """The object that was put in."""
        return self._key

    @key.setter
    @cython.critical_section
    def key(self, key):
        check_data(key, "key")
        self._key = key

    @property
    @cython.critical_section
    def value(self):
        """The object that was put in."""
        return self._value

    @value.setter
    @cython.critical_section
    def value(self, value):
        check_data(value, "value")
        self._value = value

    @property
    @cython.critical_section
    def id(self):
        """The caller's own object, or `None`."""
        return self._id

    @id.setter
    @cython.critical_section
    def id(self, id):
        self._id = id

    @property
    @cython.critical_section
    def headers(self):
        """The record's list of `Header`, which may be changed in place until the record is sent."""
        cdef list headers
        if self._headers is None:
            self._headers = []
        headers = self._headers
        for i, item in enumerate(tuple(headers)):
            if isinstance(item, (tuple, list)):
                try:
                    headers[i] = Header(*item)
                except (TypeError, ValueError, BufferError, IndexError):
                    continue            # appended by the user: send() raises for it
        return headers

    @headers.setter
    @cython.critical_section
    def headers(self, headers):
        self._headers = new_header_list(headers)

    @property
    @cython.critical_section
    def timestamp(self):
        """Milliseconds since the epoch, or `None`: the moment of the send."""
        return self._timestamp or None

    @timestamp.setter
    @cython.critical_section
    def timestamp(self, timestamp):
        self._timestamp = checked_timestamp(timestamp)

    def __copy__(self):
        cdef ProducerRecord copied = _restore_record(type(self), *parts(snapshot(self), False))
        copied.__setstate__((self._id, self.__getstate__()))
        return copied

    def __deepcopy__(self, memo):
        from copy import deepcopy
        cdef ProducerRecord copied = _restore_record(type(self), *parts(snapshot(self), True))
        memo[id(self)] = copied         # its id or attributes may refer to the record
        copied.__setstate__(deepcopy((self._id, self.__getstate__()), memo))
        return copied

    def __reduce__(self):
        return _restore_record, (type(self), *parts(snapshot(self), True)), (self._id, self.__getstate__())

    def __setstate__(self, state):
        """Restore the id, and the attributes of a subclass."""
        self._id, added = state
        for attributes in added if isinstance(added, tuple) else (added,):     # in a dict, in slots
            for name, value in (attributes or {}).items():
                setattr(self, name, value)

    def __str__(self):
        cdef ProducerRecord now = snapshot(self)
        partition = "NA" if now._partition == RD_KAFKA_PARTITION_UA else now._partition
        number = "" if now._id is None else f"{id_text(now._id)},"
        headers = f"headers[{','.join([str(header) for header in self.headers])}], " if now._headers else ""
        return f"{now._topic}-{partition}:{number} {headers}{to_text(now._key)}/{to_text(now._value)}"

    def __repr__(self):
        cdef ProducerRecord now = snapshot(self)
        if Py_ReprEnter(self):
            return "ProducerRecord(...)"    # its id refers to it
        try:
            parts = [repr(now._topic)]
            if now._partition != RD_KAFKA_PARTITION_UA:
                parts.append(f"partition={now._partition}")
            parts += [f"key={to_repr(now._key)}", f"value={to_repr(now._value)}"]
            if now._id is not None:
                parts.append(f"id={now._id!r}")
            if now._headers:
                parts.append(f"headers=<{len(now._headers)}>")
            if now._timestamp:
                parts.append(f"timestamp={now._timestamp}")
            return f"{type_name(self)}({', '.join(parts)})"
        finally:
            Py_ReprLeave(self)


cdef tuple parts(ProducerRecord record, bint own):
    """The arguments of _restore_record() after the class. `own`: copies of key, value and headers."""
    key, value, headers = record._key, record._value, record._headers
    if own:
        key, value = own_copy(key), own_copy(value)
    if headers is not None:
        headers = new_header_list(headers)      # checked again: the user may have put anything into it
        if own:
            headers = [Header(*header).__deepcopy__(None) if isinstance(header, (tuple, list)) else
                       header.__deepcopy__(None) for header in headers]
    return record._topic, record._partition, key, value, headers, record._timestamp


def _restore_record(cls, topic, partition, key, value, headers, timestamp):
    """Recreate a copied or pickled record, without its id and attributes. Internal."""
    if not (isinstance(cls, type) and issubclass(cls, ProducerRecord)):
        raise TypeError("cls must be ProducerRecord or a subclass of it")
    cdef ProducerRecord record = cls.__new__(cls)
    fill(record, topic, None if partition == RD_KAFKA_PARTITION_UA else partition, key, value)
    record._headers = new_header_list(headers)
    record._timestamp = checked_timestamp(timestamp or None)
    return record


cdef ProducerRecord snapshot(ProducerRecord record):
    cdef ProducerRecord copy = ProducerRecord.__new__(ProducerRecord)
    with cython.critical_section(record):
        copy._topic, copy._partition, copy._timestamp = record._topic, record._partition, record._timestamp
        copy._key, copy._value, copy._id, copy._headers = record._key, record._value, record._id, record._headers
    return copy


cdef inline int fill(ProducerRecord record, object topic, object partition, object key, object value) except -1:
    record._topic = <str>topic if KP_GIL and kp_plain_name(<PyObject *>topic) else checked_topic(topic)
    if not kp_plain_partition(<PyObject *>partition, &record._partition):
        record._partition = checked_partition(partition)
    check_data(key, "key")
    record._key = key
    check_data(value, "value")
    record._value = value
    return 0


# Creating a record is on the hot path of many programs: this constructor avoids the argument tuple and its parsing.
# Subclasses use the ordinary one.
ARGUMENT_NAMES = ("topic", "partition", "key", "value", "id", "headers", "timestamp")


cdef object make_record(PyObject *cls, PyObject **args, size_t nargsf, PyObject *kwnames):
    cdef Py_ssize_t count = PyVectorcall_NARGS(nargsf)
    cdef PyObject *slots[FIELDS]
    if kwnames == NULL and 1 <= count <= 5:
        return make(args[0], args[1] if count > 1 else NONE, args[2] if count > 2 else NONE,
                    args[3] if count > 3 else NONE, args[4] if count > 4 else NONE)
    if sort_arguments(slots, args, count, kwnames):
        return make_from_slots(slots)
    return make_by_init(args, count, kwnames)


cdef inline ProducerRecord make(PyObject *topic, PyObject *partition, PyObject *key, PyObject *value, PyObject *id):
    cdef PyObject *pooled
    if KP_GIL and kp_plain_name(topic):
        pooled = kp_record_from_pool(topic, partition, key, value, id)
        if pooled != NULL:
            return new_owned(pooled)
    cdef ProducerRecord record = ProducerRecord.__new__(ProducerRecord)
    fill(record, <object>topic, <object>partition, <object>key, <object>value)
    record._id = <object>id
    return record


cdef inline bint sort_arguments(PyObject **slots, PyObject **args, Py_ssize_t count, PyObject *kwnames) noexcept:
    """Put each argument into the slot of its name, NULL into the others. False: the ordinary constructor is to."""
    cdef Py_ssize_t names = 0 if kwnames == NULL else PyTuple_GET_SIZE(kwnames), i, j
    if not 1 <= count + names <= FIELDS or count > 5:
        return False
    for i in range(FIELDS):
        slots[i] = args[i] if i < count else NULL
    for i in range(names):
        for j in range(FIELDS):
            if PyTuple_GET_ITEM(kwnames, i) == PyTuple_GET_ITEM(<PyObject *>ARGUMENT_NAMES, j):
                break
        else:
            return False
        if slots[j] != NULL:
            return False
        slots[j] = args[count + i]
    return slots[0] != NULL


cdef ProducerRecord make_from_slots(PyObject **slots):
    cdef ProducerRecord record = make(slots[0], or_none(slots[1]), or_none(slots[2]), or_none(slots[3]),
                                      or_none(slots[4]))
    if slots[5] != NULL:
        record._headers = new_header_list(<object>slots[5])
    if slots[6] != NULL:
        record._timestamp = checked_timestamp(<object>slots[6])
    return record


cdef inline PyObject *or_none(PyObject *given) noexcept:
    return NONE if given == NULL else given


cdef object make_by_init(PyObject **args, Py_ssize_t count, PyObject *kwnames):
    """The ordinary constructor: for argument names that are equal but not identical, and for errors."""
    cdef Py_ssize_t names = 0 if kwnames == NULL else PyTuple_GET_SIZE(kwnames)
    positional = [<object>args[i] for i in range(count)]
    named = {<object>PyTuple_GET_ITEM(kwnames, i): <object>args[count + i] for i in range(names)}
    return type.__call__(ProducerRecord, *positional, **named)


(<PyTypeObject *>ProducerRecord).tp_vectorcall = <void *>make_record
if KP_GIL:
    probe = ProducerRecord("t", 1, b"k", b"v", 2, timestamp=3)
    if not kp_record_pool_start(<PyObject *>ProducerRecord, <PyObject *>ARGUMENT_NAMES, <PyObject *>probe):
        raise SystemError("kafkapp: Cython lays the fields of a record out in another way than csrc/record_pool.h")
    del probe
export_as(ProducerRecord, "kafkapp.ProducerRecord")
_restore_record.__module__ = "kafkapp"      # pickles name it
