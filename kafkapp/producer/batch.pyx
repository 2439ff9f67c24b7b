"""Batches: enqueues many records in one call, without a Python object for each, and keeps their outcomes.

Knows columns and clients; the producers offer it as `send_batch`.
"""
cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.ref cimport PyObject, Py_DECREF

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_MSG_F_COPY,
    RD_KAFKA_PARTITION_UA,
    RD_KAFKA_RESP_ERR__IN_PROGRESS,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
)
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.client.handle cimport OPEN, Topic
from kafkapp.common.atomics cimport KP_READ, KP_SET
from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, run_callback_1
from kafkapp.common.numbers cimport checked_partition
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of, expired
from kafkapp.producer.columns cimport is_per_record, new_column, new_key_column, get_numbers
from kafkapp.producer.delivery cimport (
    kp_batch_abandon,
    kp_batch_begin,
    kp_batch_reported,
    kp_enter,
    kp_epoch,
    kp_finish,
    kp_slot_acquire,
    kp_slot_release,
    kp_too_large,
)
from kafkapp.producer.headers_column cimport new_headers_column
from kafkapp.producer.send cimport too_large_error
from kafkapp.producer.service cimport deliveries_of, leave_sender, wait_in_send_batch
from kafkapp.producer.timestamps cimport new_timestamps


cdef kp_batch EMPTY_BATCH       # that of a Batch which send_batch() has not filled in


@cython.final
@cython.no_gc_clear     # exports the batch's memory; its reference never changes, so another object breaks each cycle
cdef class OutcomeColumn:
    """One column of a batch's outcomes, exported as a buffer."""
    cdef Batch batch
    cdef void *data
    cdef Py_ssize_t itemsize
    cdef Py_ssize_t shape

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.batch is None:
            raise BufferError("this object has no batch: use batch.errors, batch.partitions or batch.offsets")
        PyBuffer_FillInfo(view, self, self.data, self.shape * self.itemsize, True, flags)
        view.itemsize = self.itemsize
        view.format = b"i" if self.itemsize == 4 else b"q"
        view.shape = &self.shape
        view.strides = &self.itemsize


