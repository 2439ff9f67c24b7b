"""Service: what a client is for, as its handle, its dispatcher and its shutdown need to know it.

The base class serves nothing: a client with it has logs, errors, statistics and tokens only. A service is one client's,
which keeps it for as long as it lives. The rules:

1. An operation is outstanding from before it is begun until its completion has run, callback and all.
2. Events of the service's own types are read in C, without the GIL, by the kp_service that attach() sets.
3. complete() runs what that has found to be complete. An exception of a callback goes to `raised`: see
   kafkapp.common.callbacks. After a fork by a callback nothing more is completed: what is left is the parent's.
4. What librdkafka will not report in time is completed once by complete_unreported(), in a round that never ends.
"""
from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_CONSUMER


cdef class Service:
    def __cinit__(self):
        self.name, self.unit, self.type = "client", "operations", RD_KAFKA_CONSUMER

    cdef int configure(self, dict properties) except -1:
        """Check and take the properties that are its own."""
        return 0

    cdef int attach(self, kp_dispatcher *dispatcher) except -1:
        """Have its events read. The dispatcher lives as long as the client."""
        return 0

    cdef int complete(self, list raised) except -1:
        """Complete what the round has found. Called when the dispatcher has something pending."""
        return 0

    cdef int complete_unreported(self, list topics, list holds, list raised) except -1:
        """Complete all that is outstanding, of a client that is closing. `holds` gets the objects whose memory
        librdkafka may still read. May raise MemoryError, and is called again then."""
        return 0

    cdef int64_t outstanding(self) noexcept:
        """What close() has to wait for; with 0 every callback has returned. Takes no lock: a forked child may ask."""
        return 0

    cdef int64_t count(self) noexcept:
        """How many operations are outstanding, for texts."""
        return self.outstanding()

    cdef bint in_use(self) noexcept:
        """Whether a thread is inside a call that uses the handle and is counted here, not by Handle.enter()."""
        return False

    cdef int check_waiting(self, str what) except -1:
        """Raise where a call named `what` must not wait for what is outstanding, though it is no callback."""
        return 0

    cdef bint drain(self, object client, int64_t deadline, list raised) except -1:
        """Block until what is outstanding now is complete; hurries it on. False when the deadline has expired first."""
        return True

    cdef int cancel(self, rd_kafka_t *rk) except -1:
        """Have librdkafka report all that is outstanding as failed. Does not block."""
        return 0

    cdef dict ledger(self):
        """What is held now: counts, for tests."""
        return {"outstanding": self.count()}
