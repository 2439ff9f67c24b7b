"""KafkaAsyncProducer: sends records without waiting; callbacks get their outcomes."""
import kafkapp.producer.options      # defaults by their full names: inspect.signature() reads them from the docstring
from kafkapp.common.errors import KafkaException
from kafkapp.config import defaults
from kafkapp.common.options import EventsPollingOption
from kafkapp.producer.options import ActionWhileQueueIsFull

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_PARTITION_UA, rd_kafka_resp_err_t
from kafkapp.client.client cimport DISPATCHES_ALL, KEEPS_EVENTS, Client
from kafkapp.client.kafka_client cimport is_auto
from kafkapp.common.callbacks cimport check_callback
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.producer.batch cimport Batch, new_batch, send_batch
from kafkapp.producer.delivery cimport KP_CALLBACK
from kafkapp.producer.producer cimport Producer
from kafkapp.producer.record cimport ProducerRecord, checked_topic
from kafkapp.producer.send cimport enqueue, enqueue_error, wants_copy
from kafkapp.producer.service cimport new_service
from kafkapp.producer.straight_send cimport (
    NONE,
    NOT_STRAIGHT,
    enqueue_fields,
    enqueue_straight,
    kp_fields,
    kp_plain_partition,
    type_of,
)
from kafkapp.producer.topic_call cimport call_either, call_with_record, is_topic_call, kp_method, put_before

cdef object BLOCK = ActionWhileQueueIsFull.Block
cdef object NO_BLOCK = ActionWhileQueueIsFull.NoBlock


