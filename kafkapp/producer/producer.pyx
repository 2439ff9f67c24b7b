"""Producers: KafkaAsyncProducer and KafkaSyncProducer, the public classes and their contracts.

Knows clients, records and batches.
"""
from kafkapp.common.errors import KafkaException
from kafkapp.config import defaults
from kafkapp.config.properties import Properties
from kafkapp.producer.options import ActionWhileQueueIsFull, EventsPollingOption, SendOption

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR__TIMED_OUT, rd_kafka_resp_err_t
from kafkapp.client.blocking_calls cimport fetch_metadata
from kafkapp.client.client cimport DISPATCHES_ALL, DISPATCHES_EVENTS, KEEPS_EVENTS, Client
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport abandon, close
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport deadline_of, expired, remaining_ms
from kafkapp.producer.batch cimport Batch, new_batch, send_batch
from kafkapp.producer.delivery cimport KP_CALLBACK, KP_WAITER, Waiter
from kafkapp.producer.record cimport ProducerRecord, checked_topic
from kafkapp.producer.send cimport wants_copy
from kafkapp.producer.service cimport flush, purge
from kafkapp.producer.transactions cimport Transactional

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object thing)

cdef object BLOCK = ActionWhileQueueIsFull.Block
cdef object NO_BLOCK = ActionWhileQueueIsFull.NoBlock
cdef object NO_COPY = SendOption.NoCopyRecordValue


cdef class Producer(Transactional):
    """Base of both producers: their common methods. Not instantiated itself."""

    @property
    def name(self):
        """The name of the client in librdkafka's logs, str. Source: rd_kafka_name(); KafkaClient::name."""
        return self.get_client().name

    @property
    def client_id(self):
        """The `client.id` in force, str; random unless it was set. Source: KafkaClient::clientId."""
        return self.get_client().client_id

    @property
    def properties(self):
        """A copy of the Properties in force: those given, and kafkapp's defaults. Source: KafkaClient::properties."""
        return Properties(self.get_client().properties)

    def get_property(self, name):
        """The value in force of any property of librdkafka.

        Args:
            name: the property's name.
        Returns:
            The value as text, also after `close`; None: it has no value, or librdkafka does not know it.
        Source: rd_kafka_conf_get(); KafkaClient::getProperty.
        """
        return self.get_client().get_property(name)

    def __len__(self):
        """How many records are outstanding: enqueued, without a delivery report yet."""
        return self.get_client().service.count()

    def __bool__(self):
        return True

    def flush(self, timeout=None):
        """End lingering, and wait until all records sent before are reported and their callbacks have returned.

        Blocks, without the GIL. Ctrl-C ends the wait and leaves the records in flight.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: some records are still in flight.
            RuntimeError: in a delivery callback of this producer, in a signal handler during its `send_batch`, after
                `close`, or in a forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        flush(self.get_client(), deadline_of(timeout))

    def purge(self):
        """Fail all outstanding records: those in the queue with RD_KAFKA_RESP_ERR__PURGE_QUEUE, those sent to a broker,
        which may still be delivered, with RD_KAFKA_RESP_ERR__PURGE_INFLIGHT.

        Blocks until librdkafka has purged, at most a second: one of its threads that waits for a name server purges
        later. The delivery reports follow as always.

        Raises:
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_purge(); KafkaProducer::purge.
        """
        purge(self.get_client())

    def close(self, timeout=None):
        """Flush and close: when this returns every record has been reported and every callback has returned.

        Blocks, without the GIL. When the timeout has expired what is in flight is purged, and its callbacks run with
        RD_KAFKA_RESP_ERR__PURGE_QUEUE or RD_KAFKA_RESP_ERR__PURGE_INFLIGHT; a callback that runs for five seconds more
        is left to the background thread, with a RuntimeWarning, and so are those after it. Closing again does nothing.
        Ctrl-C leaves the producer open.

        Args:
            timeout: seconds (int, float or timedelta), None waits until the last record has expired
                (`message.timeout.ms`).
        Raises:
            RuntimeError: in a delivery callback of this producer, in a signal handler during its `send_batch`, or in a
                forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        close(self.get_client(), deadline_of(timeout))

    def fetch_broker_metadata(self, topic, timeout=10):
        """Ask the cluster for a topic's partitions, leaders and replicas.

        Blocks, without the GIL.

        Args:
            topic: the topic's name.
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            A BrokerMetadata.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT: no broker answered;
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and other errors of the topic.
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_metadata(); KafkaClient::fetchBrokerMetadata.
        """
        return fetch_metadata(self.get_client(), checked_topic(topic), deadline_of(timeout))

    def __enter__(self):
        self.get_client().check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.client is not None:
            # The last reference is gone, unless the garbage collector or a caller of __del__ holds another.
            abandon(self.client, Py_REFCNT(self) == 1)

    def _abandon(self):
        """As __del__ when the last reference goes. For kafkapp.aio."""
        abandon(self.get_client(), True)

    def __repr__(self):
        if self.client is None:
            return f"<{type(self).__name__} without a client>"
        return (f"<{type(self).__name__} {self.client.name}: "
                f"{self.client.service.count()} outstanding{'' if KP_READ(self.client.state) == OPEN else ', closed'}>")

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it owns connections and "
                        f"threads; create one in each process")

    def _ledger(self):
        """What is held for records in flight: dict of names and counts. For tests."""
        return self.get_client().ledger()


