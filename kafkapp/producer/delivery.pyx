"""Completion: turns drained delivery reports into released buffers, RecordMetadata and callbacks.

The only place where a record in flight completes. Knows nothing of how a client dispatches and waits.
"""
cimport cython
from cpython.ref cimport PyObject, Py_DECREF, Py_XDECREF
from libc.stdlib cimport free

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED,
    RD_KAFKA_OFFSET_INVALID,
    RD_KAFKA_PARTITION_UA,
    RD_KAFKA_RESP_ERR__IN_PROGRESS,
    RD_KAFKA_RESP_ERR__PURGE_INFLIGHT,
    RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    rd_kafka_message_t,
)
from kafkapp.client.handle cimport Topic
from kafkapp.common.atomics cimport KP_ADD, KP_GIL, KP_SET
from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.callbacks cimport kp_call_report, report_unraisable
from kafkapp.common.errors cimport new_error, new_fatal_error
from kafkapp.common.forks cimport fork_count
from kafkapp.producer.record_metadata cimport new_metadata


cdef extern from *:
    """
    /* The broker's error text. Weak: only a librdkafka with build_support/patches/freed-error-text.patch has it, in any
       other it is NULL. rd_kafka_message_produce_errstr() of 2.4.0 to 2.15.1 returns freed memory, before there is
       none, and rd_kafka_message_errstr() is for consumers: for a produced record it returns the payload. */
    #include <librdkafka/rdkafka.h>
    const char *rd_kafka_kafkapp_produce_errstr(const rd_kafka_message_t *rkmessage);
    #pragma weak rd_kafka_kafkapp_produce_errstr
    """
    const char *rd_kafka_kafkapp_produce_errstr(const rd_kafka_message_t *rkmessage) nogil


cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec *pause, timespec *left)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *thing)

cdef enum:
    MEMORY_ATTEMPTS = 100       # to complete a record without memory, 10 ms apart


@cython.final
cdef class Waiter:
    """The outcome that a synchronous send waits for."""


cdef class FutureTarget:
    cdef int resolve(self, RecordMetadata metadata, object error) noexcept:
        return 0


cdef class BatchTarget:
    cdef int complete(self, kp_deliveries *d, list holds, list raised) except -1:
        raise NotImplementedError


@cython.final
cdef class Hold:
    """A buffer that is held after its record has completed."""
    cdef kp_view *view

    def __dealloc__(self):
        if self.view is not NULL:
            kp_release_buffer(&self.view.view)
            free(self.view)


cdef int release_delivery(kp_deliveries *d, kp_delivery *delivery) except -1:
    """Release what a state holds, and the state to the pool. User code (finalizers) runs last."""
    cdef PyObject *target = delivery.target
    cdef PyObject *record_id = delivery.record_id
    cdef PyObject *value = NULL
    cdef kp_view *view = NULL
    if delivery.holds_view:
        view = delivery.view
    else:
        value = delivery.value
    kp_delivery_put(d, delivery)
    if view is not NULL:
        drop_view(d, view)
    Py_XDECREF(value)
    Py_XDECREF(target)
    Py_XDECREF(record_id)
    return 0


cdef inline int drop_view(kp_deliveries *d, kp_view *view) except -1:
    KP_ADD(d.views, -1)
    kp_release_buffer(&view.view)
    free(view)
    return 0


cdef inline str error_text(const kp_report *report):
    """The broker's error text, copied while the round still owns its event. None: there is none."""
    cdef const char *text = NULL
    if <void *>rd_kafka_kafkapp_produce_errstr is not NULL:
        text = rd_kafka_kafkapp_produce_errstr(report.message)
    return None if text is NULL or text[0] == 0 else text.decode("utf-8", "replace")


cdef inline int complete_one(kp_deliveries *d, const kp_report *report, list raised) except -1:
    """Complete a record or a batch: its state goes to the pool, its buffer is released, then its callback runs.

    Fails only without memory, and then has changed nothing.
    """
    cdef kp_delivery *delivery = report.delivery
    cdef BatchTarget batch
    if delivery is NULL:
        batch = <BatchTarget>report.batch.owner         # referenced: the slot's reference is released inside
        return batch.complete(d, None, raised)
    cdef kp_epoch *epoch = kp_epoch_at(d, delivery.epoch)
    cdef RecordMetadata metadata
    cdef object target, error = None
    cdef int kind = delivery.kind
    if delivery.target is NULL or (d.only_errors and not report.err and kind == KP_CALLBACK):
        release_delivery(d, delivery)
    else:
        metadata = new_metadata((<Topic>report.topic).name if report.topic is not NULL else "", None)
        if report.err:
            error = report_error(d, report)
        target = take_target(d, delivery, metadata)
        fill(metadata, report)
        complete_target(target, kind, metadata, error, raised)
    kp_reported(epoch, 1)
    return 0


