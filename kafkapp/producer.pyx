"""The producers: what a user calls, and what it promises.

Layer L7: knows clients, records and batches.
"""
from kafkapp.config import Properties
from kafkapp.errors import KafkaException
from kafkapp.options import ActionWhileQueueIsFull, EventsPollingOption, SendOption

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp.batch cimport Batch, send_batch
from kafkapp.client cimport DISPATCHES_ALL, DISPATCHES_EVENTS, KEEPS_EVENTS, Client
from kafkapp.delivery cimport KP_CALLBACK, KP_READ, KP_WAITER, Waiter, kp_rounds, raise_all, report_all_unraisable
from kafkapp.ending cimport abandon, close
from kafkapp.errors cimport new_exception
from kafkapp.handle cimport OPEN
from kafkapp.librdkafka cimport RD_KAFKA_RESP_ERR__TIMED_OUT, rd_kafka_resp_err_t
from kafkapp.records cimport ProducerRecord
from kafkapp.requests cimport fetch_metadata, purge
from kafkapp.sender cimport copies
from kafkapp.timeouts cimport deadline_of, expired, remaining_ms
from kafkapp.transactions cimport Transactional

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object thing)

cdef object BLOCK = ActionWhileQueueIsFull.Block
cdef object NO_BLOCK = ActionWhileQueueIsFull.NoBlock
cdef object NO_COPY = SendOption.NoCopyRecordValue


cdef class Producer(Transactional):
    """What both producers offer. Not to be made itself."""

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
        """A copy of the Properties in force: what was given, and our defaults. Source: KafkaClient::properties."""
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
        return self.opened().outstanding()

    def __bool__(self):
        return True

    def flush(self, timeout=None):
        """Send what lingers, and wait until all that was sent before is reported and its callbacks have returned.

        Blocks, without the GIL; Ctrl-C ends it, and leaves the records in flight.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT, some records are still in flight.
            RuntimeError: inside a callback of this producer, in a signal's handler within a `send_batch` of it, after
                `close`, or in a forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        self.opened().flush(deadline_of(timeout))

    def purge(self):
        """Give up all records in flight: those in the queue fail with RD_KAFKA_RESP_ERR__PURGE_QUEUE, those on their
        way, which may still arrive, with RD_KAFKA_RESP_ERR__PURGE_INFLIGHT.

        Blocks until librdkafka has purged, at most a second: a thread of its that waits for a name server purges
        afterwards. The reports follow as always.

        Raises:
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_purge(); KafkaProducer::purge.
        """
        purge(self.opened())

    def close(self, timeout=None):
        """Flush, and end: when this returns every record has been reported and every callback has returned.

        Blocks, without the GIL. When the time is over what is in flight is purged, and its callbacks run with
        RD_KAFKA_RESP_ERR__PURGE_QUEUE or RD_KAFKA_RESP_ERR__PURGE_INFLIGHT; a callback that goes on for five seconds
        more is left to the background thread, with a RuntimeWarning, and so are those after it. Closing again does
        nothing. Ctrl-C leaves the producer open.

        Args:
            timeout: seconds (int, float or timedelta), None waits for as long as records may live
                (`message.timeout.ms`).
        Raises:
            RuntimeError: inside a callback of this producer, in a signal's handler within a `send_batch` of it, or in a
                forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        close(self.opened(), deadline_of(timeout))

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
        return fetch_metadata(self.opened(), checked_topic(topic), deadline_of(timeout))

    def __enter__(self):
        self.opened().check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.client is not None:
            # Its last reference is gone; or the garbage collector has one more, or who calls this.
            abandon(self.client, Py_REFCNT(self) == 1)

    def _drop(self):
        """As the last reference to it goes. For kafkapp.aio."""
        abandon(self.opened(), True)

    def __repr__(self):
        if self.client is None:
            return f"<{type(self).__name__} without a client>"
        return (f"<{type(self).__name__} {self.client.name}: "
                f"{self.client.outstanding()} outstanding{'' if KP_READ(self.client.state) == OPEN else ', closed'}>")

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it owns connections and a thread")

    def _ledger(self):
        """What is held for records in flight. For tests."""
        return self.opened().ledger()


cdef inline ProducerRecord check_record(object record):
    if not isinstance(record, ProducerRecord):
        raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
    return <ProducerRecord>record