@cython.final
@cython.no_gc_clear     # reports are written into it; its references are set once, so another object breaks each cycle
cdef class Batch(BatchTarget):
    """Batch(*args, **kwargs)\n--\n
    The outcome of the records of one `send_batch`, which returns it.

    `topic` is the topic's name (str), `accepted` how many records were enqueued (int), `next_index` the index of the
    first record refused because the queue was full (else `len`), `done` whether every accepted record has its delivery
    report (bool).

    The columns `errors` (int32 codes), `partitions` (int32) and `offsets` (int64, -1001: unknown) are read-only
    memoryviews of the memory that reports are written to: RD_KAFKA_RESP_ERR__IN_PROGRESS until a record is reported,
    final once `done`. Source: rd_kafka_produce_batch().
    """

    def __cinit__(self):
        self.batch = &EMPTY_BATCH
        self.reported = self.callback_done = True

    def __init__(self, *args, **kwargs):
        raise TypeError("a Batch cannot be created directly: send_batch() returns one")

    def __dealloc__(self):
        if self.batch is not &EMPTY_BATCH:
            kp_batch_free(self.batch)

    cdef outcomes(self, void *data, Py_ssize_t itemsize):
        cdef OutcomeColumn outcomes = OutcomeColumn.__new__(OutcomeColumn)
        outcomes.batch = self
        outcomes.data = data
        outcomes.itemsize = itemsize
        outcomes.shape = self.batch.count
        return memoryview(outcomes)

    @property
    def next_index(self):
        return self.batch.next_index

    @property
    def done(self):
        return KP_READ(self.reported) != 0

    @property
    def errors(self):
        return self.outcomes(self.batch.errors, 4)

    @property
    def partitions(self):
        return self.outcomes(self.batch.partitions, 4)

    @property
    def offsets(self):
        return self.outcomes(self.batch.offsets, 8)

    def __len__(self):
        return self.batch.count

    def __bool__(self):
        return True

    def __repr__(self):
        state = "done" if KP_READ(self.reported) else "in flight"
        return f"<Batch of {self.batch.count} for {self.topic}: {self.accepted} accepted, {state}>"

    def failures(self):
        """The records that have been refused or have failed so far.

        Returns:
            A list of (index, Error), in the order of the records.
        """
        cdef int64_t i
        cdef int err
        cdef kp_too_large *large = self.batch.too_large
        cdef kp_too_large *end = large + self.batch.too_large_count
        failed = []
        for i in range(self.batch.count):
            err = <int>KP_READ(self.batch.errors[i])        # a report may be written at this moment
            if not err or err == RD_KAFKA_RESP_ERR__IN_PROGRESS:
                continue
            if large != end and large.index == i:
                error = too_large_error(self.client, large.key_size, large.value_size, large.headers_size)
                large += 1
            else:
                error = self.client.error(err)
            failed.append((i, error))
        return failed

    def wait(self, timeout=None):
        """Wait until the batch is done and its callback has returned.

        Blocks, without the GIL. With EventsPollingOption.Manual it polls, and so runs callbacks.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            Whether the batch is done (bool).
        Raises:
            RuntimeError: in a delivery callback of the same producer, or in a forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        """
        cdef Client client = self.client
        cdef int64_t deadline = deadline_of(timeout)
        cdef list raised = None
        if client is None:
            return True
        if KP_READ(client.state) == OPEN or client.foreign():
            client.check_open()
        if client.in_callback():        # of an open producer or of one that close() is closing
            raise RuntimeError("Batch.wait() was called from a delivery callback of the same producer, where it would "
                               "deadlock; read Batch.done there, or wait in another thread")
        if not client.background:
            raised = []
        try:
            client.wait_for(&self.callback_done, deadline, raised)
        except BaseException:
            report_all_unraisable(raised)
            raise
        raise_all(raised)
        return KP_READ(self.reported) != 0

    cdef int note_outstanding(self, exc) except -1:
        """Note in an exception what is in flight: the caller will not get this batch."""
        exc.add_note(f"{self.accepted} of {self.batch.count} records for topic {self.topic!r}, all before index "
                     f"{self.next_index}, are enqueued and may still be delivered")
        return 0

    cdef int complete(self, kp_deliveries *d, list holds, list raised) except -1:
        """Complete the batch after its last report: release the exporters, then run the callback. `holds`: a list that
        keeps the exporters where librdkafka may still read them, else None."""
        cdef kp_epoch *epoch = self.batch.epoch
        cdef object callback = self.callback
        cdef Batch kept = self  # the slot may hold the last reference: this one lives until the method returns
        cdef Column nothing
        if holds is not None:
            nothing = Column.__new__(Column)    # first: it may raise MemoryError
            holds += [self.values, self.keys]
            self.values = self.keys = nothing
        kp_slot_release(d, self.batch)
        Py_DECREF(kept)         # the reference of the slot
        self.callback = None
        self.values.release()
        self.keys.release()
        KP_SET(self.reported, True)
        if callback is not None and (self.awaited or not d.only_errors or self.has_failures()):
            run_callback_1(callback, self, raised)
        KP_SET(self.callback_done, True)
        kp_batch_reported(d, epoch)
        return 0

    cdef bint has_failures(self) noexcept:
        cdef int64_t i
        for i in range(self.batch.count):
            if self.batch.errors[i]:
                return True
        return False


cdef Batch new_batch(str topic, values, offsets, keys, key_offsets, callback):
    cdef Batch batch = Batch.__new__(Batch)
    cdef int64_t count
    cdef kp_batch *outcomes
    batch.values = new_column(values, offsets, "values")
    batch.keys = new_key_column(keys, key_offsets, "keys")
    count = batch.values.count
    if batch.keys.count != -1:
        check_count("keys", batch.keys.count, count)
    with nogil:
        outcomes = kp_batch_new(count)
    if outcomes is NULL:
        raise MemoryError(f"no memory for the outcomes of {count} records")
    batch.batch = outcomes
    batch.topic = topic
    batch.callback = callback
    return batch


cdef int send_batch(Client client, Batch batch, partition, headers, timestamps, bint copy, bint block,
                    int64_t deadline) except -1:
    cdef BatchSend sending = new_batch_send(client, batch, partition, headers, timestamps, copy)
    sending.begin()
    try:
        enqueue_all(sending, block, deadline)
    except KeyboardInterrupt as exc:
        batch.note_outstanding(exc)
        raise
    finally:
        sending.end(RD_KAFKA_RESP_ERR__QUEUE_FULL)
    return 0


cdef int enqueue_all(BatchSend sending, bint block, int64_t deadline) except -1:
    """Enqueue all records, or what there is room for."""
    cdef Client client = sending.client
    cdef int64_t seen
    while True:
        seen = kp_rounds(&client.dispatcher)
        if sending.enqueue() or not block or expired(deadline):
            return 0
        if KP_READ(client.state) == OPEN:
            wait_in_send_batch(client, seen, deadline)
        if KP_READ(client.state) != OPEN:
            return 0        # close() has begun: enqueue nothing after its purge


