# C interface of kafkapp.client.handle.

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_conf_t, rd_kafka_t, rd_kafka_type_t
from kafkapp.client.dispatcher cimport kp_dispatcher


cdef extern from "destroy.h" nogil:
    ctypedef struct kp_destruction:
        pass


cdef enum:
    OPEN
    CLOSING                         # close() waits for what is outstanding; new calls raise
    CLOSED


cdef class Service:
    cdef str name                   # what texts call the client
    cdef str unit                   # and what is outstanding, in the plural
    cdef str loss                   # and what has become of those that losses() counts
    cdef rd_kafka_type_t type
    cdef int events                 # RD_KAFKA_EVENT_*: its own, beside those that every client has
    cdef tuple own                  # the properties that it keeps: librdkafka has none of that name, or other values

    # -- at the start: each is called once, before the client's thread runs
    cdef int configure(self, dict properties) except -1
    cdef int attach(self, kp_dispatcher *dispatcher) except -1
    cdef int set_up(self, rd_kafka_conf_t *conf) except -1
    cdef int created(self, object client) except -1

    # -- at the end, once
    cdef int detach(self) noexcept

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
    cdef object waiting_room(self)
    cdef bint held(self) noexcept
    cdef int count_losses(self) noexcept
    cdef bint end_losses(self) noexcept
    cdef dict losses(self)
    cdef dict ledger(self)


@cython.final
cdef class Topic:
    cdef readonly str name
    cdef void *rkt                  # rd_kafka_topic_t; destroyed by the client, before its rd_kafka_t
    cdef uint32_t index             # in the client's list of topics


cdef class Handle:
    cdef kp_dispatcher dispatcher   # the client's queue and what it holds of it
    cdef Service service            # what the client is for
    cdef rd_kafka_t *rk             # NULL: destroyed, or never created
    cdef void *conf                 # rd_kafka_conf_t: answers get_property, after close() too
    cdef object fatal               # the fatal error that it had when it was destroyed, or None
    cdef int state                  # OPEN again after a close() that was interrupted
    cdef int forks                  # forks() of the process that created it
    cdef int users                  # threads in a call that uses the handle; the service counts its own
    cdef bint reports_lost          # something was completed without librdkafka's report
    cdef kp_destruction *destruction    # owned; of the rd_kafka_t, running or done; NULL: not begun
    cdef list holds                 # objects whose memory librdkafka may still read because of that
    cdef dict topics                # str -> Topic, for the life of the handle
    cdef list topic_list            # the same, by Topic.index
    cdef object topic_lock          # one thread at a time creates a topic: its opaque is that thread's Topic
    cdef PyObject *last_topic       # the last one that topic() gave, borrowed: most programs use the same one again

    cdef bint foreign(self) noexcept
    cdef int check_open(self) except -1
    cdef int enter(self) except -1
    cdef bint enter_unless_closed(self) except -1
    cdef int leave(self) except -1
    cdef bint complete_remaining(self, list raised) except -1
    cdef int end_in_child(self, list raised) except -1
    cdef int destroy(self) except -1
    cdef int release_holds_later(self) except -1
    cdef int start_destruction(self, rd_kafka_t *rk) noexcept
    cdef bint destroyed(self, int timeout_ms) noexcept nogil
    cdef object fatal_error(self)
    cdef object error(self, int code)
    cdef PyObject *topic(self, str name) except NULL    # a Topic, borrowed: this keeps it
    cdef Topic new_topic(self, str name)
