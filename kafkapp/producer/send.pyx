"""Send path: unpacks a record, pins its memory, enqueues it.

Knows the limits of a record's size, and makes snapshots of records that wait for room in the queue. The outcome comes
back as a delivery report, through kafkapp.producer.delivery.
"""

from kafkapp.common.errors import KafkaException
from kafkapp.common.headers import Header
from kafkapp.producer.options import SendOption

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_MSG_F_COPY,
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR__STATE,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    rd_kafka_headers_destroy,
    rd_kafka_headers_t,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_t,
)
from kafkapp.client.client cimport Client
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.client.handle cimport OPEN, Topic
from kafkapp.common.atomics cimport KP_ADD, KP_OBJECT, KP_READ, kp_section, kp_section_begin, kp_section_end
from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.errors cimport new_error
from kafkapp.common.headers cimport new_header_list, new_headers
from kafkapp.common.timeouts cimport expired
from kafkapp.common.views cimport View, exporter_of, get_view, size_of
from kafkapp.producer.delivery cimport (
    KP_PLAIN,
    kp_deliveries,
    kp_delivery,
    kp_delivery_new,
    kp_enter,
    kp_epoch,
    kp_record_abandon,
    kp_record_begin,
    kp_view,
    release_delivery,
)
from kafkapp.producer.record cimport ProducerRecord, snapshot
from kafkapp.producer.service cimport deliveries_of, leave_sender, service_of
from kafkapp.producer.straight_send cimport NOT_STRAIGHT


cdef extern from "Python.h":
    PyObject *new_reference "Py_NewRef"(PyObject *thing)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "produce.h" nogil:
    const size_t KP_RELEASE_GIL_BYTES

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

cdef object NO_COPY = SendOption.NoCopyRecordValue
cdef object TO_COPY = SendOption.ToCopyRecordValue


cdef struct Payload:
    PyObject *given         # owned: the key or value of the record
    const void *data
    size_t size
    PyObject *owner         # borrowed: the immutable object that owns the memory, or NULL
    kp_view *view           # owned: the acquired buffer of any other exporter, or NULL


cdef struct Outgoing:
    # A record on its way into librdkafka's queue: what each step of enqueue() leaves to the next one.
    kp_record record        # its headers are owned until the record is accepted
    Payload value
    Payload key
    PyObject *record_id     # owned, as the next two; each may be NULL
    PyObject *headers
    PyObject *name          # of a topic other than the client's last one
    PyObject *topic         # borrowed: the Topic, which the client keeps
    kp_epoch *epoch         # counts the record; NULL: it is not counted
    kp_delivery *delivery   # owned until the record is accepted; NULL: a plain record, which has no state
    void *opaque            # of the message: the delivery, or the epoch of a plain record
    int refusal             # librdkafka's on the straight path, or 0: interceptors have seen that attempt


cdef inline void unpack(Outgoing *out, ProducerRecord record, Client client, bint with_id) noexcept:
    """Read all fields of a record at once: another thread may change it."""
    cdef kp_section section
    out.record_id = out.headers = out.name = NULL
    out.record.headers = NULL
    out.value.view = out.key.view = NULL
    kp_section_begin(&section, <PyObject *>record)
    out.value.given = new_reference(<PyObject *>record._value)
    out.key.given = new_reference(<PyObject *>record._key)
    if with_id and record._id is not None:
        out.record_id = new_reference(<PyObject *>record._id)
    if record._headers is not None:
        out.headers = new_reference(<PyObject *>record._headers)
    out.topic = KP_OBJECT(client.last_topic)
    if out.topic is NULL or (<Topic>out.topic).name is not record._topic:
        out.name = new_reference(<PyObject *>record._topic)
    out.record.timestamp = record._timestamp
    out.record.partition = record._partition
    kp_section_end(&section)


cdef inline int pin(Outgoing *out, Client client) except -1:
    """Find the memory that librdkafka will read, and the topic.

    An exporter may run any code here, also close the producer: nothing of the client is in use yet.
    """
    cdef PyObject *headers = out.headers
    cdef PyObject *name = out.name
    pin_payload(&out.value, out.value.given, "value")
    pin_payload(&out.key, out.key.given, "key")
    if headers is not NULL:
        out.record.headers = new_headers(<object>headers)
    if name is not NULL:
        client.check_open()
        out.topic = client.topic(<str>name)
    out.record.value, out.record.size = out.value.data, out.value.size
    out.record.key, out.record.key_size = out.key.data, out.key.size
    return 0


