# C interface of kafkapp.producer.straight_send.

from cpython.ref cimport PyObject

from kafkapp.client.client cimport Client


cdef enum:
    NOT_STRAIGHT = 1000000  # no code of librdkafka's: nothing has happened, the record is for the send path

# As enqueue() of kafkapp.producer.send, which is to be called if this does not return 0: with librdkafka's refusal, or
# NOT_STRAIGHT, as its last argument. It waits for room or raises.
cdef int enqueue_straight(Client client, PyObject *record, PyObject *target, int kind, PyObject *option) noexcept
