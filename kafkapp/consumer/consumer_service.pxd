# C interface of kafkapp.consumer.consumer_service.

cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_queue_t
from kafkapp.client.client cimport Client
from kafkapp.client.dispatcher cimport kp_dispatcher
from kafkapp.client.events cimport EventHandlers
from kafkapp.client.handle cimport Service
from kafkapp.common.errors cimport Error
from kafkapp.consumer.kept_messages cimport KeptMessages


@cython.final
cdef class PendingCommit:
    cdef dict offsets
    cdef int64_t count              # of them
    cdef object callback            # callback(offsets, error), or None
    cdef bint logs                  # a failure is logged: nobody else may look at it


@cython.final
cdef class ConsumerService(Service):
    cdef kp_dispatcher *dispatcher
    cdef EventHandlers handlers     # the client's; None until it is made
    cdef bint auto_commit           # enable.auto.commit; for librdkafka it is false
    cdef size_t poll_records        # max.poll.records, which librdkafka does not get
    cdef int64_t max_pinned         # max.pinned.bytes
    cdef KeptMessages kept          # None until the client is made
    cdef rd_kafka_queue_t *polled   # owned; the records' queue, whose wait events end; NULL: they do not
    cdef rd_kafka_queue_t *records  # owned; where records lie, apart from rebalances; NULL: in the consumer's queue
    cdef dict pending               # {number: PendingCommit} of what librdkafka has still to report
    cdef list errors                # Errors that polls have found, for the thread that dispatches
    cdef list cancelled             # PendingCommits of which it does not
    cdef int64_t last_number        # of a commit; 0 is none
    cdef int64_t commits            # that are outstanding
    cdef int64_t offsets            # of them
    cdef dict lost                  # {topic: offsets} of those that fail from now on; None: they are not counted
    cdef object said                # the code of the last failure that was logged, until a commit succeeds

    cdef int begin_commit(self, Client client, dict offsets, dict texts, object callback, bint logs) except -1
    cdef int commit_in_order(self, Client client, str what, dict offsets, dict texts, int64_t deadline,
                             bint dispatches) except -1
    cdef bint wait_begun(self, Client client, int64_t deadline, list raised, bint dispatches) except -1
    cdef bint is_answered(self, int64_t last) except -1
    cdef int end(self, PendingCommit commit) noexcept
    cdef int finish(self, PendingCommit commit, object error, list raised) except -1
    cdef int report(self, dict offsets, Error error) except -1
    cdef int report_error(self, Error error) except -1
    cdef int complete_errors(self) except -1
    cdef int complete_cancelled(self, list raised) except -1
    cdef int take_pending(self) except -1
    cdef int wake_polls(self, Client client) except -1
    cdef int part_records(self, Client client) except -1