cdef inline int pin_payload(Payload *payload, PyObject *data, str what) except -1:
    """Find the memory of a key or value. Only an exporter other than `bytes` itself and `str` may run code here."""
    cdef Py_ssize_t size
    payload.owner = NULL
    if <object>data is None:
        payload.data = NULL
        payload.size = 0
    elif PyBytes_CheckExact(<object>data):      # a class derived from it may have a buffer of its own
        payload.data = PyBytes_AS_STRING(<object>data)
        payload.size = PyBytes_GET_SIZE(<object>data)
        payload.owner = data
    elif isinstance(<object>data, str):
        payload.data = PyUnicode_AsUTF8AndSize(<object>data, &size)    # cached by the string, for as long as it lives
        payload.size = size
        payload.owner = data
    elif isinstance(<object>data, View):
        if (<View>data).memory is NULL:
            return pin_payload(payload, <PyObject *>(<View>data).source, what)
        payload.data = (<View>data).memory
        payload.size = (<View>data).length
        payload.owner = data
    else:
        return pin_view(payload, <object>data, what)
    return 0


cdef int pin_view(Payload *payload, object data, str what) except -1:
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


cdef inline int add_state(Outgoing *out, kp_deliveries *d, object target, int kind) except -1:
    """Give the record a state, which owns its references: its report releases them, or release_delivery()."""
    cdef kp_delivery *delivery = kp_delivery_new(d)
    if delivery is NULL:
        raise MemoryError()
    out.opaque = out.delivery = delivery
    delivery.epoch = out.epoch.index
    delivery.kind = kind
    delivery.topic = (<Topic>out.topic).index
    if target is not None:
        delivery.target = new_reference(<PyObject *>target)
        delivery.record_id = out.record_id
        out.record_id = NULL
    if out.value.size and not out.record.flags:
        if out.value.view is not NULL:
            delivery.view = out.value.view
            delivery.holds_view = 1
            out.value.view = NULL
            KP_ADD(d.views, 1)
        else:
            delivery.value = new_reference(out.value.owner)
    return 0


cdef inline rd_kafka_resp_err_t produce(Outgoing *out, rd_kafka_t *rk) noexcept:
    """Enqueue. When this returns 0, all is librdkafka's, and the delivery report may already be here."""
    cdef rd_kafka_topic_t *rkt = <rd_kafka_topic_t *>(<Topic>out.topic).rkt
    cdef rd_kafka_resp_err_t err
    if out.refusal:
        return <rd_kafka_resp_err_t>out.refusal
    if out.record.key_size + (out.record.size if out.record.flags else 0) >= KP_RELEASE_GIL_BYTES:
        with nogil:
            err = kp_produce(rk, rkt, &out.record, out.opaque)
    else:
        err = kp_produce(rk, rkt, &out.record, out.opaque)
    if not err:
        out.epoch = NULL
        out.delivery = NULL
        out.record.headers = NULL
    return err


cdef int wait_for_room(Outgoing *out, Client client, int64_t seen, int64_t deadline) except -1:
    """Wait for a round after `seen`. Meanwhile the record is not counted: flush() does not wait for it."""
    kp_record_abandon(out.epoch)
    out.epoch = NULL
    client.wait(seen, deadline, None)
    out.epoch = kp_record_begin(deliveries_of(client))
    if out.delivery is NULL:
        out.opaque = KP_PLAIN(out.epoch)
    else:
        out.delivery.epoch = out.epoch.index
    client.check_open()
    return 0


cdef inline void release(Outgoing *out) noexcept:
    """Release what librdkafka or the record's state has not taken over. Finalizers may run here."""
    if out.record.headers is not NULL:
        rd_kafka_headers_destroy(out.record.headers)
    release_payload(&out.value)
    release_payload(&out.key)
    Py_XDECREF(out.record_id)
    Py_XDECREF(out.headers)
    Py_XDECREF(out.name)


cdef inline void release_payload(Payload *payload) noexcept:
    if payload.view is not NULL:
        kp_release_buffer(&payload.view.view)
        free(payload.view)
    Py_XDECREF(payload.given)


