# C interface of kafkapp.producer.straight_send.

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t

from kafkapp.client.client cimport Client
from kafkapp.producer.record cimport ProducerRecord


cdef extern from "plain_arguments.h":
    ctypedef struct kp_fields:
        PyObject *topic
        PyObject *value
        PyObject *key
        PyObject *id
        int32_t partition
    bint kp_plain_partition(PyObject *number, int32_t *partition)

cdef extern from "Python.h":
    PyObject *NONE "Py_None"
    PyObject *type_of "(PyObject *)Py_TYPE"(PyObject *thing)

cdef enum:
    NOT_STRAIGHT = 1000000  # no code of librdkafka's: nothing has happened, the record is for the send path

# As enqueue() of kafkapp.producer.send, which is to be called if this does not return 0: with librdkafka's refusal, or
# NOT_STRAIGHT, as its last argument. It waits for room or raises. The topic of `fields` is an exact str.
cdef int enqueue_fields(Client client, kp_fields *fields, PyObject *target, int kind, PyObject *option) noexcept


# The same for an object that may be a record.
cdef inline int enqueue_straight(Client client, PyObject *record, PyObject *target, int kind,
                                 PyObject *option) noexcept:
    cdef kp_fields fields
    if type_of(record) != <PyObject *>ProducerRecord:
        return NOT_STRAIGHT
    if (<ProducerRecord>record)._timestamp or <PyObject *>(<ProducerRecord>record)._headers != NONE:
        return NOT_STRAIGHT
    fields.topic = <PyObject *>(<ProducerRecord>record)._topic
    fields.value = <PyObject *>(<ProducerRecord>record)._value
    fields.key = <PyObject *>(<ProducerRecord>record)._key
    fields.id = <PyObject *>(<ProducerRecord>record)._id
    fields.partition = (<ProducerRecord>record)._partition
    return enqueue_fields(client, &fields, target, kind, option)
