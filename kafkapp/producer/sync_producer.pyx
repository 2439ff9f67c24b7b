"""KafkaSyncProducer: sends a record, or many, and waits for their outcomes."""
import kafkapp.producer.options      # defaults by their full names: inspect.signature() reads them from the docstring
from kafkapp.common.errors import KafkaException
from kafkapp.config import defaults
from kafkapp.producer.options import SendOption

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR__TIMED_OUT, rd_kafka_resp_err_t
from kafkapp.client.client cimport DISPATCHES_EVENTS, Client
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.callbacks cimport check_callback
from kafkapp.common.errors cimport new_exception
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.producer.batch cimport Batch, new_batch, send_batch
from kafkapp.producer.delivery cimport KP_WAITER, Waiter
from kafkapp.producer.producer cimport Producer
from kafkapp.producer.record cimport ProducerRecord, checked_topic
from kafkapp.producer.send cimport enqueue, enqueue_error, wants_copy
from kafkapp.producer.service cimport new_service
from kafkapp.producer.straight_send cimport enqueue_straight
from kafkapp.producer.topic_call cimport call_either, kp_method, put_before


cdef object NO_COPY = SendOption.NoCopyRecordValue


cdef class KafkaSyncProducer(Producer):
    """KafkaSyncProducer(properties)\n--\n
    Sends a record and waits for its outcome. Thread-safe: use one for many threads.

    `linger.ms` is 0 unless it is set.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value, with librdkafka's
            reason; RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaSyncProducer.
    """

    def __init__(self, properties):
        self.open_client(properties, DISPATCHES_EVENTS, new_service(), defaults.SYNC_PRODUCER)

    def send(self, record, timeout=None):
        """Send a record and wait until it is delivered: send("orders", value, key=key), or send(record).

        Blocks, without the GIL.

        Args:
            record: a topic's name (str) and behind it the value, or a ProducerRecord. With a topic all else is given
                by name, also key, partition, headers, timestamp and id as a ProducerRecord has them.
            timeout: seconds to wait (int, float or timedelta), None waits forever. The record itself expires after
                `message.timeout.ms`.
        Returns:
            The record's RecordMetadata.
        Raises:
            KafkaException: the record was not delivered.
                RD_KAFKA_RESP_ERR__TIMED_OUT (a TimeoutError): `timeout` has expired; the record may still be delivered.
                RD_KAFKA_RESP_ERR__MSG_TIMED_OUT (a TimeoutError): it expired after `message.timeout.ms`.
                RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`, or a value larger
                than all of `queue.buffering.max.kbytes`.
                RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: it does not exist.
                Any other error that librdkafka or a broker reports.
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaSyncProducer::send.
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef Waiter waiter = Waiter.__new__(Waiter)
        cdef rd_kafka_resp_err_t err
        cdef int straight
        client.check_blocking("send")
        straight = enqueue_straight(client, <PyObject *>record, <PyObject *>waiter, KP_WAITER, <PyObject *>NO_COPY)
        if straight:
            err = enqueue(client, record, waiter, KP_WAITER, NO_COPY, True, deadline, straight)
            if err:
                raise KafkaException(enqueue_error(client, err, record))
        try:
            if not client.wait_for(&waiter.done, deadline, None):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    "send: no delivery report before the timeout expired; the record may still be "
                                    "delivered")
        except KeyboardInterrupt as exc:
            if not KP_READ(waiter.done):
                exc.add_note(f"the record for topic {(<ProducerRecord>record)._topic!r} is enqueued and may still be "
                             "delivered")
            raise
        if waiter.error is not None:
            raise KafkaException(waiter.error)
        if waiter.metadata is None:
            raise MemoryError("no memory for the record's delivery report: it may or may not be delivered")
        return waiter.metadata

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=kafkapp.producer.options.SendOption.NoCopyRecordValue,
                   timeout=None):
        """Send many records in one call and wait until each is reported.

        Blocks, without the GIL. The arguments are those of KafkaAsyncProducer.send_batch.

        Returns:
            A Batch that is done; if `timeout` expired first, one that is not, whose records may still be delivered.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
            TypeError, ValueError, BufferError: an argument is malformed; nothing was queued.
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_produce_batch().
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef Batch batch
        cdef bint copy
        client.check_blocking("send_batch")
        topic = checked_topic(topic)
        check_callback(callback)
        copy = wants_copy(option)
        batch = new_batch(topic, values, offsets, keys, key_offsets, callback)
        send_batch(client, batch, partition, headers, timestamps, copy, True, deadline)
        try:
            client.wait_for(&batch.callback_done, deadline, None)
        except KeyboardInterrupt as exc:
            batch.note_outstanding(exc)
            raise
        return batch


export_as(KafkaSyncProducer, "kafkapp.KafkaSyncProducer")


cdef object send_to_topic(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    return call_either(general_send, "send", self, args, count, names)


cdef kp_method general_send = put_before(KafkaSyncProducer, "send", send_to_topic)
