# C interface of kafkapp.client.service: what a client is for.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_t, rd_kafka_type_t
from kafkapp.client.dispatcher cimport kp_dispatcher


cdef class Service:
    cdef str name                   # what texts call the client
    cdef str unit                   # and what is outstanding, in the plural
    cdef rd_kafka_type_t type
    cdef int events                 # RD_KAFKA_EVENT_*: its own, beside those that every client has

    # -- at the start: each is called once, before the client's thread runs
    cdef int configure(self, dict properties) except -1
    cdef int attach(self, kp_dispatcher *dispatcher) except -1

    # -- on the thread that owns a round
    cdef int complete(self, list raised) except -1
    cdef int complete_unreported(self, list topics, list holds, list raised) except -1

    # -- at any time, on any thread
    cdef int64_t outstanding(self) noexcept
    cdef int64_t count(self) noexcept
    cdef bint in_use(self) noexcept
    cdef int check_waiting(self, str what) except -1
    cdef bint drain(self, object client, int64_t deadline, list raised) except -1
    cdef int cancel(self, rd_kafka_t *rk) except -1
    cdef dict ledger(self)