cdef class KafkaAsyncProducer(Producer):
    """KafkaAsyncProducer(properties, events_polling=EventsPollingOption.Auto)\n--\n
    Sends records without waiting for them; a callback gets the outcome of each.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
        events_polling: EventsPollingOption.Auto: a background thread runs the callbacks; Manual: `poll_events`,
            `flush` and `close` do.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value, with librdkafka's
            reason; RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaAsyncProducer.
    """
    cdef bint auto

    def __init__(self, properties, events_polling=EventsPollingOption.Auto):
        cdef bint auto = is_auto(events_polling)
        self.open_client(properties, DISPATCHES_ALL if auto else KEEPS_EVENTS, new_service(), defaults.PRODUCER)
        self.auto = auto

    def send(self, record, callback=None, option=kafkapp.producer.options.SendOption.NoCopyRecordValue, *,
             action=None, timeout=None):
        """Enqueue a record: send("orders", value, key=key, callback=callback), or send(record, callback).

        With Auto it blocks while the queue is full, without the GIL; with Manual, and in a delivery callback of this
        producer, never. The record may be changed and sent again at once; its value's memory must not change before the
        delivery report, unless `option` is SendOption.ToCopyRecordValue.

        Args:
            record: a topic's name (str) and behind it the value, or a ProducerRecord. With a topic all else is given
                by name, also key, partition, headers, timestamp and id as a ProducerRecord has them.
            callback: callback(metadata, error), once, when the record is delivered or has failed; `error` is None on
                success.
            option: a SendOption.
            action: an ActionWhileQueueIsFull; None: Block with Auto, NoBlock with Manual.
            timeout: seconds to wait for room in the queue (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: nothing was enqueued, and the callback will not run.
                RD_KAFKA_RESP_ERR__QUEUE_FULL (a BufferError): no room, or none before the timeout expired.
                RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`, or a value larger
                than all of `queue.buffering.max.kbytes`.
                RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC: if known already.
                RD_KAFKA_RESP_ERR__FATAL: the producer has had a fatal error; `error` says which.
                RD_KAFKA_RESP_ERR__STATE: a transactional producer outside a transaction.
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        cdef int64_t deadline = -1
        cdef bint block = self.auto
        cdef int straight
        cdef Client client = self.client
        if client is None:
            self.get_client()
        if action is not None:
            block = self.may_block(action)
        if timeout is not None:
            deadline = deadline_of(timeout)
        straight = enqueue_straight(client, <PyObject *>record, <PyObject *>callback, KP_CALLBACK, <PyObject *>option)
        if straight:
            finish_send(client, record, callback, option, block, deadline, straight)

    cdef bint may_block(self, action) except -1:
        member = ActionWhileQueueIsFull.member(action)
        if member is NO_BLOCK:
            return False
        if member is not BLOCK:
            raise TypeError(f"action must be an ActionWhileQueueIsFull or None, not {action!r}")
        if not self.auto:
            raise RuntimeError("KafkaAsyncProducer.send() with ActionWhileQueueIsFull.Block would wait forever with "
                               "EventsPollingOption.Manual: call poll_events() to make room")
        return True

    def try_send(self, record, callback=None, option=kafkapp.producer.options.SendOption.NoCopyRecordValue):
        """As `send`, with a topic or a record, but never blocks, and returns Kafka's errors instead of raising them.

        Returns:
            None: the record was enqueued; else the Error, and the callback will not run.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); the KafkaAsyncProducer::send that takes an error.
        """
        cdef rd_kafka_resp_err_t err
        cdef int straight
        cdef Client client = self.get_client()
        straight = enqueue_straight(client, <PyObject *>record, <PyObject *>callback, KP_CALLBACK, <PyObject *>option)
        if not straight:
            return None
        check_callback(callback)
        try:
            err = enqueue(client, record, callback, KP_CALLBACK, option, False, 0, straight)
        except KafkaException as exc:
            return exc.error
        if err:
            return enqueue_error(client, err, record)
        return None

    def send_future(self, record, option=kafkapp.producer.options.SendOption.NoCopyRecordValue, *, action=None,
                    timeout=None):
        """As `send`, with a topic or a record, and returns a future of its outcome in place of a callback.

        With Manual the future is done by `poll_events`, `flush` and `close`: to wait for it alone would never end.

        Returns:
            A concurrent.futures.Future of the RecordMetadata, which raises KafkaException when the record was not
            delivered. It cannot be cancelled. What it calls runs where callbacks do. Failures that nobody retrieves are
            logged, in sum.
        Raises:
            Exception: as `send`.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        from kafkapp.producer.record_future import RecordFuture     # on demand: it doubles the time of an import
        topic = (<ProducerRecord>record)._topic if isinstance(record, ProducerRecord) else ""
        future = RecordFuture(self.get_client().name, topic, getattr(record, "id", None))
        KafkaAsyncProducer.send(self, record, future.complete, option, action=action, timeout=timeout)
        return future

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=kafkapp.producer.options.SendOption.NoCopyRecordValue,
                   timeout=None):
        """Enqueue many records in one call, without a Python object for each of them.

        With Auto it blocks while the queue is full, without the GIL, up to `timeout`; with Manual, and in a delivery
        callback of this producer, never. Records are enqueued in order: those that find no room are refused with
        RD_KAFKA_RESP_ERR__QUEUE_FULL; send `values[batch.next_index:]` again. A record that can never be sent is
        refused alone. The exporters are held until the batch is done and must not change before, unless `option` is
        SendOption.ToCopyRecordValue.

        Args:
            topic: the topic's name.
            values: a sequence of bytes-like objects, str or None; one buffer, with `offsets`; or an object with
                `__arrow_c_array__` or `__arrow_c_stream__`: an Arrow array, or chunks of one, of binary, string or
                fixed-size binary values, nulls and dictionaries included. A stream is read to its end first, whatever
                `timeout` is.
            offsets: an int32 or int64 buffer of n + 1 places in `values`, as Arrow lays them out.
            keys: as `values`, or one key for all, or None.
            key_offsets: as `offsets`, for `keys`.
            partition: an int for all, an int32 buffer of n (-1: the partitioner chooses), or None.
            headers: of all records, as those of a ProducerRecord; or of each: a list of None, dicts or such lists, or
                an Arrow array or stream of maps, or of lists of structs with the fields key and value.
            timestamps: milliseconds since the epoch: an int or an aware datetime for all, an int64 buffer of n, or an
                Arrow array or stream of int64; or Arrow's timestamps or NumPy's datetime64: UTC if they have no time
                zone, rounded down. None, null and NaT: now.
            callback: callback(batch), once, after the last delivery report; never if `batch.accepted` is 0.
            option: a SendOption.
            timeout: seconds to wait for room in the queue (int, float or timedelta), None waits forever.
        Returns:
            A Batch, with the outcome of every record.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
            TypeError, ValueError, BufferError: an argument is malformed; nothing was queued.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce_batch().
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef Batch batch
        cdef bint copy
        client.check_open()
        topic = checked_topic(topic)
        check_callback(callback)
        copy = wants_copy(option)
        batch = new_batch(topic, values, offsets, keys, key_offsets, callback)
        send_batch(client, batch, partition, headers, timestamps, copy, self.auto and not client.in_callback(),
                   deadline)
        return batch

    def poll_events(self, timeout=0):
        """Dispatch the delivery reports that have come: run their callbacks. With EventsPollingOption.Manual only.

        Blocks up to `timeout`, without the GIL.

        Args:
            timeout: seconds to wait for the first delivery report (int, float or timedelta), None waits forever.
        Returns:
            How many records were reported (int), with or without a callback.
        Raises:
            RuntimeError: with Auto, inside a callback of this producer, after `close`, or in a forked child.
            Exception: what callbacks raised (several: as a BaseExceptionGroup).
        Source: rd_kafka_queue_poll(); KafkaAsyncProducer::pollEvents.
        """
        return self.get_client().poll_events(deadline_of(timeout))


export_as(KafkaAsyncProducer, "kafkapp.KafkaAsyncProducer")


# -- the straight path of send() ----------------------------------------------------------------

cdef extern from "Python.h":
    PyObject *PyTuple_GET_ITEM(PyObject *items, Py_ssize_t i)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *items)


cdef object straight_send(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    """send(record), send(record, callback) and send(record, callback, option) without Cython's parsing of arguments."""
    cdef PyObject *client = <PyObject *>(<KafkaAsyncProducer>self).client
    cdef Py_ssize_t given = count
    if (not count or type_of(args[0]) != <PyObject *>ProducerRecord) and is_topic_call(args, count, names):
        return straight_topic_call(self, args, count, names)
    if names != NULL and count == 1 and PyTuple_GET_SIZE(names) == 1 and (
            PyTuple_GET_ITEM(names, 0) == <PyObject *>CALLBACK):
        given = 2           # its value comes behind the positional arguments
    elif names != NULL:
        given = 0
    if not 1 <= given <= 3 or client == NONE:
        return general_send(self, args, count, names)
    cdef PyObject *callback = args[1] if given > 1 else NONE
    cdef PyObject *option = args[2] if given > 2 else <PyObject *>NO_COPY
    cdef int straight = enqueue_straight(<Client>client, args[0], callback, KP_CALLBACK, option)
    if straight:
        finish_send(<Client>client, <object>args[0], <object>callback, <object>option, (<KafkaAsyncProducer>self).auto,
                    -1, straight)
    return None