cdef inline rd_kafka_resp_err_t enqueue_pinned(Outgoing *out, Client client, object target, int kind, bint block,
                                               int64_t deadline) except? RD_KAFKA_RESP_ERR__FATAL:
    """Count this sender and the record first, then check that the producer is open: close() waits for what is counted.
    From here until the record is enqueued no foreign code runs, but while it waits for room."""
    cdef kp_deliveries *d = deliveries_of(client)
    cdef rd_kafka_resp_err_t err
    cdef int64_t seen
    out.delivery = NULL
    kp_enter(d)
    out.epoch = kp_record_begin(d)
    try:
        if KP_READ(client.state) != OPEN:
            client.check_open()
        out.opaque = KP_PLAIN(out.epoch)
        if target is not None or (out.value.size and not out.record.flags):
            add_state(out, d, target, kind)
        while True:
            seen = kp_rounds(&client.dispatcher)
            err = produce(out, client.rk)
            if not err:
                return err
            if err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE or (
                    err == RD_KAFKA_RESP_ERR__QUEUE_FULL and out.record.size > d.max_value):
                # Not even an empty queue has room for this value: waiting would never end.
                raise KafkaException(too_large_error(client, out.record.key_size, out.record.size,
                                                     kp_headers_size(out.record.headers)))
            if err != RD_KAFKA_RESP_ERR__QUEUE_FULL or not block or expired(deadline) or client.in_callback():
                return err
            wait_for_room(out, client, seen, deadline)
    finally:
        if out.epoch is not NULL:
            kp_record_abandon(out.epoch)
        if out.delivery is not NULL:
            release_delivery(d, out.delivery)
        leave_sender(client)


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


# -- one record ---------------------------------------------------------------------------------

cdef rd_kafka_resp_err_t enqueue(Client client, object record, object target, int kind, object option, bint block,
                                 int64_t deadline, int straight) except? RD_KAFKA_RESP_ERR__FATAL:
    cdef Outgoing out
    cdef bint copy
    if not isinstance(record, ProducerRecord):
        raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
    copy = False if option is NO_COPY else wants_copy(option)
    client.check_open()
    unpack(&out, <ProducerRecord>record, client, target is not None)
    try:
        out.record.flags = RD_KAFKA_MSG_F_COPY if copy else 0
        out.refusal = 0 if straight in (NOT_STRAIGHT, RD_KAFKA_RESP_ERR__QUEUE_FULL) else straight
        pin(&out, client)
        return enqueue_pinned(&out, client, target, kind, block, deadline)
    finally:
        release(&out)


cdef object enqueue_error(Client client, rd_kafka_resp_err_t err, ProducerRecord record):
    record = snapshot(record)
    if err == RD_KAFKA_RESP_ERR__FATAL:
        return client.fatal_error()
    if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
        text = (f"{client.service.outstanding()} records are in flight; queue.buffering.max.messages is "
                f"{client.get_property('queue.buffering.max.messages')}, queue.buffering.max.kbytes "
                f"{client.get_property('queue.buffering.max.kbytes')}")
    elif err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        text = f"topic {record._topic!r} has no partition {record._partition}"
    elif err == RD_KAFKA_RESP_ERR__STATE:
        text = "a transactional producer sends within begin_transaction() and commit_transaction()"
    else:
        return new_error(err)
    return new_error(err, f"{new_error(err).message}: {text}")


# -- room in the queue --------------------------------------------------------------------------

cdef object too_large_error(Client client, int64_t key_size, int64_t value_size, int64_t headers_size):
    headers = f", headers of {headers_size}" if headers_size else ""
    return new_error(
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        f"too large to be sent: a key of {key_size}{headers} and a value of {value_size} bytes; message.max.bytes is "
        f"{service_of(client).max_message_bytes}, queue.buffering.max.kbytes "
        f"{client.get_property('queue.buffering.max.kbytes')} (for values of up to {deliveries_of(client).max_value} "
        "bytes)")


cdef object never_fits_error(Client client, ProducerRecord record):
    # A record that only librdkafka's framing makes too large fails when it is enqueued.
    cdef int64_t key = size_of(record._key), value = size_of(record._value), headers_size
    cdef rd_kafka_headers_t *headers = new_headers(record._headers)
    headers_size = kp_headers_size(headers)
    if headers is not NULL:
        rd_kafka_headers_destroy(headers)
    if (value <= <int64_t>deliveries_of(client).max_value
            and key + value + headers_size <= service_of(client).max_message_bytes):
        return None
    return too_large_error(client, key, value, headers_size)


cdef object freeze(object data, bint copy):
    """A key or value as it is now: a copy, or a memoryview that holds its memory as librdkafka would."""
    data = exporter_of(data)
    if data is None or PyBytes_CheckExact(data) or isinstance(data, str):
        return data
    return bytes(memoryview(data)) if copy else memoryview(data)


cdef ProducerRecord queued_copy(ProducerRecord record, bint copy):
    """The user may change the record while the snapshot waits. Keys and headers are copied, as librdkafka does."""
    cdef ProducerRecord kept = snapshot(record)
    kept._key = freeze(kept._key, True)
    kept._value = freeze(kept._value, copy)
    if kept._headers is not None:
        # Checked again: the user may have put anything into the list.
        kept._headers = [Header(header.key, freeze(header.value, True)) if isinstance(header, Header) else
                         (header[0], freeze(header[1], True)) for header in new_header_list(kept._headers)]
    return kept
