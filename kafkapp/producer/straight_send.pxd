# C interface of kafkapp.producer.straight_send.

from cpython.ref cimport PyObject

from kafkapp.client.client cimport Client


# As enqueue() of kafkapp.producer.send, which is to be called where this returns False: then nothing has happened, and
# that one does it or raises.
cdef bint enqueue_straight(Client client, PyObject *record, PyObject *target, int kind, PyObject *option) noexcept
