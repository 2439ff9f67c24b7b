"""The handle of a client: who may use it, and until when; its topics.

Layer L4, below the client: counts who uses the rd_kafka_t and destroys it after the last one. Waits for nothing.
"""
from _thread import RLock

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from kafkapp.delivery cimport *
from kafkapp.errors cimport new_error, new_exception
from kafkapp.forks cimport forks
from kafkapp.librdkafka cimport *


cdef class Handle:
    """What a Client is made upon."""

    def __cinit__(self):
        self.forks = forks()
        self.state = CLOSED
        if kp_deliveries_init(&self.deliveries):
            raise MemoryError()
        self.topics, self.topic_list = {}, []
        self.topic_lock = RLock()       # the garbage collector may run a finalizer that sends, in new_topic()

    def __dealloc__(self):
        # In a forked child the threads that librdkafka would wait for do not exist: the memory is left alone.
        if self.foreign():
            return
        if self.rk is not NULL:
            self.destroy_handle(self.rk)
        if self.conf is not NULL:
            rd_kafka_conf_destroy(<rd_kafka_conf_t *>self.conf)
        if self.topic_conf is not NULL:
            rd_kafka_topic_conf_destroy(<rd_kafka_topic_conf_t *>self.topic_conf)
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
        kp_enter(&self.deliveries)
        try:
            self.check_open()
        except:
            self.leave()
            raise
        return 0

    cdef bint enter_unless_closed(self) except -1:
        """The same while it may be closing. False, and nothing to leave, when the handle is gone or will be."""
        kp_enter(&self.deliveries)
        if KP_READ(self.state) != CLOSED:
            return True
        self.leave()
        return False

    cdef int leave(self) except -1:
        """The end of a call that used the handle: the last one out after close() destroys it."""
        if kp_leave(&self.deliveries) == 0 and KP_READ(self.state) == CLOSED:
            self.destroy()
        return 0

    cdef int destroy(self) except -1:
        """Nobody uses the handle any more."""
        cdef rd_kafka_t *rk = KP_TAKE(self.rk)      # the last one out and who closes may both come here
        if rk is NULL:
            return 0
        self.destroy_handle(rk)
        settle_lost(&self.deliveries, self.topic_list, None)
        return 0

    cdef int destroy_handle(self, rd_kafka_t *rk) noexcept:
        cdef Topic topic
        for topic in self.topic_list or ():
            if topic.rkt is not NULL:
                rd_kafka_topic_destroy(<rd_kafka_topic_t *>topic.rkt)
                topic.rkt = NULL
        with nogil:
            kp_kept_free(&self.deliveries)      # ends the thread that polls the queue
            rd_kafka_queue_destroy(self.deliveries.queue)
            rd_kafka_destroy(rk)
        return 0

    cdef int64_t outstanding(self) noexcept:
        """How many records are accepted and not reported yet."""
        return kp_outstanding(&self.deliveries) - KP_READ(self.deliveries.tokens)

    cdef object fatal_error(self):
        cdef char errstr[512]
        cdef rd_kafka_resp_err_t err
        if not self.enter_unless_closed():
            return new_error(RD_KAFKA_RESP_ERR__FATAL, "and another thread has closed the producer", True)
        err = rd_kafka_fatal_error(self.rk, errstr, sizeof(errstr))
        self.leave()
        return new_error(err, errstr.decode("utf-8", "replace"), True)

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
            with nogil:
                conf = rd_kafka_default_topic_conf_dup(self.rk)
                rd_kafka_topic_conf_set_opaque(conf, <PyObject *>topic)
                rkt = rd_kafka_topic_new(self.rk, text, conf)
            if rkt is NULL:             # conf is freed: rd_kafka_topic_new() owns it, whatever comes of it
                raise new_exception(rd_kafka_last_error(), f"topic {name!r}")
            topic.rkt = rkt
            topic.index = <uint32_t>len(self.topic_list)
            try:
                self.topic_list.append(topic)   # what librdkafka has as its opaque lives as long as the client
            except:
                topic.rkt = NULL
                rd_kafka_topic_destroy(rkt)
                raise
            self.topics[name] = topic
        finally:
            self.leave()
        return topic

    def ledger(self):
        """What is held now, for tests."""
        return {"states": kp_in_use(&self.deliveries) + KP_READ(self.deliveries.tokens),
                "buffers": KP_READ(self.deliveries.views), "outstanding": self.outstanding(),
                "kept": KP_READ(self.deliveries.kept),
                "topics": len(self.topics) if KP_HANDLE(self.rk) is not NULL else 0}
