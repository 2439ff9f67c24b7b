"""Outbox: enqueues records and batches; those that find no room wait here, in order. And `send`.

Knows clients and futures; of the loop only whether it runs in this thread. Never blocks.
"""
from _weakref import ref
from collections import deque

import kafkapp.producer.options      # defaults by their full names: inspect.signature() reads them from the docstring
from kafkapp.common.errors import KafkaException

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    rd_kafka_resp_err_t,
)
from kafkapp.aio.futures cimport CompletedFutures, SendFuture
from kafkapp.aio.loop_client cimport LoopClient
from kafkapp.client.client cimport Client
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.callbacks cimport check_callback
from kafkapp.common.errors cimport new_error
from kafkapp.producer.batch cimport Batch, BatchSend, new_batch, new_batch_send
from kafkapp.producer.delivery cimport KP_CALLBACK, KP_FUTURE
from kafkapp.producer.record cimport ProducerRecord, checked_topic
from kafkapp.producer.send cimport enqueue, enqueue_error, never_fits_error, queued_copy, wants_copy
from kafkapp.producer.service cimport deliveries_of, service_of
from kafkapp.producer.straight_send cimport enqueue_straight
from kafkapp.producer.topic_call cimport call_either, kp_method, put_before


@cython.final
cdef class WaitingRecord:
    """A record that waits for room in librdkafka's queue, as it was when `send` was called."""
    cdef ProducerRecord record
    cdef SendFuture future
    cdef object option


@cython.final
cdef class WaitingBatch:
    """A batch whose first records, or none, have found room."""
    cdef BatchSend sending      # None: no more of it is to be enqueued
    cdef object done            # done(batch), when the last record has its delivery report or all are refused

    cdef int64_t count(self) noexcept:
        return 0 if self.sending is None else len(self.sending.batch) - self.sending.batch.next_index

    cdef int end(self, rd_kafka_resp_err_t err) except -1:
        cdef BatchSend sending = self.sending
        self.sending = None
        sending.end(err)
        if not sending.batch.accepted:
            self.done(sending.batch)        # there will be no report
        return 0

    cdef int fail(self, rd_kafka_resp_err_t err) except -1:
        """Refuse what is not enqueued yet."""
        if self.sending is not None and self.sending.resume():
            self.end(err)
        return 0


