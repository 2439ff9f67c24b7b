"""The producers: a record taken apart, handed to librdkafka, and its outcome handed back.

Layer L5: knows records and clients; the way of a record is described in `Producer.hand_over`.
"""
from kafkapp.config import Properties
from kafkapp.errors import KafkaException
from kafkapp.options import ActionWhileQueueIsFull, EventsPollingOption, SendOption

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.buffer cimport PyBuffer_Release
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject, Py_INCREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp.client cimport OPEN, Client
from kafkapp.delivery cimport (
    KP_ADD,
    KP_CALLBACK,
    KP_EPOCHS,
    KP_PLAIN,
    KP_WAITER,
    Topic,
    Waiter,
    kp_deliveries,
    kp_delivery,
    kp_delivery_new,
    kp_enter,
    kp_outstanding,
    kp_rounds,
    kp_view,
    raise_all,
    release,
)
from kafkapp.errors cimport Error, new_error, new_exception
from kafkapp.librdkafka cimport (
    RD_KAFKA_MSG_F_COPY,
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    rd_kafka_headers_destroy,
    rd_kafka_headers_t,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_t,
)
from kafkapp.records cimport ProducerRecord, RecordMetadata, get_view, new_headers
from kafkapp.timeouts cimport deadline_of, passed, remaining
from kafkapp.views cimport View


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

cdef object BLOCK = ActionWhileQueueIsFull.Block
cdef object NO_BLOCK = ActionWhileQueueIsFull.NoBlock
cdef object NO_COPY = SendOption.NoCopyRecordValue
cdef object TO_COPY = SendOption.ToCopyRecordValue


cdef struct Payload:
    const void *data
    size_t size
    PyObject *owner         # borrowed: the immutable object whose memory it is, or NULL
    kp_view *view           # owned: the buffer of any other exporter, or NULL


cdef inline int take_payload(Payload *payload, object data, str what) except -1:
    """Find the memory of a key or value. Only an exporter that is neither bytes nor str runs code of its own."""
    cdef Py_ssize_t size
    payload.owner = NULL
    payload.view = NULL
    if data is None:
        payload.data = NULL
        payload.size = 0
        return 0
    if isinstance(data, View):
        return take_payload(payload, (<View>data).data, what)
    if PyBytes_Check(data):
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
    # An exporter may give NULL for no bytes at all; librdkafka takes NULL for null.
    payload.data = payload.view.view.buf if payload.view.view.buf is not NULL else <void *>payload
    payload.size = payload.view.view.len
    return 0


cdef inline int drop_payload(Payload *payload) except -1:
    if payload.view is not NULL:
        PyBuffer_Release(&payload.view.view)
        free(payload.view)
        payload.view = NULL
    return 0


