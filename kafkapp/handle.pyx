"""The handle of a client: who may use it, and until when; its topics.

Layer L4, below the client: counts who uses the rd_kafka_t and destroys it after the last one. Waits for nothing.

The end of a handle. librdkafka reports each record, and rd_kafka_destroy() returns, as soon as its broker threads have
their turn; while one of them is within getaddrinfo() that is not before the name server answers. So, when close() has
no more time, three things are done in this order, each once:

1. complete_remaining(): the records without a report are completed as purged ones are, in the last round that there is:
   it never ends, so no thread reads a report of theirs that comes after all. What librdkafka may still read of them
   goes to `holds`.
2. destroy(), by whoever is the last to use the handle: csrc/destroy.c's thread has the rd_kafka_t from here on.
3. DeferredRelease: a thread waits for that one, and releases the holds. At the end of the process nobody waits for
   either.
"""
from _thread import RLock

from kafkapp.visible import start_thread

cimport cython
from cpython.ref cimport PyObject, Py_INCREF
from libc.stdint cimport int64_t, uint32_t
from posix.unistd cimport usleep

from kafkapp.delivery cimport *
from kafkapp.errors cimport Error, new_error, new_exception, new_fatal_error
from kafkapp.forks cimport forks
from kafkapp.librdkafka cimport *

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object thing)

cdef extern from "destroy.h" nogil:
    kp_destruction *kp_destruction_start(rd_kafka_t *rk)
    bint kp_destruction_wait(kp_destruction *destruction, int timeout_ms)
    kp_destruction *kp_destruction_share(kp_destruction *end)
    void kp_destruction_release(kp_destruction *end)

cdef enum:
    DEALLOC_WAIT_MS = 1000     # ms for librdkafka's threads to end, where nobody has closed the client
    TRIES = 100             # to complete records without memory, 10 ms apart


@cython.final
cdef class DeferredRelease:
    """What librdkafka may read until it is destroyed."""
    cdef kp_destruction *destruction
    cdef list holds

    def __dealloc__(self):
        if self.destruction is not NULL:
            kp_destruction_release(self.destruction)

    def release(self):
        """A thread's: it enters the interpreter again only when there is something to release."""
        with nogil:
            while self.destruction is not NULL and not kp_destruction_wait(self.destruction, 1000):
                pass
        self.holds = None


