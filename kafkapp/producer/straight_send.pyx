"""Straight path: enqueues what most programs send, with the least work. All else takes the send path in send.pyx.

For builds with a GIL. It is held throughout, and no code runs but ours and librdkafka's: nobody can change the record,
or close the client, meanwhile. So nothing is counted as in use, and there is nothing to undo but a refused record.
"""
from kafkapp.producer.options import SendOption

from cpython.ref cimport PyObject

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_MSG_F_COPY,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    rd_kafka_last_error,
    rd_kafka_produce,
    rd_kafka_resp_err_t,
    rd_kafka_topic_t,
)
from kafkapp.client.handle cimport OPEN, Topic
from kafkapp.common.atomics cimport KP_GIL, KP_READ
from kafkapp.common.forks cimport fork_count
from kafkapp.producer.delivery cimport (
    KP_CALLBACK,
    KP_PLAIN,
    kp_deliveries,
    kp_delivery,
    kp_delivery_take,
    kp_epoch,
    kp_record_abandon,
    kp_record_begin,
    release_delivery,
)
from kafkapp.producer.service cimport deliveries_of


cdef extern from "plain_arguments.h":
    bint kp_callable(PyObject *thing)
    bint kp_plain_memory(PyObject *data, const void **memory, size_t *size)

cdef extern from "Python.h":
    PyObject *new_reference "Py_NewRef"(PyObject *thing)
    PyObject *PyDict_GetItem(object mapping, PyObject *key)

cdef extern from "produce.h":
    const size_t KP_RELEASE_GIL_BYTES

cdef object NO_COPY = SendOption.NoCopyRecordValue
cdef object TO_COPY = SendOption.ToCopyRecordValue
cdef const int *FORKS = fork_count()


cdef struct Straight:
    # A record that may take the straight path; all is borrowed.
    PyObject *topic         # a Topic
    const void *value
    const void *key
    size_t size
    size_t key_size
    int flags


cdef inline bint check(Straight *out, Client client, kp_fields *fields, PyObject *target, int kind,
                       PyObject *option) noexcept:
    """False: the record is for the send path."""
    out.flags = 0
    if option != <PyObject *>NO_COPY:
        if option != <PyObject *>TO_COPY:
            return False
        out.flags = RD_KAFKA_MSG_F_COPY
    if kind == KP_CALLBACK and target != NONE and not kp_callable(target):
        return False
    if KP_READ(client.state) != OPEN or client.forks != FORKS[0]:
        return False
    out.topic = known_topic(client, fields.topic)
    if out.topic == NULL or not kp_plain_memory(fields.value, &out.value, &out.size):
        return False
    if not kp_plain_memory(fields.key, &out.key, &out.key_size):
        return False
    return out.key_size + (out.size if out.flags else 0) < KP_RELEASE_GIL_BYTES


cdef int enqueue_fields(Client client, kp_fields *fields, PyObject *target, int kind, PyObject *option) noexcept:
    cdef Straight out
    if not KP_GIL or not check(&out, client, fields, target, kind, option):
        return NOT_STRAIGHT
    cdef kp_deliveries *d = deliveries_of(client)
    cdef kp_epoch *epoch = kp_record_begin(d)
    cdef kp_delivery *delivery = NULL
    cdef void *opaque = KP_PLAIN(epoch)
    cdef rd_kafka_resp_err_t refusal
    cdef bint holds_value = out.size and not out.flags
    if holds_value or target != NONE:
        opaque = delivery = kp_delivery_take(d)
        if delivery == NULL:
            kp_record_abandon(epoch)
            return NOT_STRAIGHT
        delivery.epoch = epoch.index
        delivery.topic = (<Topic>out.topic).index
        if target != NONE:
            delivery.kind = kind
            delivery.target = new_reference(target)
            if fields.id != NONE:
                delivery.record_id = new_reference(fields.id)
        if holds_value:
            delivery.value = new_reference(fields.value)
    if not rd_kafka_produce(<rd_kafka_topic_t *>(<Topic>out.topic).rkt, fields.partition, out.flags,
                            <void *>out.value, out.size, out.key, out.key_size, opaque):
        return RD_KAFKA_RESP_ERR_NO_ERROR
    refusal = rd_kafka_last_error()
    if delivery != NULL:
        release_delivery(d, delivery)     # frees nothing: the caller's arguments have what it holds too
    kp_record_abandon(epoch)
    return refusal


cdef inline PyObject *known_topic(Client client, PyObject *name) noexcept:
    """A topic that was sent to before, borrowed: the client keeps it. NULL: it was not."""
    cdef PyObject *topic = client.last_topic
    if topic == NULL or <PyObject *>(<Topic>topic).name != name:
        topic = PyDict_GetItem(client.topics, name)     # a dict of str: no other code is called
        if topic != NULL:
            client.last_topic = topic
    return topic