cdef class Producer:
    """What both producers share. Not to be made itself."""
    cdef Client client
    cdef object __weakref__

    cdef Client opened(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called")
        return self.client

    cdef int start(self, properties, bint background, dict defaults) except -1:
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        self.client = Client(properties, background, defaults)
        return 0

    cdef rd_kafka_resp_err_t hand_over(self, ProducerRecord record, object target, int kind, object option,
                                       bint block, int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL:
        """The way of a record: taken apart, entered, handed over. Returns librdkafka's verdict; raises for ours."""
        cdef Client client = self.client
        cdef kp_deliveries *d
        cdef kp_delivery *delivery = NULL
        cdef kp_record c
        cdef Payload value, key
        cdef Topic topic
        cdef object value_object, key_object
        cdef rd_kafka_t *rk
        cdef rd_kafka_topic_t *rkt
        cdef rd_kafka_resp_err_t err
        cdef void *opaque
        cdef int64_t seen
        cdef int slot
        cdef bint copy
        if client is None:
            self.opened()
        client.check_open()
        if option is NO_COPY:
            copy = False
        elif option is TO_COPY:
            copy = True
        else:
            raise TypeError(f"option must be a SendOption, not {option!r}")

        # 1. Taken apart. An exporter may run any code here, so nothing is held yet that it could pull away.
        value_object = record._value
        key_object = record._key
        c.headers = NULL
        key.view = NULL
        take_payload(&value, value_object, "value")
        try:
            take_payload(&key, key_object, "key")
            if record._headers is not None:
                c.headers = new_headers(record._headers)
            topic = client.last_topic
            if topic is None or topic.name is not record._topic:
                client.check_open()
                topic = client.topic(record._topic)
            if client.state != OPEN:
                client.check_open()
            d = &client.deliveries
            rk = client.rk
            rkt = <rd_kafka_topic_t *>topic.rkt
            c.value, c.size = value.data, value.size
            c.key, c.key_size = key.data, key.size
            c.timestamp = record._timestamp
            c.partition = record._partition
            c.flags = RD_KAFKA_MSG_F_COPY if copy else 0

            # 2. Entered. From here to the hand-over no code but ours runs, and close() waits for this record.
            kp_enter(d)
            slot = d.epoch & (KP_EPOCHS - 1)
            opaque = KP_PLAIN(slot)
            if target is not None or (not copy and value.size):
                delivery = kp_delivery_new(d)
                if delivery is NULL:
                    client.leave()
                    raise MemoryError()
                delivery.epoch = slot
                delivery.kind = kind
                delivery.topic = topic.index
                # The state takes its references; settle_one() or, when the record is refused, release() drops them.
                if target is not None:
                    Py_INCREF(target)
                    delivery.target = <PyObject *>target
                    if record._id is not None:
                        Py_INCREF(record._id)
                        delivery.record_id = <PyObject *>record._id
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
            try:
                while True:
                    # 3. Handed over. Once accepted the state is librdkafka's: its report may already be there.
                    seen = kp_rounds(d)
                    KP_ADD(d.sent[slot], 1)
                    if c.key_size + (c.size if copy else 0) >= LARGE:
                        with nogil:
                            err = kp_produce(rk, rkt, &c, opaque)
                    else:
                        err = kp_produce(rk, rkt, &c, opaque)
                    if not err:
                        delivery = NULL
                        c.headers = NULL
                        return err
                    KP_ADD(d.sent[slot], -1)
                    if err != RD_KAFKA_RESP_ERR__QUEUE_FULL or not block or passed(deadline):
                        return err
                    client.wait(seen, deadline, None)
                    client.check_open()
            finally:
                if delivery is not NULL:
                    release(d, delivery)
                client.leave()
        finally:
            if c.headers is not NULL:
                rd_kafka_headers_destroy(c.headers)
            drop_payload(&value)
            drop_payload(&key)

    cdef object refusal(self, rd_kafka_resp_err_t err, ProducerRecord record):
        """The Error of a record that librdkafka did not accept."""
        if err == RD_KAFKA_RESP_ERR__FATAL:
            return self.client.fatal_error()
        if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            text = (f"{kp_outstanding(&self.client.deliveries)} records are in flight; queue.buffering.max.messages is "
                    f"{self.client.get_property('queue.buffering.max.messages')}, queue.buffering.max.kbytes "
                    f"{self.client.get_property('queue.buffering.max.kbytes')}")
        elif err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
            text = (f"a key of {size_of(record._key)} and a value of {size_of(record._value)} bytes; message.max.bytes is "
                    f"{self.client.get_property('message.max.bytes')}")
        elif err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
            text = f"topic {record._topic!r} has no partition {record._partition}"
        else:
            return new_error(err)
        return new_error(err, f"{new_error(err).message}: {text}")

    # -- what both offer ------------------------------------------------------------------------

    @property
    def name(self):
        """The name of the client as librdkafka logs it, str. Source: rd_kafka_name(); KafkaClient::name."""
        return self.opened().name

    @property
    def client_id(self):
        """The `client.id` in force, str; random unless it was set. Source: KafkaClient::clientId."""
        return self.opened().client_id

    @property
    def properties(self):
        """A copy of the Properties in force: what was given, and kafkapp's defaults. Source: KafkaClient::properties."""
        return Properties(self.opened().properties)

    def get_property(self, name):
        """The value in force of any property of librdkafka.

        Args:
            name: the property's name.
        Returns:
            The value as text, also after `close`; None for a property that librdkafka does not know.
        Source: rd_kafka_conf_get(); KafkaClient::getProperty.
        """
        return self.opened().get_property(name)

    def __len__(self):
        """How many records are outstanding: accepted, and not reported yet."""
        return kp_outstanding(&self.opened().deliveries)

    def __bool__(self):
        return True

    def flush(self, timeout=None):
        """Send what lingers, and wait until all that was sent before is reported and its callbacks have returned.

        Blocks, without the GIL; Ctrl-C ends it, and leaves the records in flight.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT, some records are still in flight.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        self.opened().flush(deadline_of(timeout))

    def purge(self):
        """Give up all records in flight: those in the queue fail with RD_KAFKA_RESP_ERR__PURGE_QUEUE, those on their
        way, which may still arrive, with RD_KAFKA_RESP_ERR__PURGE_INFLIGHT.

        Blocks until librdkafka has purged; the reports follow as always.

        Raises:
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_purge(); KafkaProducer::purge.
        """
        self.opened().purge()

    def close(self, timeout=None):
        """Flush, and end: when this returns every record has been reported and every callback has returned.

        Blocks, without the GIL. When the time is over what is in flight is purged, and its callbacks run with
        RD_KAFKA_RESP_ERR__PURGE_QUEUE or RD_KAFKA_RESP_ERR__PURGE_INFLIGHT. Closing again does nothing. Ctrl-C leaves
        the producer open.

        Args:
            timeout: seconds (int, float or timedelta), None waits for as long as records may live
                (`message.timeout.ms`).
        Raises:
            RuntimeError: inside a callback of this producer, or in a forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        self.opened().close(deadline_of(timeout))

    def fetch_broker_metadata(self, topic, timeout=10):
        """Ask the cluster for a topic's partitions, leaders and replicas.

        Blocks, without the GIL.

        Args:
            topic: the topic's name.
            timeout: seconds (int, float or timedelta), None waits for ever.
        Returns:
            A BrokerMetadata.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT, no broker answered;
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and other errors of the topic.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_metadata(); KafkaClient::fetchBrokerMetadata.
        """
        if not isinstance(topic, str):
            raise TypeError(f"topic must be a str, not {type(topic).__name__}")
        return self.opened().fetch_metadata(topic, deadline_of(timeout))

    def __enter__(self):
        self.opened().check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.client is not None:
            self.client.abandon()

    def __repr__(self):
        if self.client is None:
            return f"<{type(self).__name__} without a client>"
        return (f"<{type(self).__name__} {self.client.name}: "
                f"{kp_outstanding(&self.client.deliveries)} outstanding{'' if self.client.state == OPEN else ', closed'}>")

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it owns connections and a thread")

    def _ledger(self):
        """What is held for records in flight. For tests."""
        return self.opened().ledger()


cdef size_of(object data):
    cdef Payload payload
    take_payload(&payload, data, "record")
    drop_payload(&payload)
    return payload.size


cdef inline ProducerRecord check_record(object record):
    if not isinstance(record, ProducerRecord):
        raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
    return <ProducerRecord>record


cdef inline int check_callback(object callback) except -1:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
    return 0


cdef class KafkaAsyncProducer(Producer):
    """Sends records and returns at once; a callback tells each one's outcome.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
        events_polling: EventsPollingOption.Auto: a background thread runs the callbacks; Manual: `poll_events`,
            `flush` and `close` do.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG, a property is unknown or bad, with librdkafka's reason;
            RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaAsyncProducer.
    """
    cdef bint auto

    def __init__(self, properties, events_polling=EventsPollingOption.Auto):
        if not isinstance(events_polling, EventsPollingOption):
            raise TypeError(f"events_polling must be an EventsPollingOption, not {events_polling!r}")
        self.auto = events_polling is EventsPollingOption.Auto
        self.start(properties, self.auto, {})

    def send(self, record, callback=None, option=NO_COPY, *, action=None, timeout=None):
        """Hand a record to librdkafka and return.

        With Auto it blocks while the queue is full, without the GIL; with Manual, and inside a callback of this
        producer, never. The record may be changed and sent again at once; the value's memory must not change before
        its report, unless `option` is SendOption.ToCopyRecordValue.

        Args:
            record: a ProducerRecord.
            callback: callback(metadata, error), once, when the record is delivered or has failed; `error` is None on
                success. None: nobody is told.
            option: a SendOption.
            action: an ActionWhileQueueIsFull; None: Block with Auto, NoBlock with Manual.
            timeout: seconds to wait for room in the queue (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: nothing was sent, and the callback will not run.
                RD_KAFKA_RESP_ERR__QUEUE_FULL (a BufferError): no room, or not in time.
                RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`.
                RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC: as far as is known already.
                RD_KAFKA_RESP_ERR__FATAL: the producer has failed; `error` says why.
                RD_KAFKA_RESP_ERR__STATE: a transactional producer outside a transaction.
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        cdef int64_t deadline = -1
        cdef bint block = self.auto
        cdef rd_kafka_resp_err_t err
        cdef ProducerRecord r = check_record(record)
        check_callback(callback)
        if action is not None:
            block = self.may_block(action)
        if timeout is not None:
            deadline = deadline_of(timeout)
        if block and self.client is not None and self.client.in_callback():
            block = False
        err = self.hand_over(r, callback, KP_CALLBACK, option, block, deadline)
        if err:
            raise KafkaException(self.refusal(err, r))

    cdef bint may_block(self, action) except -1:
        if action is NO_BLOCK:
            return False
        if action is not BLOCK:
            raise TypeError(f"action must be an ActionWhileQueueIsFull or None, not {action!r}")
        if not self.auto:
            raise RuntimeError("with EventsPollingOption.Manual a send that blocks would wait for ever: "
                               "call poll_events() to make room")
        return True

    def try_send(self, record, callback=None, option=NO_COPY):
        """As `send`, but never blocks and never raises for an error of Kafka's.

        Returns:
            None when the record was accepted; else the Error, and the callback will not run.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); the KafkaAsyncProducer::send that takes an error.
        """
        cdef rd_kafka_resp_err_t err
        cdef ProducerRecord r = check_record(record)
        check_callback(callback)
        try:
            err = self.hand_over(r, callback, KP_CALLBACK, option, False, 0)
        except KafkaException as exc:
            return exc.error
        if err:
            return self.refusal(err, r)
        return None

    def poll_events(self, timeout=0):
        """Run the callbacks that are due. With EventsPollingOption.Manual only.

        Blocks up to `timeout`, without the GIL.

        Args:
            timeout: seconds to wait for the first report (int, float or timedelta), None waits for ever.
        Returns:
            How many records were reported, with or without a callback.
        Raises:
            RuntimeError: with Auto, inside a callback of this producer, after `close`, or in a forked child.
            Whatever callbacks raised (a BaseExceptionGroup when several did).
        Source: rd_kafka_queue_poll(); KafkaAsyncProducer::pollEvents.
        """
        cdef Client client = self.opened()
        cdef int64_t deadline = deadline_of(timeout)
        cdef int64_t served
        cdef list raised = []
        if self.auto:
            raise RuntimeError("poll_events is for EventsPollingOption.Manual: with Auto a background thread polls")
        client.check_blocking("poll_events")
        kp_enter(&client.deliveries)
        try:
            while True:
                served = client.serve(remaining(deadline, 100), raised)
                if raised:
                    break
                PyErr_CheckSignals()
                if served or passed(deadline) or client.state != OPEN:
                    break
        finally:
            client.leave()
        raise_all(raised)
        return served


cdef class KafkaSyncProducer(Producer):
    """Sends a record and waits for its outcome. May be used by many threads at once.

    `linger.ms` is 0 unless it is set.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG, a property is unknown or bad, with librdkafka's reason;
            RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaSyncProducer.
    """

    def __init__(self, properties):
        self.start(properties, False, {"linger.ms": "0"})

    def send(self, record, timeout=None):
        """Send a record and wait until it is delivered.

        Blocks, without the GIL.

        Args:
            record: a ProducerRecord.
            timeout: seconds to wait (int, float or timedelta), None waits for ever; `message.timeout.ms` bounds the
                record's own life.
        Returns:
            The record's RecordMetadata.
        Raises:
            KafkaException: the record was not delivered.
                RD_KAFKA_RESP_ERR__TIMED_OUT (a TimeoutError): not reported in time; it may still be delivered.
                RD_KAFKA_RESP_ERR__MSG_TIMED_OUT (a TimeoutError): given up after `message.timeout.ms`.
                RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`.
                RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: there is none such.
                Any other error that librdkafka or a broker reports.
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaSyncProducer::send.
        """
        cdef Client client = self.opened()
        cdef int64_t deadline = deadline_of(timeout)
        cdef ProducerRecord r = check_record(record)
        cdef Waiter waiter = Waiter.__new__(Waiter)
        cdef rd_kafka_resp_err_t err
        client.check_blocking("send")
        err = self.hand_over(r, waiter, KP_WAITER, NO_COPY, True, deadline)
        if err:
            raise KafkaException(self.refusal(err, r))
        kp_enter(&client.deliveries)
        try:
            while not waiter.done:
                if passed(deadline):
                    raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                        "no report in time; the record may still be delivered")
                client.wait(0, deadline, None)
        except KeyboardInterrupt as exc:
            if not waiter.done:
                exc.add_note(f"the record for topic {r._topic!r} was handed to librdkafka and may still be delivered")
            raise
        finally:
            client.leave()
        if waiter.error is not None:
            raise KafkaException(waiter.error)
        return waiter.metadata
