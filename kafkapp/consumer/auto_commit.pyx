"""AutoCommit: what a consumer with `enable.auto.commit` commits by itself, and when.

What a poll has returned may be committed when the program shows that it is done with it: when it begins the next poll,
or closes the consumer. So a program that ends in between reads those records again, and loses none.

* When a poll begins, a commit begins, unless one is under way. It takes the positions: a seek back counts.
* Partitions that are revoked are committed before they go; what is lost is another's, and is dropped.
* close() commits the rest. Where an exception ends a `with`, or another thread closes than the one that has polled,
  nobody knows whether the last poll's records were processed: these are left out, and read again.
"""
from kafkapp.common.errors import KafkaException

cimport cython

from kafkapp.client.client cimport SIGNAL_CHECK_MS, PyThread_get_thread_ident
from kafkapp.common.atomics cimport KP_READ, KP_SET
from kafkapp.common.errors cimport Error
from kafkapp.common.timeouts cimport expired, now_ms
from kafkapp.consumer.commits cimport commit, is_lost
from kafkapp.consumer.consumer_service cimport ConsumerService

cdef enum:
    ANSWER_MS = 5000            # for the last commit of what goes, where close() has no timeout
    NO_ANSWER_MS = 1000         # the same while no broker can be reached, or no callback may run
    REFUSED_MS = 100            # from a commit that a broker has refused to the next: rebalances take seconds


@cython.final
cdef class AutoCommit:
    """Of one consumer."""

    def __cinit__(self):
        self.returned, self.due, self.under_way = {}, {}, {}

    cdef int release(self, dict positions) except -1:
        """What was returned may be committed, where it was not sought away from."""
        for place, offset in {**self.due, **self.returned}.items():
            offset = positions.get(place, offset)
            if offset is None:
                self.due.pop(place, None)
            else:
                self.due[place] = offset
        self.returned = {}
        return 0

    cdef int begin_poll(self, Client client, dict positions) except -1:
        """A poll begins. Does not block."""
        cdef dict offsets = None
        with cython.critical_section(self):
            self.poller = PyThread_get_thread_ident()
            if self.returned or self.due:
                self.release(positions)
                if self.due and not KP_READ(self.commits) and expired(self.next):
                    offsets, self.under_way, self.due = self.due, dict(self.due), {}
                    self.next = now_ms() + self.interval
                    KP_SET(self.commits, True)
        if offsets:
            try:
                (<ConsumerService>client.service).begin_commit(client, offsets, {}, self.end, True)
            except:
                self.ended(True)
                raise
        return 0

    def end(self, offsets, error):
        """The callback of commits that polls begin."""
        cdef Error failure = error
        self.ended(failure is not None and not is_lost(failure.value))

    cdef int ended(self, bint again) except -1:
        """The commit that was under way has ended. `again`: it has failed, and the next one may do better."""
        with cython.critical_section(self):
            if again:
                self.due = {**self.under_way, **self.due}
                self.next = max(self.next, now_ms() + REFUSED_MS)
            self.under_way = {}
            KP_SET(self.commits, False)
        return 0

    cdef int add(self, dict ends) except -1:
        """The poll returns records up to these offsets."""
        with cython.critical_section(self):
            self.returned = ends
        return 0

    cdef int take_back(self, dict positions) except -1:
        """Of what the last poll has returned, what is behind these positions was not looked at."""
        with cython.critical_section(self):
            self.returned = {place: positions.get(place, end) for place, end in self.returned.items()}
        return 0

    cdef dict take(self, object partitions):
        """What may be committed of some partitions, which are forgotten."""
        cdef dict offsets = {}
        with cython.critical_section(self):
            for place in partitions:
                self.returned.pop(place, None)
                for pairs in (self.under_way, self.due):
                    if place in pairs:
                        offsets[place] = pairs.pop(place)
        return offsets

    cdef int revoked(self, Client client, object partitions) except -1:
        """Commit what is about to be revoked. Blocks; answers signals. A failure is logged: what is not committed is
        read again."""
        cdef int64_t deadline = last_commit_deadline(client)
        # Inside a poll that dispatches no callback may run, and a broker may wait for one: a token's.
        (<ConsumerService>client.service).wait_begun(
            client, deadline if client.background else min(deadline, now_ms() + NO_ANSWER_MS), None, client.background)
        return commit_last(client, self.take(partitions), deadline)

    cdef int wait_answered(self, Client client, int64_t deadline, list raised) except -1:
        """Wait for the commit that is under way: librdkafka may send it after a later one, if it has deferred it."""
        while KP_READ(self.commits) and not expired(deadline):
            (<ConsumerService>client.service).drain(client, min(deadline, now_ms() + SIGNAL_CHECK_MS), raised)
        return 0

    cdef int lost(self, object partitions) except -1:
        """Forget what belongs to others now."""
        self.take(partitions)
        return 0

    cdef int end_polls(self, dict positions, bint processed) except -1:
        """close() begins: no poll comes any more. `processed`: what the last one has returned was."""
        with cython.critical_section(self):
            if processed and self.poller == PyThread_get_thread_ident():
                self.release(positions)
            self.returned = {}
        return 0

    cdef int close(self, Client client, int64_t deadline, list raised) except -1:
        """Commit the rest. As revoked()."""
        self.wait_answered(client, deadline, raised)
        with cython.critical_section(self):
            offsets = self.due      # what is under way still may be committed
        commit_last(client, offsets, deadline)
        with cython.critical_section(self):
            self.due = {}       # not before: an interrupted close() may be called again
        return 0


cdef int commit_last(Client client, dict offsets, int64_t deadline) except -1:
    cdef ConsumerService service = <ConsumerService>client.service
    if not offsets:
        return 0
    try:
        commit(client, "commit_sync", offsets, {}, deadline)
    except KafkaException as exc:
        service.said = None
        service.report(offsets, exc.error)
    return 0


cdef AutoCommit new_auto_commit(Client client):
    cdef AutoCommit auto = None
    if (<ConsumerService>client.service).auto_commit:
        auto = AutoCommit.__new__(AutoCommit)
        auto.interval = int(client.properties["auto.commit.interval.ms"])
    return auto


cdef int64_t last_commit_deadline(Client client) noexcept:
    """When what waits for brokers ends where no timeout was given."""
    return now_ms() + (NO_ANSWER_MS if KP_READ(client.handlers.brokers_down) else ANSWER_MS)
