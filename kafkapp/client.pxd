# Contract of kafkapp.client with the producers above it. Layer L4.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.delivery cimport Topic, kp_deliveries
from kafkapp.events cimport EventHandlers
from kafkapp.librdkafka cimport rd_kafka_resp_err_t, rd_kafka_t


cdef enum:
    LAST_WAIT = 10000               # ms for clients that nobody closed
    FLUSH_SLICE = 10                # ms; the longest that a flush overlooks that its own records are reported


cdef enum State:
    OPEN
    CLOSING                         # close() waits for the last reports; no new calls
    CLOSED


@cython.final
cdef class Client:
    cdef kp_deliveries deliveries   # the records in flight, and their reports
    cdef rd_kafka_t *rk             # NULL: destroyed, or never made
    cdef void *conf                 # rd_kafka_conf_t: answers get_property, after close too
    cdef void *topic_conf           # rd_kafka_topic_conf_t, likewise
    cdef State state
    cdef unsigned long closer       # ident of the thread that closes it, 0: none
    cdef bint abandoned             # left open, and said so
    cdef int forks                  # forks() of the process that made it
    cdef readonly bint background   # a thread of ours serves; else the callers do
    cdef bint resumes               # a call of a transaction goes on where an earlier one was left
    cdef bint driven                # an event loop serves: no other thread may while it runs
    cdef dict topics                # str -> Topic, for the life of the handle
    cdef list topic_list            # the same, by Topic.index
    cdef object topic_lock          # one thread at a time makes a handle: its opaque is the Topic of that thread
    cdef Topic last_topic           # of the last record: most programs send to the same one again
    cdef EventHandlers handlers     # what logs, errors and statistics go to
    cdef bint polls                 # the background thread runs, or is about to
    cdef readonly object properties  # a Properties: what the user gave, and our defaults
    cdef readonly str name
    cdef readonly str client_id
    cdef object __weakref__

    cdef int start_poller(self) except -1
    cdef int stop_poller(self) except -1
    cdef int settle(self, list raised) except -1
    cdef bint wait_reported(self, int64_t epoch, int64_t deadline, list raised) except -1
    cdef int wait_all(self, int64_t deadline, list raised) except -1
    cdef int destroy(self) except -1
    cdef int destroy_handle(self) noexcept
    cdef bint foreign(self) noexcept
    cdef int check_open(self) except -1
    cdef int check_blocking(self, str what) except -1
    cdef bint in_callback(self) noexcept
    cdef Topic topic(self, str name)
    cdef Topic new_topic(self, str name)
    cdef int64_t serve(self, int64_t seen, int timeout_ms, list raised) except -1
    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1
    cdef int leave(self) except -1
    cdef int flush(self, int64_t deadline) except -1
    cdef int purge(self) except -1
    cdef int purge_all(self) except -1
    cdef int close(self, int64_t deadline) except -1
    cdef int lose(self) except -1
    cdef object fatal_error(self)
    cdef int64_t outstanding(self) noexcept