cdef inline bint is_plain_success(kp_deliveries *d, const kp_report *report) noexcept:
    """Whether a record was delivered and has a callback that is to be called: most have."""
    cdef kp_delivery *delivery = report.delivery
    return (delivery is not NULL and delivery.kind == KP_CALLBACK and delivery.target is not NULL and not report.err
            and report.topic is not NULL and not d.only_errors)


cdef inline int complete_success(kp_deliveries *d, const kp_report *report, RecordMetadata metadata,
                                 list raised) except -1:
    """As complete_one(), for such a record."""
    cdef kp_epoch *epoch = kp_epoch_at(d, report.delivery.epoch)
    cdef object callback = take_target(d, report.delivery, metadata)
    fill(metadata, report)
    kp_call_report(callback, metadata, None, raised)
    kp_reported(epoch, 1)
    return 0


cdef inline bint is_value_only(const kp_report *report) noexcept:
    """Whether a record holds its value's owner and nothing else: one without a callback."""
    cdef kp_delivery *delivery = report.delivery
    return delivery is not NULL and delivery.target is NULL and not delivery.holds_view and delivery.value is not NULL


cdef inline void complete_value_only(kp_deliveries *d, kp_delivery *delivery) noexcept:
    """As complete_one(), for such a record."""
    cdef kp_epoch *epoch = kp_epoch_at(d, delivery.epoch)
    cdef PyObject *value = delivery.value
    kp_delivery_put(d, delivery)
    Py_DECREF(<object>value)
    kp_reported(epoch, 1)


cdef object report_error(kp_deliveries *d, const kp_report *report):
    if report.message is NULL:
        return new_error(report.err)        # the client may be destroyed
    return new_fatal_error(d.dispatcher.rk, report.err, error_text(report))


cdef inline object take_target(kp_deliveries *d, kp_delivery *delivery, RecordMetadata metadata):
    """Take over a state's references and release the state to the pool, then the buffer. Returns the target; the id
    goes to `metadata`.

    From here on user code may run, and send with this producer again. No object is created in between: it could run
    the garbage collector, which visits the state's references and does not know of this function's.
    """
    cdef object target = <object>delivery.target
    cdef PyObject *value = NULL
    cdef kp_view *view = NULL
    Py_DECREF(target)
    if delivery.record_id is not NULL:
        metadata._record_id = <object>delivery.record_id
        Py_DECREF(metadata._record_id)
    if delivery.holds_view:
        view = delivery.view
    else:
        value = delivery.value
    kp_delivery_put(d, delivery)
    # The buffer is released before the callback runs, which may resize its exporter or send it again.
    if view is not NULL:
        drop_view(d, view)
    elif value is not NULL:
        Py_DECREF(<object>value)
    return target


cdef inline void fill(RecordMetadata metadata, const kp_report *report) noexcept:
    metadata._partition = report.partition
    metadata._offset = report.offset
    metadata._timestamp = report.timestamp
    metadata._timestamp_type = report.timestamp_type
    metadata._status = report.status
    metadata._latency = report.latency
    metadata._key_size = report.key_size
    metadata._value_size = report.value_size


cdef inline int complete_target(object target, int kind, RecordMetadata metadata, object error, list raised) except -1:
    """Hand the outcome to the state's target."""
    cdef Waiter waiter
    if kind == KP_WAITER:
        waiter = <Waiter>target
        waiter.metadata = metadata
        waiter.error = error
        KP_SET(waiter.done, True)
    elif kind == KP_FUTURE:
        (<FutureTarget>target).resolve(metadata, error)
    else:
        # What it raises goes to `raised`: all callbacks run, whatever one of them raises.
        kp_call_report(target, metadata, error, raised)
    return 0


cdef int complete_without_memory(kp_deliveries *d, const kp_report *report) except -1:
    """Complete a record for whose metadata there is no memory: release and count it, so that nobody waits forever."""
    cdef kp_delivery *delivery = report.delivery
    if delivery is NULL:
        return 0        # a batch: its completion needs no memory
    cdef kp_epoch *epoch = kp_epoch_at(d, delivery.epoch)
    if delivery.target is not NULL and delivery.kind == KP_WAITER:
        KP_SET((<Waiter>delivery.target).done, True)    # without metadata: the send raises MemoryError
    elif delivery.target is not NULL and delivery.kind == KP_FUTURE:
        (<FutureTarget>delivery.target).resolve(None, None)
    release_delivery(d, delivery)
    kp_reported(epoch, 1)
    return 0