cdef object straight_topic_call(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    """send("topic", value, ...) without a record, where nothing else is given than what most programs give."""
    cdef PyObject *client = <PyObject *>(<KafkaAsyncProducer>self).client
    cdef kp_fields fields
    cdef PyObject *callback = NONE
    cdef int straight
    if client == NONE or not read_fields(&fields, &callback, args, count, names):
        return call_with_record(general_send, "send", self, args, count, names)
    straight = enqueue_fields(<Client>client, &fields, callback, KP_CALLBACK, <PyObject *>NO_COPY)
    if straight == NOT_STRAIGHT:
        return call_with_record(general_send, "send", self, args, count, names)
    if straight:
        record = ProducerRecord(<object>fields.topic, None if fields.partition < 0 else fields.partition,
                                <object>fields.key, <object>fields.value, <object>fields.id)
        finish_send(<Client>client, record, <object>callback, NO_COPY, (<KafkaAsyncProducer>self).auto, -1, straight)
    return None


cdef inline bint read_fields(kp_fields *fields, PyObject **callback, PyObject **args, Py_ssize_t count,
                             PyObject *names) noexcept:
    """False: there are other arguments, or some that are to be checked."""
    cdef Py_ssize_t i
    cdef PyObject *name
    if count != 2 or type_of(args[0]) != <PyObject *>str:
        return False
    fields.topic = args[0]
    fields.value = args[1]
    fields.key = fields.id = NONE
    fields.partition = RD_KAFKA_PARTITION_UA
    if names == NULL:
        return True
    for i in range(PyTuple_GET_SIZE(names)):
        name = PyTuple_GET_ITEM(names, i)
        if name == <PyObject *>CALLBACK:
            callback[0] = args[count + i]
        elif name == <PyObject *>KEY:
            fields.key = args[count + i]
        elif name == <PyObject *>ID:
            fields.id = args[count + i]
        elif name != <PyObject *>PARTITION or not kp_plain_partition(args[count + i], &fields.partition):
            return False
    return True


cdef int finish_send(Client client, object record, object callback, object option, bint block, int64_t deadline,
                     int straight) except -1:
    """Send what enqueue_straight() has not sent, or raise."""
    cdef rd_kafka_resp_err_t err
    check_callback(callback)
    err = enqueue(client, record, callback, KP_CALLBACK, option, block, deadline, straight)
    if err:
        raise KafkaException(enqueue_error(client, err, record))
    return 0


cdef object send_future_to_topic(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    return call_either(general_send_future, "send_future", self, args, count, names)


cdef object try_send_to_topic(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    return call_either(general_try_send, "try_send", self, args, count, names)


# Interned, as names of arguments are.
cdef object CALLBACK = "callback"
cdef object KEY = "key"
cdef object ID = "id"
cdef object PARTITION = "partition"
cdef object NO_COPY = kafkapp.producer.options.SendOption.NoCopyRecordValue
cdef kp_method general_send = put_before(KafkaAsyncProducer, "send", straight_send)
cdef kp_method general_send_future = put_before(KafkaAsyncProducer, "send_future", send_future_to_topic)
cdef kp_method general_try_send = put_before(KafkaAsyncProducer, "try_send", try_send_to_topic)