cdef inline ProducerRecord check_record(object record):
    if not isinstance(record, ProducerRecord):
        raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
    return <ProducerRecord>record


cdef inline int check_callback(object callback) except -1:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
    return 0


cdef class KafkaAsyncProducer(Producer):
    """Sends records without waiting for them; a callback gets the outcome of each.

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
        polling = EventsPollingOption.member(events_polling)
        if polling is None:
            raise TypeError(f"events_polling must be an EventsPollingOption, not {events_polling!r}")
        self.auto = polling is EventsPollingOption.Auto
        self.open_client(properties, DISPATCHES_ALL if self.auto else KEEPS_EVENTS, defaults.PRODUCER)

    def send(self, record, callback=None, option=NO_COPY, *, action=None, timeout=None):
        """Enqueue a record.

        With Auto it blocks while the queue is full, without the GIL; with Manual, and in a delivery callback of this
        producer, never. The record may be changed and sent again at once; its value's memory must not change before the
        delivery report, unless `option` is SendOption.ToCopyRecordValue.

        Args:
            record: a ProducerRecord.
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
        cdef rd_kafka_resp_err_t err
        cdef ProducerRecord r = check_record(record)
        check_callback(callback)
        if action is not None:
            block = self.may_block(action)
        if timeout is not None:
            deadline = deadline_of(timeout)
        if block and self.client is not None and self.client.in_callback():
            block = False
        err = self.enqueue(r, callback, KP_CALLBACK, option, block, deadline)
        if err:
            raise KafkaException(self.enqueue_error(err, r))

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

    def try_send(self, record, callback=None, option=NO_COPY):
        """As `send`, but never blocks, and returns Kafka's errors instead of raising them.

        Returns:
            None: the record was enqueued; else the Error, and the callback will not run.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); the KafkaAsyncProducer::send that takes an error.
        """
        cdef rd_kafka_resp_err_t err
        cdef ProducerRecord r = check_record(record)
        check_callback(callback)
        try:
            err = self.enqueue(r, callback, KP_CALLBACK, option, False, 0)
        except KafkaException as exc:
            return exc.error
        if err:
            return self.enqueue_error(err, r)
        return None

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=NO_COPY, timeout=None):
        """Enqueue many records in one call, without a Python object for each of them.

        With Auto it blocks while the queue is full, without the GIL, up to `timeout`; with Manual, and in a delivery
        callback of this producer, never. Records are enqueued in order: those that find no room are refused with
        RD_KAFKA_RESP_ERR__QUEUE_FULL; send `values[batch.next_index:]` again. A record that can never be sent is
        refused alone. The exporters are held until the batch is done and must not change before, unless `option` is
        SendOption.ToCopyRecordValue.

        Args:
            topic: the topic's name.
            values: a sequence of bytes-like objects, str or None; one buffer, with `offsets`; or an object with
                `__arrow_c_array__` (an Arrow array of binary, string or fixed-size binary values, nulls included).
            offsets: an int32 or int64 buffer of n + 1 places in `values`, as Arrow lays them out.
            keys: as `values`, or one key for all, or None.
            key_offsets: as `offsets`, for `keys`.
            partition: an int for all, an int32 buffer of n (-1: the partitioner chooses), or None.
            headers: of all records, as those of a ProducerRecord.
            timestamps: milliseconds since the epoch: an int for all or an int64 buffer of n; None: now.
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
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef int64_t reported
        cdef list raised = []
        if self.auto:
            raise RuntimeError("poll_events() is for EventsPollingOption.Manual: with Auto a background thread polls")
        client.check_blocking("poll_events")
        client.enter()
        try:
            while True:
                reported = client.dispatch(kp_rounds(&client.dispatcher), remaining_ms(deadline, 100), raised)
                if raised:
                    break
                PyErr_CheckSignals()
                if reported or expired(deadline) or KP_READ(client.state) != OPEN:
                    break
        except:
            report_all_unraisable(raised)
            raise
        finally:
            client.leave()
        raise_all(raised)
        return reported


cdef class KafkaSyncProducer(Producer):
    """Sends a record and waits for its outcome. Thread-safe: use one for many threads.

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
        self.open_client(properties, DISPATCHES_EVENTS, defaults.SYNC_PRODUCER)

    def send(self, record, timeout=None):
        """Send a record and wait until it is delivered.

        Blocks, without the GIL.

        Args:
            record: a ProducerRecord.
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
        cdef ProducerRecord r = check_record(record)
        cdef Waiter waiter = Waiter.__new__(Waiter)
        cdef rd_kafka_resp_err_t err
        client.check_blocking("send")
        err = self.enqueue(r, waiter, KP_WAITER, NO_COPY, True, deadline)
        if err:
            raise KafkaException(self.enqueue_error(err, r))
        try:
            if not client.wait_for(&waiter.done, deadline, None):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    "send: no delivery report before the timeout expired; the record may still be "
                                    "delivered")
        except KeyboardInterrupt as exc:
            if not KP_READ(waiter.done):
                exc.add_note(f"the record for topic {r._topic!r} is enqueued and may still be delivered")
            raise
        if waiter.error is not None:
            raise KafkaException(waiter.error)
        if waiter.metadata is None:
            raise MemoryError("no memory for the record's delivery report: it may or may not be delivered")
        return waiter.metadata

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=NO_COPY, timeout=None):
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