cdef int complete_reports(kp_deliveries *d, list raised) except -1:
    """Complete the records of the round's delivery reports, in order. The caller must own the round.

    Exceptions of callbacks go to `raised`, or, where that is None, to sys.unraisablehook. In the child of a callback
    that forked it returns at once: the remaining reports are the parent's.
    """
    cdef size_t i = 0
    cdef int failures = 0
    cdef const int *forks = fork_count()
    cdef int before = forks[0]
    cdef timespec pause
    cdef const kp_report *report
    cdef RecordMetadata metadata = None     # serves again if its callback has not kept it
    while i < d.report_count:
        try:
            while i < d.report_count:
                report = &d.reports[i]
                if is_value_only(report):
                    complete_value_only(d, report.delivery)
                elif not is_plain_success(d, report):
                    complete_one(d, report, raised)
                else:
                    if metadata is None or not KP_GIL or Py_REFCNT(<PyObject *>metadata) != 1:
                        metadata = new_metadata((<Topic>report.topic).name, None)
                    elif metadata._topic is not (<Topic>report.topic).name:
                        metadata._topic = (<Topic>report.topic).name
                    complete_success(d, report, metadata, raised)
                    if metadata._record_id is not None:
                        metadata = None
                if forks[0] != before:
                    return 0
                i += 1
        except BaseException as exc:
            # No memory, and librdkafka takes no report back: retry for a second.
            failures += 1
            if failures < MEMORY_ATTEMPTS:
                pause.tv_sec, pause.tv_nsec = 0, 10000000
                with nogil:
                    nanosleep(&pause, NULL)
                continue
            report_unraisable(exc)
            complete_without_memory(d, &d.reports[i])
            failures = 0
            i += 1
    return 0


cdef int complete_without_reports(kp_deliveries *d, list topics, list holds, list raised) except -1:
    """Complete the records in flight that librdkafka will not report in time. The caller must never end its round.

    Such a record may have reached the broker, and librdkafka may still read its memory, which goes to `holds`.
    """
    cdef kp_report report
    cdef kp_delivery *delivery
    cdef kp_batch *batch
    cdef BatchTarget target
    cdef kp_cursor cursor
    cdef uint32_t slot = 0
    cdef int64_t i
    cdef const int *forks = fork_count()
    cdef int before = forks[0]
    while forks[0] == before:
        batch = kp_slot_in_use(d, &slot)
        if batch is NULL:
            break
        for i in range(batch.next_index):
            if batch.errors[i] == RD_KAFKA_RESP_ERR__IN_PROGRESS:
                batch.errors[i] = RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
                kp_reported(batch.epoch, 1)
                kp_loss_add(d, batch.topic, 1)
        for i in range(batch.next_index, batch.count):      # its send_batch() still waited for room
            if batch.errors[i] == RD_KAFKA_RESP_ERR__IN_PROGRESS:
                batch.errors[i] = RD_KAFKA_RESP_ERR__PURGE_QUEUE
        target = <BatchTarget>batch.owner
        target.complete(d, holds, raised)
    cursor.block, cursor.slot = NULL, 0
    while forks[0] == before:
        delivery = kp_delivery_in_use(d, &cursor)
        if delivery is NULL:
            break
        hold_payload(d, delivery, holds)
        kp_loss_add(d, <void *>topics[delivery.topic], 1)
        report.delivery = delivery
        report.topic = <void *>topics[delivery.topic]
        report.message = NULL
        report.err = RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        report.partition = RD_KAFKA_PARTITION_UA
        report.offset = RD_KAFKA_OFFSET_INVALID
        report.timestamp = -1
        report.timestamp_type = 0
        report.status = RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED
        report.latency = -1
        report.key_size = report.value_size = 0
        complete_one(d, &report, raised)
    if forks[0] != before:
        return 0        # the child of a callback that forked: the rest is its parent's
    kp_loss_add(d, NULL, kp_outstanding_records(d))
    kp_epochs_mark_done(d)      # plain records, which have no state
    return 0


cdef int hold_payload(kp_deliveries *d, kp_delivery *delivery, list holds) except -1:
    cdef Hold hold
    if delivery.holds_view:
        hold = Hold.__new__(Hold)
        holds.append(hold)
        hold.view = delivery.view
        delivery.view = NULL
        delivery.holds_view = 0
        KP_ADD(d.views, -1)
    elif delivery.value is not NULL:
        holds.append(<object>delivery.value)
    return 0
