"""Handle: owns the rd_kafka_t of a client, counts the calls that use it, destroys it after the last one; its topics.

Beside it Service: what the client is for.

How a handle ends: librdkafka reports what is outstanding, and rd_kafka_destroy() returns, as soon as its broker threads
run. While one of them is inside getaddrinfo(), that is when the name server answers. So when close() has no time left,
three steps are done in this order, each once:

1. complete_remaining() completes what is outstanding without librdkafka's report, in a round that never ends: so no
   thread reads a report that comes later. The memory that librdkafka may still read goes to `holds`.
2. destroy(), by the last user of the handle: a thread that is not Python's owns the rd_kafka_t from here on.
3. DeferredRelease: a thread waits for that one, and releases the holds. When the process ends, nobody waits for either.
"""
from _thread import RLock

from kafkapp.common.threads import start_thread

cimport cython
from cpython.ref cimport PyObject, Py_INCREF
from libc.stdint cimport uint32_t
from posix.unistd cimport usleep

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_CONSUMER,
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    rd_kafka_conf_destroy,
    rd_kafka_conf_t,
    rd_kafka_default_topic_conf_dup,
    rd_kafka_fatal_error,
    rd_kafka_last_error,
    rd_kafka_queue_destroy,
    rd_kafka_t,
    rd_kafka_topic_conf_set_opaque,
    rd_kafka_topic_conf_t,
    rd_kafka_topic_destroy,
    rd_kafka_topic_new,
    rd_kafka_topic_t,
)
from kafkapp.client.dispatcher cimport (
    kp_dispatcher_free,
    kp_dispatcher_init,
    kp_kept_free,
    kp_round_begin,
    kp_wake,
)
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_SET_OBJECT
from kafkapp.common.callbacks cimport raise_all
from kafkapp.common.errors cimport Error, new_error, new_exception, new_fatal_error
from kafkapp.common.forks cimport forks

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object thing)
    unsigned long PyThread_get_thread_ident() nogil

cdef extern from "atomics.h" nogil:
    kp_destruction *destruction_at "KP_READ"(kp_destruction *place)
    void set_destruction "KP_SET"(kp_destruction *place, kp_destruction *value)
    rd_kafka_t *handle_at "KP_READ"(rd_kafka_t *place)
    rd_kafka_t *take_handle "KP_TAKE"(rd_kafka_t *place)

cdef extern from "destroy.h" nogil:
    kp_destruction *kp_destruction_start(rd_kafka_t *rk, bint held)
    bint kp_destruction_wait(kp_destruction *destruction, int timeout_ms)
    bint kp_destruction_wait_left(kp_destruction *destruction, int timeout_ms)
    kp_destruction *kp_destruction_share(kp_destruction *destruction)
    void kp_destruction_release(kp_destruction *destruction)

cdef enum:
    DEALLOC_WAIT_MS = 1000      # for librdkafka's threads to end, when the client was never closed
    MEMORY_ATTEMPTS = 100       # to complete what is left without memory, 10 ms apart


cdef class Service:
    """What a client is for, as its handle, its dispatcher and its shutdown need to know it.

    This one serves nothing: a client with it has logs, errors, statistics and tokens only. A service is one client's,
    which keeps it for as long as it lives. The rules:

    1. An operation is outstanding from before it is begun until its completion has run, callback and all.
    2. Events of the service's own types are read in C, without the GIL, by the kp_service that attach() sets.
    3. complete() runs what that has found to be complete. An exception of a callback goes to `raised`: see
       kafkapp.common.callbacks. After a fork by a callback nothing more is completed: what is left is the parent's.
    4. What librdkafka will not report in time is completed once by complete_unreported(), in a round that never ends.
    """

    def __cinit__(self):
        self.name, self.unit, self.loss, self.type = "client", "operations", "did not complete", RD_KAFKA_CONSUMER
        self.own = ()

    cdef int configure(self, dict properties) except -1:
        """Check and take the properties that are its own."""
        return 0

    cdef int attach(self, kp_dispatcher *dispatcher) except -1:
        """Have its events read. The dispatcher lives as long as the client."""
        return 0

    cdef int set_up(self, rd_kafka_conf_t *conf) except -1:
        """Set what librdkafka calls itself, and the opaque that it passes."""
        return 0

    cdef int created(self, object client) except -1:
        """Read what the client has, and create what needs it."""
        return 0

    cdef int detach(self) noexcept:
        """Release what refers to the rd_kafka_t, which is destroyed next."""
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

    cdef object waiting_room(self):
        """What has operations that wait to be begun, None: nothing has. It has `len`, and enqueue_waiting() begins what
        can be begun."""
        return None

    cdef bint held(self) noexcept:
        """Whether users hold memory of librdkafka's, for which rd_kafka_destroy() waits. Of a consumer only."""
        return False

    cdef int count_losses(self) noexcept:
        """From here on count what fails, for losses(): the client is about to end with operations outstanding."""
        return 0

    cdef bint end_losses(self) noexcept:
        """Count no more, and forget what was counted: it does not end after all. Whether it was counted."""
        return False

    cdef dict losses(self):
        """What has failed since then, is still outstanding or waits: counts by topic; "": of unknown topics."""
        return {}

    cdef dict ledger(self):
        """What is held now: counts, for tests."""
        return {"outstanding": self.count()}


