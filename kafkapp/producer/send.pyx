"""Send path: unpacks a record, pins its memory, enqueues it.

Knows records and clients. The outcome comes back as a delivery report, through kafkapp.producer.delivery.
"""
from kafkapp.common.errors import KafkaException
from kafkapp.producer.options import SendOption

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_MSG_F_COPY,
    RD_KAFKA_PURGE_F_INFLIGHT,
    RD_KAFKA_PURGE_F_NON_BLOCKING,
    RD_KAFKA_PURGE_F_QUEUE,
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    rd_kafka_fatal_error,
    rd_kafka_flush,
    rd_kafka_headers_destroy,
    rd_kafka_headers_t,
    rd_kafka_purge,
    rd_kafka_queue_io_event_enable,
    rd_kafka_queue_length,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_t,
)
from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport close
from kafkapp.common.atomics cimport KP_ADD, KP_OBJECT, KP_READ, KP_SET, kp_section, kp_section_begin, kp_section_end
from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.errors cimport new_error
from kafkapp.common.timeouts cimport expired, timeout_to_ms
from kafkapp.common.views cimport View, get_view, new_headers
from kafkapp.producer.delivery cimport (
    KP_PLAIN,
    kp_deliveries,
    kp_delivery,
    kp_delivery_new,
    kp_enter,
    kp_epoch,
    kp_epoch_close,
    kp_epoch_count,
    kp_epoch_done,
    kp_outstanding,
    kp_rounds,
    kp_view,
    release_delivery,
    Topic,
)
from kafkapp.producer.queue_room cimport kp_headers_size, read_size_limits, too_large_error
from kafkapp.producer.record cimport ProducerRecord, snapshot


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "produce.h" nogil:
    ctypedef struct kp_record:
        const void *value
        size_t size
        const void *key
        size_t key_size
        rd_kafka_headers_t *headers
        int64_t timestamp
        int partition
        int flags

    rd_kafka_resp_err_t kp_produce(rd_kafka_t *rk, rd_kafka_topic_t *rkt, const kp_record *record, void *opaque)

cdef enum:
    # The GIL is released for a record of which librdkafka copies at least so many bytes. Enqueueing a smaller one takes
    # less time than passing the GIL on: the locks of librdkafka that it takes are held only briefly, and never by a
    # thread that wants the GIL.
    RELEASE_GIL_BYTES = 16384

cdef object NO_COPY = SendOption.NoCopyRecordValue
cdef object TO_COPY = SendOption.ToCopyRecordValue


cdef struct Payload:
    const void *data
    size_t size
    PyObject *owner         # borrowed: the immutable object that owns the memory, or NULL
    kp_view *view           # owned: the acquired buffer of any other exporter, or NULL


cdef inline int take_payload(Payload *payload, object data, str what) except -1:
    """Find the memory of a key or value. Only an exporter other than `bytes` itself and `str` may run code here."""
    cdef Py_ssize_t size
    payload.owner = NULL
    payload.view = NULL
    if data is None:
        payload.data = NULL
        payload.size = 0
        return 0
    if isinstance(data, View):
        return take_payload(payload, (<View>data).data, what)
    if PyBytes_CheckExact(data):        # a class derived from it may have a buffer of its own
        payload.data = PyBytes_AS_STRING(data)
        payload.size = PyBytes_GET_SIZE(data)
        payload.owner = <PyObject *>data
        return 0
    if isinstance(data, str):
        payload.data = PyUnicode_AsUTF8AndSize(data, &size)    # cached by the string, for as long as it lives
        payload.size = size
        payload.owner = <PyObject *>data
        return 0
    return take_view(payload, data, what)


cdef int take_view(Payload *payload, object data, str what) except -1:
    payload.view = <kp_view *>malloc(sizeof(kp_view))
    if payload.view is NULL:
        raise MemoryError()
    try:
        get_view(data, &payload.view.view, what)
    except:
        free(payload.view)
        payload.view = NULL
        raise
    payload.data = payload.view.view.buf
    payload.size = payload.view.view.len
    return 0


cdef inline int release_payload(Payload *payload) except -1:
    if payload.view is not NULL:
        kp_release_buffer(&payload.view.view)
        free(payload.view)
        payload.view = NULL
    return 0


cdef bint wants_copy(object option) except -1:
    """Whether a SendOption asks for a copy."""
    if option is NO_COPY:
        return False
    if option is TO_COPY:
        return True
    member = SendOption.member(option)
    if member is None:
        raise TypeError(f"option must be a SendOption, not {option!r}")
    return member is TO_COPY