@cython.no_gc_clear     # __dealloc__ needs the topics; fixed when it is made, so that others end each cycle
cdef class Handle:
    """What a Client is made upon."""

    def __cinit__(self):
        self.forks = forks()
        self.state = CLOSED
        if kp_deliveries_init(&self.deliveries):
            raise MemoryError()
        self.topics, self.topic_list, self.holds = {}, [], []
        PyObject_GC_UnTrack(self.topic_list)    # of no cycle; the garbage collector would empty them before __dealloc__
        PyObject_GC_UnTrack(self.holds)
        self.topic_lock = RLock()       # the garbage collector may run a finalizer that sends, in new_topic()

    def __dealloc__(self):
        cdef bint over
        # In a forked child the threads that librdkafka would wait for do not exist: the memory is left alone.
        if self.foreign():
            return
        if self.rk is not NULL:
            self.start_destruction(self.rk)
            if self.destruction is not NULL:
                with nogil:
                    over = kp_destruction_wait(self.destruction, DEALLOC_WAIT_MS)
                if not over and self.holds:
                    Py_INCREF(self.holds)       # librdkafka may read them yet, and nobody is there to wait for it
        if self.destruction is not NULL:
            kp_destruction_release(self.destruction)
        if self.conf is not NULL:
            rd_kafka_conf_destroy(<rd_kafka_conf_t *>self.conf)
        kp_deliveries_free(&self.deliveries)

    # -- who may use it -------------------------------------------------------------------------

    cdef bint foreign(self) noexcept:
        """Whether it was made in another process, from which this one was forked."""
        return self.forks != forks()

    cdef int check_open(self) except -1:
        if self.foreign():
            raise RuntimeError("this producer was made in another process: make one after the fork")
        if KP_READ(self.state) != OPEN:
            raise RuntimeError("the producer is closed")
        return 0

    cdef int enter(self) except -1:
        """The begin of a call that uses the handle of an open client. First counted, then looked: see delivery.h."""
        self.check_open()
        KP_ADD(self.users, 1)
        try:
            self.check_open()
        except:
            self.leave()
            raise
        return 0

    cdef bint enter_unless_closed(self) except -1:
        """The same while it may be closing. False, and nothing to leave, when the handle is gone or will be."""
        KP_ADD(self.users, 1)
        if KP_READ(self.state) != CLOSED:
            return True
        self.leave()
        return False

    cdef int leave(self) except -1:
        """The end of a call that used the handle: the last one out after close() destroys it."""
        KP_ADD(self.users, -1)
        if KP_READ(self.state) == CLOSED:
            self.destroy()
        return 0

    cdef int leave_sender(self) except -1:
        """The same of a call that sends, and has entered by kp_enter."""
        if kp_leave(&self.deliveries) == 0 and KP_READ(self.state) == CLOSED:
            self.destroy()
        return 0

    cdef bint complete_remaining(self, list raised) except -1:
        """Complete what librdkafka has not reported, when nothing is accepted any more. False while a thread sends or
        serves."""
        if KP_READ(self.deliveries.senders) or not kp_round_begin(&self.deliveries, 0, 0):
            return False
        self.reports_lost = True
        for left in reversed(range(TRIES)):
            try:
                complete_unreported(&self.deliveries, self.topic_list, self.holds, raised)
                break
            except MemoryError:
                if not left:
                    raise
                with nogil:
                    usleep(10000)       # for some to come
        if not self.foreign():
            kp_wake(&self.deliveries)
        return True

    cdef int destroy(self) except -1:
        """Nobody uses the handle of a closed client any more."""
        cdef rd_kafka_t *rk
        if self.foreign() or KP_READ(self.deliveries.senders) or KP_READ(self.users):
            return 0
        rk = KP_TAKE(self.rk)      # the last one out and who closes may both come here
        if rk is NULL:
            return 0
        try:
            if rd_kafka_fatal_error(rk, NULL, 0):
                self.fatal = new_fatal_error(rk, RD_KAFKA_RESP_ERR__FATAL, None)
        finally:
            try:
                if kp_outstanding(&self.deliveries):
                    self.complete_remaining(None)
            finally:
                self.start_destruction(rk)
                if self.holds and self.destruction is not NULL:
                    self.release_holds_later()
        return 0

    cdef int release_holds_later(self) except -1:
        """To a thread that releases them when librdkafka is destroyed."""
        cdef DeferredRelease remains = None
        try:
            remains = DeferredRelease.__new__(DeferredRelease)
            remains.destruction, remains.holds = kp_destruction_share(self.destruction), self.holds
            start_thread(remains.release)
            self.holds = []
        except BaseException as exc:
            # No memory, no thread, or an interrupt, after which it may run: held until that or the process ends.
            Py_INCREF(self.holds if remains is None else remains)
            self.holds = None
            if not isinstance(exc, (MemoryError, RuntimeError)):
                raise
        return 0

    cdef int start_destruction(self, rd_kafka_t *rk) noexcept:
        cdef Topic topic
        for topic in self.topic_list or ():
            if topic.rkt is not NULL:
                rd_kafka_topic_destroy(<rd_kafka_topic_t *>topic.rkt)
                topic.rkt = NULL
        with nogil:
            kp_kept_free(&self.deliveries)      # ends the thread that polls the queue
            rd_kafka_queue_destroy(self.deliveries.queue)
            self.destruction = kp_destruction_start(rk)
        return 0

    cdef int64_t outstanding(self) noexcept:
        """How many records are accepted and not reported yet."""
        return kp_outstanding_records(&self.deliveries)

    cdef bint destroyed(self, int timeout_ms) noexcept nogil:
        """Whether librdkafka's threads have ended; waits for that."""
        return self.destruction is NULL or kp_destruction_wait(self.destruction, timeout_ms)

    cdef object fatal_error(self):
        return self.error(RD_KAFKA_RESP_ERR__FATAL)

    cdef object error(self, int code):
        """The Error of a code that librdkafka gave for a record."""
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
        """The handle of a topic. A call by name takes a write lock on the client each time: this does so once."""
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
        self.enter()        # close() in another thread must not pull the handle away
        try:
            # First: librdkafka keeps its opaque as long as the client, also where the handle is given back.
            topic.index = <uint32_t>len(self.topic_list)
            self.topic_list.append(topic)
            with nogil:
                conf = rd_kafka_default_topic_conf_dup(self.rk)
                rd_kafka_topic_conf_set_opaque(conf, <PyObject *>topic)
                rkt = rd_kafka_topic_new(self.rk, text, conf)
            if rkt is NULL:             # conf is freed: rd_kafka_topic_new() owns it, whatever comes of it
                raise new_exception(rd_kafka_last_error(), f"topic {name!r}")
            topic.rkt = rkt
            self.topics[name] = topic
        finally:
            self.leave()
        return topic

    def ledger(self):
        """What is held now, for tests."""
        return {"states": kp_in_use(&self.deliveries) + KP_READ(self.deliveries.open_batches),
                "buffers": KP_READ(self.deliveries.views), "outstanding": self.outstanding(),
                "kept": KP_READ(self.deliveries.kept),
                "topics": len(self.topics) if KP_HANDLE(self.rk) is not NULL else 0}