@cython.final
cdef class Topic:
    """A topic of a client; the opaque of its rd_kafka_topic_t."""


@cython.final
cdef class DeferredRelease:
    """Holds what librdkafka may read until it is destroyed."""
    cdef kp_destruction *destruction
    cdef list holds

    def __dealloc__(self):
        if self.destruction is not NULL:
            kp_destruction_release(self.destruction)

    def release(self):
        """The thread's function: it enters the interpreter only when librdkafka is destroyed."""
        with nogil:
            while self.destruction is not NULL and not kp_destruction_wait(self.destruction, 1000):
                pass
        self.holds = None


@cython.no_gc_clear     # __dealloc__ needs the topics; they are in no cycle that other objects could not break
cdef class Handle:
    """Base of Client: the rd_kafka_t and who may use it."""

    def __cinit__(self):
        self.forks = forks()
        self.state = CLOSED
        if kp_dispatcher_init(&self.dispatcher):
            raise MemoryError()
        self.service = Service.__new__(Service)
        self.topics, self.topic_list, self.holds = {}, [], []
        PyObject_GC_UnTrack(self.topic_list)    # in no cycle; the garbage collector would clear it before __dealloc__
        PyObject_GC_UnTrack(self.holds)
        self.topic_lock = RLock()       # the garbage collector may run a finalizer that needs a topic, in new_topic()

    def __dealloc__(self):
        cdef bint over
        # In a forked child the threads that librdkafka would wait for do not exist: its memory is leaked.
        if self.foreign():
            return
        if self.rk is not NULL:
            self.start_destruction(self.rk)
            if self.destruction is not NULL:
                with nogil:
                    over = self.destroyed(DEALLOC_WAIT_MS)
                if not over and self.holds:
                    Py_INCREF(self.holds)       # leaked: librdkafka may still read them
        if self.destruction is not NULL:
            kp_destruction_release(self.destruction)
        if self.conf is not NULL:
            rd_kafka_conf_destroy(<rd_kafka_conf_t *>self.conf)
        kp_dispatcher_free(&self.dispatcher)

    # -- users ----------------------------------------------------------------------------------

    cdef bint foreign(self) noexcept:
        """Whether it was created in another process, from which this one was forked."""
        return self.forks != forks()

    cdef int check_open(self) except -1:
        if self.foreign():
            raise RuntimeError(f"this {self.service.name} was created in another process: create one after the fork")
        if KP_READ(self.state) != OPEN:
            raise RuntimeError(f"the {self.service.name} is closed")
        return 0

    cdef int enter(self) except -1:
        """Begin a call that uses the handle of an open client. Counts first, then looks: see atomics.h."""
        self.check_open()
        KP_ADD(self.users, 1)
        try:
            self.check_open()
        except:
            self.leave()
            raise
        return 0

    cdef bint enter_unless_closed(self) except -1:
        """The same for a client that may be closing. False, and no leave(), when the handle is destroyed or will be."""
        KP_ADD(self.users, 1)
        if KP_READ(self.state) != CLOSED:
            return True
        self.leave()
        return False

    cdef int leave(self) except -1:
        """End a call that used the handle: after close() the last user destroys it."""
        KP_ADD(self.users, -1)
        if KP_READ(self.state) == CLOSED:
            self.destroy()
        return 0

    cdef bint complete_remaining(self, list raised) except -1:
        """Complete what librdkafka has not reported, of a closing client. False while a thread is inside a call of the
        service's, or owns a round."""
        if self.service.in_use() or not kp_round_begin(&self.dispatcher, 0, 0):
            return False
        self.reports_lost = True
        KP_SET(self.dispatcher.callback_thread, PyThread_get_thread_ident())
        try:
            for left in reversed(range(MEMORY_ATTEMPTS)):
                try:
                    self.service.complete_unreported(self.topic_list, self.holds, raised)
                    break
                except MemoryError:
                    if not left or self.foreign():
                        raise
                    with nogil:
                        usleep(10000)       # other threads may free some
        finally:
            KP_SET(self.dispatcher.callback_thread, 0)
        if self.foreign():
            self.end_in_child(raised)
        kp_wake(&self.dispatcher)
        return True

    cdef int end_in_child(self, list raised) except -1:
        """Raise, in the child of a callback that forked, what callbacks have raised, else that the client is foreign.
        All locks are in the state of the fork, and the remaining completions are the parent's."""
        cdef list mine = raised[:] if raised else []
        if raised:
            del raised[:]
        raise_all(mine)
        return self.check_open()

    cdef int destroy(self) except -1:
        """Destroy the handle of a closed client, unless somebody still uses it."""
        cdef rd_kafka_t *rk
        if self.foreign() or self.service.in_use() or KP_READ(self.users):
            return 0
        rk = take_handle(self.rk)      # the last user and the thread that closes may both come here
        if rk is NULL:
            return 0
        try:
            if rd_kafka_fatal_error(rk, NULL, 0):
                self.fatal = new_fatal_error(rk, RD_KAFKA_RESP_ERR__FATAL, None)
        finally:
            try:
                if self.service.outstanding():
                    self.complete_remaining(None)
            finally:
                if not self.foreign():      # a callback may have forked
                    self.start_destruction(rk)
                    if self.holds and self.destruction is not NULL:
                        self.release_holds_later()
        return 0

    cdef int release_holds_later(self) except -1:
        """Leave the holds to a thread that releases them when librdkafka is destroyed."""
        cdef DeferredRelease remains = None
        try:
            remains = DeferredRelease.__new__(DeferredRelease)
            remains.destruction, remains.holds = kp_destruction_share(self.destruction), self.holds
            start_thread(remains.release)
            self.holds = []
        except BaseException as exc:
            # No memory, no thread, or an interrupt, after which the thread may run: it releases them, or they leak.
            Py_INCREF(self.holds if remains is None else remains)
            self.holds = None
            if not isinstance(exc, (MemoryError, RuntimeError)):
                raise
        return 0

    cdef int start_destruction(self, rd_kafka_t *rk) noexcept:
        cdef Topic topic
        cdef bint held = self.service.held()
        for topic in self.topic_list or ():
            if topic.rkt is not NULL:
                rd_kafka_topic_destroy(<rd_kafka_topic_t *>topic.rkt)
                topic.rkt = NULL
        self.service.detach()
        with nogil:
            kp_kept_free(&self.dispatcher)      # ends the keeper thread, which polls the queue
            rd_kafka_queue_destroy(self.dispatcher.queue)
            set_destruction(self.destruction, kp_destruction_start(rk, held))    # destroyed() may look meanwhile
        return 0

    cdef bint destroyed(self, int timeout_ms) noexcept nogil:
        """Block until librdkafka's threads have ended, at most timeout_ms. Returns whether they have, or wait only for
        what users hold."""
        cdef kp_destruction *begun = destruction_at(self.destruction)
        return begun is NULL or kp_destruction_wait_left(begun, timeout_ms)

    cdef object fatal_error(self):
        return self.error(RD_KAFKA_RESP_ERR__FATAL)

    cdef object error(self, int code):
        """The Error of a code that librdkafka gave for an operation."""
        cdef Error fatal
        if not self.enter_unless_closed():
            fatal = self.fatal
            return fatal if fatal is not None and code in (fatal.value, RD_KAFKA_RESP_ERR__FATAL) else new_error(
                code, None, code == RD_KAFKA_RESP_ERR__FATAL)
        try:
            return new_fatal_error(self.rk, code, None)
        finally:
            self.leave()

    # -- topics ---------------------------------------------------------------------------------

    cdef PyObject *topic(self, str name) except NULL:
        """The Topic of a name. librdkafka takes a write lock for each lookup by name: this does one lookup for each."""
        cdef Topic topic = self.topics.get(name)
        if topic is None:
            with self.topic_lock:
                topic = self.topics.get(name)
                if topic is None:
                    topic = self.new_topic(name)
        KP_SET_OBJECT(self.last_topic, <PyObject *>topic)
        return <PyObject *>topic

    cdef Topic new_topic(self, str name):
        cdef Topic topic = Topic.__new__(Topic)
        cdef rd_kafka_topic_t *rkt
        cdef rd_kafka_topic_conf_t *conf
        cdef bytes encoded = name.encode()
        cdef const char *text = encoded
        if not 0 < len(encoded) <= 512:
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG,
                                f"topic: {len(encoded)} bytes long, must be 1 to 512 (brokers take up to 249)")
        topic.name = name
        self.enter()        # close() in another thread must not destroy the handle meanwhile
        try:
            # First: librdkafka keeps the opaque for the life of the client, even when this fails.
            topic.index = <uint32_t>len(self.topic_list)
            self.topic_list.append(topic)
            with nogil:
                conf = rd_kafka_default_topic_conf_dup(self.rk)
                rd_kafka_topic_conf_set_opaque(conf, <PyObject *>topic)
                rkt = rd_kafka_topic_new(self.rk, text, conf)
            if rkt is NULL:             # rd_kafka_topic_new() owns the conf even when it fails
                raise new_exception(rd_kafka_last_error(), f"topic {name!r}")
            topic.rkt = rkt
            self.topics[name] = topic
        finally:
            self.leave()
        return topic

    def ledger(self):
        """What is held now: counts, for tests."""
        return {**self.service.ledger(), "kept": KP_READ(self.dispatcher.kept),
                "topics": len(self.topics) if handle_at(self.rk) is not NULL else 0}
