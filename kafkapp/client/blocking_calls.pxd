# C interface of kafkapp.client.blocking_calls.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_resp_err_t, rd_kafka_t
from kafkapp.client.client cimport Client


cdef class BlockingCall:
    cdef Client client
    cdef int timeout_ms
    cdef readonly object done       # a threading.Event, unless the caller has another one
    cdef int pending        # not begun yet; the thread that takes this flag performs it
    cdef bint started       # its thread was started
    cdef int finished       # it has its result; `done`, whose set() may fail without memory, only says so sooner
    cdef readonly object error      # librdkafka's Error or None, of calls that have one
    cdef readonly object failure    # what perform() raised, for the thread that waits

    cdef int perform(self) except -1
    cdef int start(self, Client client, int64_t deadline) except -1
    cdef bint wait(self, int64_t deadline, list raised) except -1


cdef class RepeatedCall(BlockingCall):
    cdef rd_kafka_resp_err_t err    # of the last attempt
    cdef int64_t deadline
    cdef int abandoned              # the thread that waited for it has left

    cdef rd_kafka_resp_err_t attempt(self, rd_kafka_t *rk, int timeout_ms) noexcept nogil
    cdef bint is_passing(self) noexcept nogil
    cdef bint answered(self, Client client, int64_t deadline) except -1


cdef int64_t with_grace(int64_t deadline) noexcept
cpdef object still_running_error()
cdef object fetch_metadata(Client client, str topic, int64_t deadline)
cdef dict list_topics(Client client, int64_t deadline)
cdef list fetch_cluster(Client client, int64_t deadline)