cdef BatchSend new_batch_send(Client client, Batch batch, partition, headers, timestamps, bint copy):
    cdef BatchSend sending = BatchSend.__new__(BatchSend)
    sending.client, sending.batch, sending.copy = client, batch, copy
    sending.set_partitions(partition)
    sending.timestamps = new_timestamps(timestamps, batch.batch.count)
    sending.records.timestamps, sending.records.timestamp = sending.timestamps.each, sending.timestamps.one
    sending.headers = new_headers_column(headers, batch.batch.count)
    sending.records.headers = sending.headers.pointer()
    sending.records.flags = RD_KAFKA_MSG_F_COPY if copy else 0
    sending.records.values, sending.records.keys = batch.values.c, batch.keys.c
    client.check_open()
    batch.batch.topic = client.topic(batch.topic)
    sending.rkt = <rd_kafka_topic_t *>(<Topic>batch.batch.topic).rkt
    batch.client = client
    return sending


@cython.final
@cython.no_gc_clear     # its buffers are released, not dropped; its references are set once: see Column
cdef class BatchSend:
    """One send_batch() until each record is enqueued or refused: its arguments, as librdkafka takes them."""

    def __dealloc__(self):
        self.release()

    cdef int release(self) except -1:
        kp_release_buffer(&self.partitions)
        if self.timestamps is not None:
            self.timestamps.release()
        if self.headers is not None:
            self.headers.release()
        return 0

    cdef int set_partitions(self, partition) except -1:
        cdef int64_t i, count = self.batch.batch.count
        if not is_per_record(partition):
            self.records.partition = checked_partition(partition)
            return 0
        self.records.partition = RD_KAFKA_PARTITION_UA
        get_numbers(&self.partitions, partition, "partition", 4)
        self.records.partitions = self.partitions.buf
        check_count("partition", self.partitions.len // 4, count)
        for i in range(count):
            if kp_int32_at(self.records.partitions, i) < RD_KAFKA_PARTITION_UA:
                raise ValueError(f"partition[{i}] must be from 0 to 2**31 - 1, or -1 for the partitioner, "
                                 f"not {kp_int32_at(self.records.partitions, i)}")
        return 0

    cdef int begin(self) except -1:
        """Count this sender, and the batch as one record, so that flush() and close() wait for its callback. Then check
        that the producer is open."""
        cdef kp_deliveries *d = deliveries_of(self.client)
        cdef Batch batch = self.batch
        kp_enter(d)
        kp_batch_begin(d, batch.batch)
        try:
            self.client.check_open()
            if not kp_slot_acquire(d, batch.batch, <PyObject *>batch):
                raise MemoryError()
        except:
            kp_batch_abandon(d, batch.batch)
            leave_sender(self.client)
            raise
        batch.reported = batch.callback_done = False
        return 0

    cdef int pause(self) except -1:
        return leave_sender(self.client)

    cdef bint resume(self) except -1:
        kp_enter(deliveries_of(self.client))
        if KP_READ(self.client.state) == OPEN and not self.client.foreign():
            return True
        leave_sender(self.client)
        return False

    cdef bint enqueue(self) except -1:
        """Enqueue what there is room for, from next_index on. Returns whether each record is enqueued or refused. An
        accepted record is librdkafka's until its delivery report."""
        cdef kp_deliveries *d = deliveries_of(self.client)
        cdef kp_batch *outcomes = self.batch.batch
        cdef rd_kafka_t *rk = self.client.rk
        cdef int64_t accepted = self.batch.accepted
        with nogil:
            outcomes.next_index = kp_batch_send(rk, self.rkt, d, outcomes, &self.records, outcomes.next_index,
                                                &accepted)
        self.batch.accepted = accepted
        return outcomes.next_index == outcomes.count

    cdef int end(self, rd_kafka_resp_err_t err) except -1:
        """Also when interrupted: what is enqueued will be reported, the rest is refused with `err`."""
        cdef kp_deliveries *d = deliveries_of(self.client)
        cdef Batch batch = self.batch
        cdef int64_t i
        for i in range(batch.batch.next_index, batch.batch.count):
            batch.batch.errors[i] = err
        self.release()
        if kp_batch_sent(batch.batch, batch.batch.count - batch.accepted):
            if batch.accepted:
                kp_finish(d, batch.batch)       # its last report has come already
            else:
                end_refused(d, batch)
        leave_sender(self.client)               # else the last report completes it
        if self.copy:
            batch.values.release()
            batch.keys.release()
        return 0


cdef int end_refused(kp_deliveries *d, Batch batch) except -1:
    """Nothing was accepted: there will be no report, and no callback."""
    kp_slot_release(d, batch.batch)
    Py_DECREF(batch)
    batch.callback = None
    batch.values.release()
    batch.keys.release()
    batch.reported = batch.callback_done = True
    kp_batch_abandon(d, batch.batch)
    return 0


cdef int check_count(str what, int64_t count, int64_t wanted) except -1:
    if count != wanted:
        raise ValueError(f"{what}: {count} entries for {wanted} values")
    return 0


export_as(Batch, "kafkapp.Batch")
