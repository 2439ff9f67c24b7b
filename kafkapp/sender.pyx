"""The way of a record: taken apart, entered, handed to librdkafka.

Layer L5: knows records and clients. Its outcome comes back through kafkapp.delivery.
"""
from kafkapp.errors import KafkaException
from kafkapp.options import SendOption

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp.buffers cimport PyBuffer_Release
from kafkapp.client cimport Client
from kafkapp.delivery cimport (
    KP_ADD,
    KP_OBJECT,
    KP_PLAIN,
    KP_READ,
    KP_SET,
    Topic,
    kp_epoch_count,
    kp_deliveries,
    kp_delivery,
    kp_delivery_new,
    kp_enter,
    kp_epoch,
    kp_epoch_close,
    kp_epoch_done,
    kp_outstanding,
    kp_rounds,
    kp_section,
    kp_section_begin,
    kp_section_end,
    kp_view,
    release_delivery,
)
from kafkapp.ending cimport close
from kafkapp.errors cimport new_error
from kafkapp.handle cimport OPEN
from kafkapp.librdkafka cimport (
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
from kafkapp.records cimport ProducerRecord, taken
from kafkapp.room cimport kp_headers_size, limit_room, too_large
from kafkapp.timeouts cimport expired, timeout_to_ms
from kafkapp.views cimport View, get_view, new_headers


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
    # Bytes that librdkafka copies at the call from which on the GIL is let go of. Below, the hand-over is shorter
    # than passing the GIL on: a lock of librdkafka's that it takes is never held for long, nor by a thread that
    # wants the GIL.
    LARGE = 16384

cdef object NO_COPY = SendOption.NoCopyRecordValue
cdef object TO_COPY = SendOption.ToCopyRecordValue


cdef struct Payload:
    const void *data
    size_t size
    PyObject *owner         # borrowed: the immutable object whose memory it is, or NULL
    kp_view *view           # owned: the buffer of any other exporter, or NULL


cdef inline int take_payload(Payload *payload, object data, str what) except -1:
    """Find the memory of a key or value. Only an exporter that is neither bytes proper nor str runs code of its own."""
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
        payload.data = PyUnicode_AsUTF8AndSize(data, &size)    # the string keeps its UTF-8 form
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


cdef inline int drop_payload(Payload *payload) except -1:
    if payload.view is not NULL:
        PyBuffer_Release(&payload.view.view)
        free(payload.view)
        payload.view = NULL
    return 0


cdef bint copies(object option) except -1:
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
    """What hands records over. The base of both producers; not to be made itself."""

    cdef Client opened(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called")
        return self.client

    cdef int start(self, properties, int thread, dict defaults) except -1:
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        cdef Client made = Client(properties, thread, defaults)
        try:
            limit_room(made)
        except:             # no memory, or Ctrl-C: nobody has it yet who could close it
            close(made, 0)
            raise
        with cython.critical_section(self):
            if self.client is None:
                self.client, made = made, None
        if made is not None:
            close(made, 0)
            raise RuntimeError(f"{type(self).__name__}.__init__() runs in two threads")
        return 0

    cdef rd_kafka_resp_err_t hand_over(self, ProducerRecord record, object target, int kind, object option,
                                       bint block, int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL:
        """The way of a record: taken apart, entered, handed over. Returns librdkafka's verdict; raises for ours."""
        cdef Client client = self.client
        cdef kp_deliveries *d
        cdef kp_delivery *delivery = NULL
        cdef kp_record c
        cdef Payload value, key
        cdef PyObject *topic
        cdef PyObject *name = NULL      # of a topic that is not the last one's; owned, as the next two
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
        cdef bint copy = False if option is NO_COPY else copies(option)
        if client is None:
            self.opened()
        client.check_open()

        # 1. Taken apart. Another thread may change the record: what it is now is sent.
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
            # An exporter may run any code here, so nothing is held yet that it could pull away.
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

            # 2. Entered and counted, and then found open: close() waits for this record. From here to the hand-over no
            # code but ours runs.
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
                    # The state owns its references: complete_one() drops them or, when refused, release_delivery().
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
                            Py_INCREF(<object>value.owner)      # which is not value_object, when that is a View
                            delivery.value = value.owner
                    opaque = delivery
                while True:
                    # 3. Handed over. Once accepted the state is librdkafka's: its report may already be there.
                    seen = kp_rounds(d)
                    if c.key_size + (c.size if copy else 0) >= LARGE:
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
                        # Not even an empty queue has room for it: none that is waited for comes.
                        raise KafkaException(too_large(client, c.key_size, c.size, kp_headers_size(c.headers)))
                    if err != RD_KAFKA_RESP_ERR__QUEUE_FULL or not block or expired(deadline):
                        return err
                    KP_ADD(epoch.sent, -1)          # a flush meanwhile does not wait for it
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
            drop_payload(&value)
            drop_payload(&key)
            Py_XDECREF(record_id)
            Py_XDECREF(headers)
            Py_XDECREF(name)

    cdef object refusal(self, rd_kafka_resp_err_t err, ProducerRecord record):
        """The Error of a record that librdkafka did not accept."""
        record = taken(record)
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

    def _signal(self, int fd, bytes payload not None):
        """Have librdkafka write to a descriptor when there is something to poll; -1: no more."""
        cdef Client client = self.opened()
        cdef const char *data = payload
        cdef size_t size = len(payload)
        client.enter()
        KP_SET(client.loop_dispatches, fd >= 0)
        try:
            with nogil:
                rd_kafka_queue_io_event_enable(client.deliveries.queue, fd, data, size)
        finally:
            client.leave()

    def _pending(self):
        """Whether there is something to poll already: librdkafka writes for the first thing in an empty queue only."""
        cdef Client client = self.opened()
        cdef size_t length
        client.enter()
        try:
            with nogil:
                length = rd_kafka_queue_length(client.deliveries.queue)
        finally:
            client.leave()
        # What is kept now, or is on its way there, has left the queue.
        return length > 0 or KP_READ(client.deliveries.kept) > 0 or KP_READ(client.deliveries.round_open) != 0

    def _push(self, timeout):
        """End lingering for a while, or until nothing is in flight. Blocks, and serves nothing.

        Returns whether something is in flight.
        """
        cdef Client client = self.opened()
        cdef int ms = <int>min(<int64_t>1000, max(<int64_t>0, timeout_to_ms(timeout)))
        cdef rd_kafka_resp_err_t err
        client.enter()
        try:
            with nogil:
                err = rd_kafka_flush(client.rk, ms)
        finally:
            client.leave()
        return err != RD_KAFKA_RESP_ERR_NO_ERROR

    def _purge(self):
        """As `purge`, without waiting for librdkafka to have purged."""
        cdef Client client = self.opened()
        client.enter()
        try:
            with nogil:
                rd_kafka_purge(client.rk,
                               RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
        finally:
            client.leave()

    def _warn_open(self):
        self.opened().warn_open()

    def _fatal(self):
        """Whether the producer has failed."""
        cdef Client client = self.opened()
        if not client.enter_unless_closed():
            return False
        try:
            return rd_kafka_fatal_error(client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR
        finally:
            client.leave()

    def _epoch(self):
        """What _epoch_done takes, to learn whether all that was sent until now is reported."""
        self.opened().check_open()
        return kp_epoch_close(&self.client.deliveries)

    def _epoch_done(self, int64_t epoch):
        return kp_epoch_done(&self.opened().deliveries, epoch)

    def _closed(self):
        return KP_READ(self.opened().state) != OPEN
