"""Turn: which thread may take records from a consumer's queue, or change where they are read.

So polls, and what seek(), assign() and pause() change, are one sequence: a poll that begins after one of these has
returned knows nothing of before, and no position moves back. A poll that waits for records makes way for them.
"""
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from posix.unistd cimport usleep

from kafkapp._librdkafka.consumer cimport rd_kafka_queue_get_consumer
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_queue_yield,
)
from kafkapp.client.client cimport PyThread_get_thread_ident
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_THREAD, kp_claim
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport expired, now_ms

cdef enum:
    CHECK_US = 1000             # the longest that one takes to see that the other has ended
    WITHOUT_TIMEOUT_MS = 10000  # of calls that have no timeout: only a callback of a rebalance takes that long


@cython.final
cdef class Turn:
    """Of one consumer. The calls of its methods are inside Client.enter()."""

    cdef bint is_mine(self) noexcept:
        return KP_THREAD(self.holder) == PyThread_get_thread_ident()

    # -- of polls, of which there is one at a time --------------------------------------------------

    cdef bint begin_poll(self, int64_t deadline) except -1:
        """Block until it is this poll's turn. False when the deadline has expired first."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.is_mine():
            raise RuntimeError("a poll was called in a signal handler that interrupts a seek or an assign of the same "
                               "consumer: only one may poll at a time")
        while KP_READ(self.waiting) or not kp_claim(&self.holder, me):
            if expired(deadline):
                return False
            with nogil:
                usleep(CHECK_US)
            PyErr_CheckSignals()
            self.client.check_open()
        return True

    cdef bint make_way(self, int64_t deadline) except -1:
        """Let the others have their turn that wait for it. False when the deadline has expired before they were done:
        then the poll may take nothing."""
        if not KP_READ(self.waiting):
            return True
        self.end_poll()
        return self.begin_poll(deadline)

    cdef int end_poll(self) except -1:
        if self.is_mine():
            KP_SET(self.holder, 0)
        return 0

    # -- of other calls -----------------------------------------------------------------------------

    cdef bint begin(self, str what, int64_t deadline) except -1:
        """Block until it is this call's turn, for WITHOUT_TIMEOUT_MS without a deadline. Returns whether it is to be
        ended: not where the thread is inside a poll, in a callback of a rebalance or a signal handler."""
        cdef unsigned long me = PyThread_get_thread_ident()
        cdef int64_t end_by = now_ms() + WITHOUT_TIMEOUT_MS if deadline < 0 else deadline
        cdef rd_kafka_queue_t *queue
        if self.is_mine():
            return False
        KP_ADD(self.waiting, 1)
        try:
            while not kp_claim(&self.holder, me):
                if expired(end_by):
                    raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                        f"{what}() has waited in vain for another thread's poll, seek or assign to end")
                with nogil:
                    queue = rd_kafka_queue_get_consumer(self.client.rk)
                    rd_kafka_queue_yield(queue)     # a poll that waits for records makes way
                    rd_kafka_queue_destroy(queue)
                    usleep(CHECK_US)
                PyErr_CheckSignals()
                self.client.check_open()
        except:
            KP_ADD(self.waiting, -1)
            raise
        return True

    cdef int end(self, bint taken) except -1:
        if taken:
            KP_SET(self.holder, 0)
            KP_ADD(self.waiting, -1)
        return 0


cdef Turn new_turn(Client client):
    cdef Turn turn = Turn.__new__(Turn)
    turn.client = client
    return turn