cdef class Sender:
    """Base of both producers: owns a client and enqueues records. Not instantiated itself."""

    cdef Client get_client(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.client

    cdef int open_client(self, properties, int thread, dict defaults) except -1:
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        cdef Client client = Client(properties, thread, defaults)
        try:
            read_size_limits(client)
        except:             # no memory, or Ctrl-C: nobody else can close this client
            close(client, 0)
            raise
        with cython.critical_section(self):
            if self.client is None:
                self.client, client = client, None
        if client is not None:
            close(client, 0)
            raise RuntimeError(f"{type(self).__name__}.__init__() was called by two threads at once: one of "
                               "them keeps its client")
        return 0

    cdef rd_kafka_resp_err_t enqueue(self, ProducerRecord record, object target, int kind, object option,
                                     bint block, int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL:
        """Enqueue a record. Returns librdkafka's error code; raises for what is refused earlier.

        `target` gets the delivery report, as `kind` (KP_CALLBACK...) says; None: nothing does. `block`: wait while the
        queue is full, until `deadline`.
        """
        cdef Client client = self.client
        cdef kp_deliveries *d
        cdef kp_delivery *delivery = NULL
        cdef kp_record c
        cdef Payload value, key
        cdef PyObject *topic
        cdef PyObject *name = NULL      # of a topic other than the client's last one; owned, as are the next two
        cdef PyObject *headers = NULL
        cdef PyObject *record_id = NULL
        cdef object value_object, key_object
        cdef kp_section section
        cdef rd_kafka_t *rk
        cdef rd_kafka_topic_t *rkt
        cdef rd_kafka_resp_err_t err
        cdef void *opaque
        cdef int64_t seen
        cdef kp_epoch *epoch
        cdef bint counted = False
        cdef bint copy = False if option is NO_COPY else wants_copy(option)
        if client is None:
            self.get_client()
        client.check_open()

        # 1. Unpack the record, at once: another thread may change it.
        kp_section_begin(&section, <PyObject *>record)
        value_object = record._value
        key_object = record._key
        if target is not None and record._id is not None:
            record_id = <PyObject *>record._id
            Py_INCREF(<object>record_id)
        if record._headers is not None:
            headers = <PyObject *>record._headers
            Py_INCREF(<object>headers)
        topic = KP_OBJECT(client.last_topic)
        if topic is NULL or (<Topic>topic).name is not record._topic:
            name = <PyObject *>record._topic
            Py_INCREF(<object>name)
        c.timestamp = record._timestamp
        c.partition = record._partition
        kp_section_end(&section)
        c.headers = NULL
        key.view = NULL
        value.view = NULL
        try:
            # An exporter may run any code here, also close the producer: nothing of the client is in use yet.
            take_payload(&value, value_object, "value")
            take_payload(&key, key_object, "key")
            if headers is not NULL:
                c.headers = new_headers(<object>headers)
            if name is not NULL:
                client.check_open()
                topic = client.topic(<str>name)
            d = &client.deliveries
            c.value, c.size = value.data, value.size
            c.key, c.key_size = key.data, key.size
            c.flags = RD_KAFKA_MSG_F_COPY if copy else 0

            # 2. Count this sender and the record first, then check that the producer is open: close() waits for what
            # is counted. From here until the record is enqueued no foreign code runs.
            kp_enter(d)
            epoch = kp_epoch_count(d)
            counted = True
            try:
                if KP_READ(client.state) != OPEN:
                    client.check_open()
                rk = client.rk
                rkt = <rd_kafka_topic_t *>(<Topic>topic).rkt
                opaque = KP_PLAIN(epoch)
                if target is not None or (not copy and value.size):
                    delivery = kp_delivery_new(d)
                    if delivery is NULL:
                        raise MemoryError()
                    delivery.epoch = epoch.index
                    delivery.kind = kind
                    delivery.topic = (<Topic>topic).index
                    # The delivery owns these references: its report drops them, or release_delivery() below.
                    if target is not None:
                        Py_INCREF(target)
                        delivery.target = <PyObject *>target
                        delivery.record_id = record_id
                        record_id = NULL
                    if not copy and value.size:
                        if value.view is not NULL:
                            delivery.view = value.view
                            delivery.holds_view = 1
                            value.view = NULL
                            KP_ADD(d.views, 1)
                        else:
                            Py_INCREF(<object>value.owner)      # not value_object: that may be a View of it
                            delivery.value = value.owner
                    opaque = delivery
                while True:
                    # 3. Enqueue. An accepted delivery belongs to librdkafka: its report may already be here.
                    seen = kp_rounds(d)
                    if c.key_size + (c.size if copy else 0) >= RELEASE_GIL_BYTES:
                        with nogil:
                            err = kp_produce(rk, rkt, &c, opaque)
                    else:
                        err = kp_produce(rk, rkt, &c, opaque)
                    if not err:
                        counted = False
                        delivery = NULL
                        c.headers = NULL
                        return err
                    if err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE or (
                            err == RD_KAFKA_RESP_ERR__QUEUE_FULL and c.size > d.max_value):
                        # Not even an empty queue has room for this value: waiting would never end.
                        raise KafkaException(too_large_error(client, c.key_size, c.size, kp_headers_size(c.headers)))
                    if err != RD_KAFKA_RESP_ERR__QUEUE_FULL or not block or expired(deadline):
                        return err
                    KP_ADD(epoch.sent, -1)          # flush() does not wait for a record that waits for room
                    counted = False
                    client.wait(seen, deadline, None)
                    epoch = kp_epoch_count(d)
                    counted = True
                    if delivery is NULL:
                        opaque = KP_PLAIN(epoch)
                    else:
                        delivery.epoch = epoch.index
                    client.check_open()
            finally:
                if counted:
                    KP_ADD(epoch.sent, -1)
                if delivery is not NULL:
                    release_delivery(d, delivery)
                client.leave_sender()
        finally:
            if c.headers is not NULL:
                rd_kafka_headers_destroy(c.headers)
            release_payload(&value)
            release_payload(&key)
            Py_XDECREF(record_id)
            Py_XDECREF(headers)
            Py_XDECREF(name)

    cdef object enqueue_error(self, rd_kafka_resp_err_t err, ProducerRecord record):
        """The Error of a record that librdkafka refused."""
        record = snapshot(record)
        if err == RD_KAFKA_RESP_ERR__FATAL:
            return self.client.fatal_error()
        if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            text = (f"{kp_outstanding(&self.client.deliveries)} records are in flight; queue.buffering.max.messages is "
                    f"{self.client.get_property('queue.buffering.max.messages')}, queue.buffering.max.kbytes "
                    f"{self.client.get_property('queue.buffering.max.kbytes')}")
        elif err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
            text = f"topic {record._topic!r} has no partition {record._partition}"
        else:
            return new_error(err)
        return new_error(err, f"{new_error(err).message}: {text}")

    # -- for kafkapp.aio ------------------------------------------------------------------------

    def _wake_through(self, int fd, bytes payload not None):
        """Have librdkafka write `payload` to a descriptor when there are events to poll; -1: stop that."""
        cdef Client client = self.get_client()
        cdef const char *data = payload
        cdef size_t size = len(payload)
        client.enter()
        KP_SET(client.loop_dispatches, fd >= 0)
        try:
            with nogil:
                rd_kafka_queue_io_event_enable(client.deliveries.queue, fd, data, size)
        finally:
            client.leave()

    def _has_events(self):
        """Whether there are events to poll now: librdkafka signals only the first event in an empty queue."""
        cdef Client client = self.get_client()
        cdef size_t length
        client.enter()
        try:
            with nogil:
                length = rd_kafka_queue_length(client.deliveries.queue)
        finally:
            client.leave()
        # Reports that a dispatcher has drained, or drains now, are no longer in the queue.
        return length > 0 or KP_READ(client.deliveries.kept) > 0 or KP_READ(client.deliveries.round_open) != 0

    def _end_lingering_for(self, timeout):
        """End lingering for `timeout` seconds, at most 1, or until nothing is in flight. Blocks, dispatches nothing.

        Returns whether something is in flight.
        """
        cdef Client client = self.get_client()
        cdef int ms = <int>min(<int64_t>1000, max(<int64_t>0, timeout_to_ms(timeout)))
        cdef rd_kafka_resp_err_t err
        client.enter()
        try:
            with nogil:
                err = rd_kafka_flush(client.rk, ms)
        finally:
            client.leave()
        return err != RD_KAFKA_RESP_ERR_NO_ERROR

    def _purge_soon(self):
        """As `purge`, but does not wait until librdkafka has purged."""
        cdef Client client = self.get_client()
        client.enter()
        try:
            with nogil:
                rd_kafka_purge(client.rk,
                               RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
        finally:
            client.leave()

    def _warn_unclosed(self):
        self.get_client().warn_open()

    def _has_failed(self):
        """Whether the producer has had a fatal error."""
        cdef Client client = self.get_client()
        if not client.enter_unless_closed():
            return False
        try:
            return rd_kafka_fatal_error(client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR
        finally:
            client.leave()

    def _close_epoch(self):
        """Close the current epoch; `_is_epoch_done` says whether all that was sent until now is reported."""
        self.get_client().check_open()
        return kp_epoch_close(&self.client.deliveries)

    def _is_epoch_done(self, int64_t epoch):
        return kp_epoch_done(&self.get_client().deliveries, epoch)

    def _is_closed(self):
        return KP_READ(self.get_client().state) != OPEN