cdef str checked_topic(object topic):
    """The name of a topic, of type str proper, as a record takes it."""
    return (<ProducerRecord>ProducerRecord(topic))._topic


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
        polling = EventsPollingOption.member(events_polling)
        if polling is None:
            raise TypeError(f"events_polling must be an EventsPollingOption, not {events_polling!r}")
        self.auto = polling is EventsPollingOption.Auto
        self.start(properties, DISPATCHES_ALL if self.auto else KEEPS_EVENTS, {})

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
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`, or a value larger
                than all of `queue.buffering.max.kbytes`.
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
        member = ActionWhileQueueIsFull.member(action)
        if member is NO_BLOCK:
            return False
        if member is not BLOCK:
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

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=NO_COPY, timeout=None):
        """Hand many records to librdkafka in one call, without a Python object for any of them.

        With Auto it blocks while the queue is full, without the GIL, up to `timeout`; with Manual, and inside a
        callback of this producer, never. Items are accepted in order: what finds no room is refused with
        RD_KAFKA_RESP_ERR__QUEUE_FULL, and `values[batch.next_index:]` goes on. An item that can never be sent is
        refused alone. The exporters are held until the batch is done and must not change before, unless `option` is
        SendOption.ToCopyRecordValue.

        Args:
            topic: the topic's name.
            values: a sequence of bytes-like objects, str or None; one buffer, with `offsets`; or an object with
                `__arrow_c_array__` (an Arrow array of binary, string or fixed-size binary values, nulls included).
            offsets: an int32 or int64 buffer of n + 1 places in `values`, as Arrow lays them out.
            keys: likewise, or one key for all, or None.
            key_offsets: the same for `keys`.
            partition: an int for all, an int32 buffer of n (-1: the partitioner chooses), or None.
            headers: for all, as a ProducerRecord's.
            timestamps: milliseconds since the epoch: an int for all or an int64 buffer of n; None: now.
            callback: callback(batch), once, after the last report of an accepted item.
            option: a SendOption.
            timeout: seconds to wait for room in the queue (int, float or timedelta), None waits for ever.
        Returns:
            A Batch, which has an outcome for every item.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
            TypeError, ValueError, BufferError: an argument is malformed; nothing was queued.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_produce_batch().
        """
        cdef Client client = self.opened()
        cdef int64_t deadline = deadline_of(timeout)
        client.check_open()
        topic = checked_topic(topic)
        check_callback(callback)
        return send_batch(client, topic, values, offsets, keys, key_offsets, partition, headers, timestamps, callback,
                          copies(option), self.auto and not client.in_callback(), deadline)

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
        client.enter()
        try:
            while True:
                served = client.dispatch(kp_rounds(&client.deliveries), remaining_ms(deadline, 100), raised)
                if raised:
                    break
                PyErr_CheckSignals()
                if served or expired(deadline) or KP_READ(client.state) != OPEN:
                    break
        except:
            report_all_unraisable(raised)
            raise
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
        self.start(properties, DISPATCHES_EVENTS, {"linger.ms": "0"})

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
                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE (a ValueError): larger than `message.max.bytes`, or a value larger
                than all of `queue.buffering.max.kbytes`.
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
        try:
            if not client.wait_for(&waiter.done, deadline, None):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    "no report in time; the record may still be delivered")
        except KeyboardInterrupt as exc:
            if not KP_READ(waiter.done):
                exc.add_note(f"the record for topic {r._topic!r} was handed to librdkafka and may still be delivered")
            raise
        if waiter.error is not None:
            raise KafkaException(waiter.error)
        if waiter.metadata is None:
            raise MemoryError("the record was reported, but there was no memory to say how")
        return waiter.metadata

    def send_batch(self, topic, values, *, offsets=None, keys=None, key_offsets=None, partition=None, headers=None,
                   timestamps=None, callback=None, option=NO_COPY, timeout=None):
        """Send many records in one call and wait until each is reported.

        Blocks, without the GIL. The arguments are those of KafkaAsyncProducer.send_batch.

        Returns:
            A Batch that is done; when `timeout` was over first, one that is not, whose records may still be delivered.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG (a ValueError): the topic is empty or longer than 512 bytes.
            TypeError, ValueError, BufferError: an argument is malformed; nothing was queued.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_produce_batch().
        """
        cdef Client client = self.opened()
        cdef int64_t deadline = deadline_of(timeout)
        cdef Batch batch
        client.check_blocking("send_batch")
        topic = checked_topic(topic)
        check_callback(callback)
        batch = send_batch(client, topic, values, offsets, keys, key_offsets, partition, headers, timestamps, callback,
                           copies(option), True, deadline)
        try:
            client.wait_for(&batch.called, deadline, None)
        except KeyboardInterrupt as exc:
            batch.note(exc)
            raise
        return batch