@cython.final
cdef class Outbox:
    """The way of one producer's records into librdkafka's queue. To be used in the thread of its loop."""
    cdef Client client
    cdef readonly CompletedFutures completed    # they outlive a producer that is garbage-collected
    cdef public bint closed                     # no record is accepted
    cdef public bint full                       # try_send() has found no room, and no record was reported since
    cdef object waiting                         # deque of WaitingRecord and WaitingBatch
    cdef readonly int64_t waited                # how many of them have ever been put into `waiting`
    cdef readonly int64_t left                  # how many have left it
    cdef object __weakref__

    def __cinit__(self, LoopClient client not None):
        self.client = client.client
        self.completed = CompletedFutures.__new__(CompletedFutures)
        self.completed.client = self.client.name
        self.waiting = deque()
        service_of(self.client).outbox = ref(self)

    def __len__(self):
        cdef int64_t count = self.waited - self.left
        for entry in self.waiting:
            if isinstance(entry, WaitingBatch):
                count += (<WaitingBatch>entry).count() - 1
        return count

    def has_room(self):
        """Whether nothing waits for room, and a record would find it."""
        return self.waited == self.left and not (self.full and self.client.service.count())

    def is_dispatched(self):
        """Whether its loop runs."""
        return self.completed.loop is not None and self.completed.is_running()

    def topics(self):
        """How many records wait, by topic: dict."""
        counts = {}
        for entry in list(self.waiting):
            if isinstance(entry, WaitingRecord):
                topic, count = (<WaitingRecord>entry).record._topic, 1
            elif (<WaitingBatch>entry).sending is not None:
                topic, count = (<WaitingBatch>entry).sending.batch.topic, (<WaitingBatch>entry).count()
            else:
                continue
            counts[topic] = counts.get(topic, 0) + count
        return counts

    cdef bint try_enqueue(self, ProducerRecord record, SendFuture future, object option) except -1:
        """Returns False when the queue is full. Any other refusal completes the future with its error."""
        cdef rd_kafka_resp_err_t err
        cdef int straight = enqueue_straight(self.client, <PyObject *>record, <PyObject *>future, KP_FUTURE,
                                             <PyObject *>option)
        if not straight:
            return True
        try:
            err = enqueue(self.client, record, future, KP_FUTURE, option, False, 0, straight)
        except KafkaException as exc:
            future.resolve(None, exc.error)
            return True
        if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            return False
        if err:
            future.resolve(None, enqueue_error(self.client, err, record))
        return True

    cdef int add_waiting(self, ProducerRecord record, SendFuture future, object option) except -1:
        cdef WaitingRecord waiting
        self.client.check_open()
        waiting = WaitingRecord.__new__(WaitingRecord)
        waiting.record = queued_copy(record, wants_copy(option))
        error = never_fits_error(self.client, waiting.record)
        if error is not None:
            future.resolve(None, error)
            return 0
        waiting.future = future
        waiting.option = option
        return self.wait(waiting)

    cdef int wait(self, entry) except -1:
        self.waiting.append(entry)
        self.waited += 1
        return 0

    def send_batch(self, str topic, values, offsets, keys, key_offsets, partition, headers, timestamps, option,
                   bint block, done):
        """Enqueue what there is room for; if `block`, the rest waits. done(batch) is called once.

        Returns:
            What to expire() when the rest shall wait no longer; None: nothing waits.
        """
        cdef WaitingBatch entry = WaitingBatch.__new__(WaitingBatch)
        cdef Batch batch
        cdef bint copy
        self.client.check_open()
        topic = checked_topic(topic)
        copy = wants_copy(option)
        batch = new_batch(topic, values, offsets, keys, key_offsets, done)
        batch.awaited = True
        entry.done = done
        entry.sending = new_batch_send(self.client, batch, partition, headers, timestamps, copy)
        entry.sending.begin()
        if self.enqueue_items(entry, block):
            return None
        try:
            self.wait(entry)
        except:
            entry.fail(RD_KAFKA_RESP_ERR__QUEUE_FULL)
            raise
        return entry

    cdef bint enqueue_items(self, WaitingBatch entry, bint block) except -1:
        """Enqueue what there is room for. Returns False when the rest has to wait."""
        cdef bint complete = False
        if not self.waiting or self.waiting[0] is entry:        # else others come first
            complete = entry.sending.enqueue()
        if complete or not block:
            entry.end(RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return True
        entry.sending.pause()
        return False

    def expire(self, WaitingBatch entry not None):
        """Refuse what has found no room."""
        entry.fail(RD_KAFKA_RESP_ERR__QUEUE_FULL)

    def enqueue_waiting(self):
        """Enqueue what waits and finds room now, in order."""
        while self.waiting:
            first = self.waiting[0]
            if not (self.enqueue_batch(first) if isinstance(first, WaitingBatch) else self.enqueue_record(first)):
                return
            self.waiting.popleft()
            self.left += 1

    cdef bint enqueue_record(self, WaitingRecord first) except -1:
        """Returns False when there is no room."""
        try:
            return self.try_enqueue(first.record, first.future, first.option)
        except Exception as exc:
            first.future.resolve(None, exc)     # a buffer released meanwhile: that is no fault of the next records
            return True

    cdef bint enqueue_batch(self, WaitingBatch first) except -1:
        """Returns False when the rest finds no room."""
        if first.sending is None or not first.sending.resume():
            return True
        return self.enqueue_items(first, True)

    def fail_waiting(self):
        """Fail what waits, which never was in librdkafka's queue."""
        if KP_READ(deliveries_of(self.client).counts_losses):
            unsent = service_of(self.client).unsent
            for topic, count in self.topics().items():
                unsent[topic] = unsent.get(topic, 0) + count
        while self.waiting:
            first = self.waiting.popleft()
            self.left += 1
            if isinstance(first, WaitingBatch):
                (<WaitingBatch>first).fail(RD_KAFKA_RESP_ERR__PURGE_QUEUE)
            else:
                (<WaitingRecord>first).future.resolve(None, new_error(RD_KAFKA_RESP_ERR__PURGE_QUEUE))


cdef class ProducerBase:
    """Base of kafkapp.aio.KafkaProducer: its `send` and `try_send`, in C, as they run once for each record."""
    cdef object side                # a LoopSide, None until __init__ has run
    cdef Outbox outbox              # the side's

    def _open(self, make):
        """Set the LoopSide that `make()` returns, once."""
        if self.side is None:
            side = make()
            if self.side is None:
                self.side, self.outbox = side, side.outbox
                return
            side.producer.close(0)          # another thread has run __init__ meanwhile
        raise RuntimeError(f"{type(self).__name__}.__init__() was called already")

    @property
    def _loop_side(self):
        if self.side is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.side

    def send(self, record, option=kafkapp.producer.options.SendOption.NoCopyRecordValue):
        """Send a record: send("orders", value, key=key), or send(record).

        Never blocks. While librdkafka's queue is full records wait here, in order, without a limit: awaiting their
        futures is the only backpressure. Cancelling the future does not stop the record.

        Args:
            record: a topic's name (str) and behind it the value, or a ProducerRecord, which may be changed and sent
                again at once. With a topic all else is given by name, also key, partition, headers, timestamp and id as
                a ProducerRecord has them. The memory of the value must not change before the future is done, unless
                `option` is SendOption.ToCopyRecordValue.
            option: a SendOption.
        Returns:
            A SendFuture: a future of the record's RecordMetadata, which raises KafkaException when it was not
            delivered.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, outside the producer's loop, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        cdef Outbox outbox = outbox_for(self, record)
        cdef SendFuture future
        future = SendFuture.__new__(SendFuture)
        future.outcomes = outbox.completed
        future.topic, future.record_id = (<ProducerRecord>record)._topic, (<ProducerRecord>record)._id
        if outbox.waited != outbox.left or not outbox.try_enqueue(<ProducerRecord>record, future, option):
            outbox.add_waiting(<ProducerRecord>record, future, option)
        return future

    def try_send(self, record, callback=None, option=kafkapp.producer.options.SendOption.NoCopyRecordValue):
        """As `send`, with a topic or a record, but never lets it wait for room; a callback in place of a future.

        Never blocks. `wait_for_room` waits until there is room.

        Args:
            callback: callback(metadata, error), once, in the loop, when the record is delivered or has failed; `error`
                is None on success. What it raises goes to the loop's exception handler.
        Returns:
            None: the record was enqueued; else the Error, and the callback will not run:
            RD_KAFKA_RESP_ERR__QUEUE_FULL, or others as KafkaAsyncProducer.send.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, outside the producer's loop, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); the KafkaAsyncProducer::send that takes an error.
        """
        cdef Outbox outbox = outbox_for(self, record)
        cdef rd_kafka_resp_err_t err
        cdef int straight
        check_callback(callback)
        if outbox.waited != outbox.left:
            self.side.enqueue_waiting()         # they come first
            if outbox.waited != outbox.left:
                return new_error(RD_KAFKA_RESP_ERR__QUEUE_FULL)
        straight = enqueue_straight(outbox.client, <PyObject *>record, <PyObject *>callback, KP_CALLBACK,
                                    <PyObject *>option)
        if not straight:
            return None
        try:
            err = enqueue(outbox.client, record, callback, KP_CALLBACK, option, False, 0, straight)
        except KafkaException as exc:
            return exc.error
        if not err:
            return None
        outbox.full = err == RD_KAFKA_RESP_ERR__QUEUE_FULL
        return enqueue_error(outbox.client, err, record)


cdef inline Outbox outbox_for(ProducerBase producer, object record):
    """The outbox of a producer that is open and called in its loop, to send a record by."""
    cdef Outbox outbox = producer.outbox
    if outbox is None or outbox.closed or not outbox.completed.runs_here():
        producer._loop_side.bind(producer)
        outbox = producer.outbox
    if not isinstance(record, ProducerRecord):
        raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
    return outbox


cdef object send_to_topic(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    return call_either(general_send, "send", self, args, count, names)


cdef object try_send_to_topic(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    return call_either(general_try_send, "try_send", self, args, count, names)


cdef kp_method general_send = put_before(ProducerBase, "send", send_to_topic)
cdef kp_method general_try_send = put_before(ProducerBase, "try_send", try_send_to_topic)
