# C interface of kafkapp.consumer.auto_commit.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client


@cython.final
cdef class AutoCommit:
    cdef dict returned              # {partition: offset} after what the last poll has returned
    cdef dict due                   # of what earlier polls have: it may be committed
    cdef dict under_way             # of what is being committed
    cdef int commits                # something is
    cdef int64_t interval           # ms from one commit to the next
    cdef int64_t next               # when the next one may begin
    cdef unsigned long poller       # the thread that has polled last

    cdef int release(self, dict positions) except -1
    cdef int ended(self, bint again) except -1
    cdef dict take(self, object partitions)
    cdef int begin_poll(self, Client client, dict positions) except -1
    cdef int add(self, dict ends) except -1
    cdef int take_back(self, dict positions) except -1
    cdef int wait_answered(self, Client client, int64_t deadline, list raised) except -1
    cdef int revoked(self, Client client, object partitions) except -1
    cdef int lost(self, object partitions) except -1
    cdef int end_polls(self, dict positions, bint processed) except -1
    cdef int close(self, Client client, int64_t deadline, list raised) except -1


cdef AutoCommit new_auto_commit(Client client)      # None: enable.auto.commit is false
cdef int64_t last_commit_deadline(Client client) noexcept
