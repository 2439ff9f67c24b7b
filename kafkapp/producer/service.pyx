"""Service of a producer's client: the records in flight, and flush and purge, which hurry on or fail them.

Knows clients and states of records; enqueues nothing.
"""
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_EVENT_DR,
    RD_KAFKA_PRODUCER,
    RD_KAFKA_PURGE_F_INFLIGHT,
    RD_KAFKA_PURGE_F_NON_BLOCKING,
    RD_KAFKA_PURGE_F_QUEUE,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_flush,
    rd_kafka_purge,
    rd_kafka_resp_err_t,
    rd_kafka_t,
)
from kafkapp.client.blocking_calls cimport BlockingCall
from kafkapp.client.client cimport COMPLETION_CHECK_MS, SIGNAL_CHECK_MS, UNRESPONSIVE_MS, PyThread_get_thread_ident
from kafkapp.client.dispatcher cimport kp_dispatcher, kp_rounds, kp_wait_round
from kafkapp.client.events cimport warn
from kafkapp.client.handle cimport OPEN, Topic
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable
from kafkapp.common.errors cimport new_exception
from kafkapp.common.forks cimport forks
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms
from kafkapp.config.application cimport boolean
from kafkapp.producer.delivery cimport (
    complete_reports,
    complete_without_reports,
    kp_deliveries_attach,
    kp_deliveries_free,
    kp_deliveries_init,
    kp_epoch_close,
    kp_epoch_done,
    kp_in_use,
    kp_install_traverse,
    kp_loss,
    kp_loss_at,
    kp_losses_begin,
    kp_losses_end,
    kp_outstanding,
    kp_outstanding_records,
)


@cython.final
@cython.no_gc_clear     # what the records in flight hold is released when they are reported
cdef class ProducerService(Service):
    def __cinit__(self):
        self.forks = forks()
        self.batch_waiters, self.unsent, self.loss = [], {}, "are not known to be delivered"
        self.name, self.unit, self.type, self.events = "producer", "records", RD_KAFKA_PRODUCER, RD_KAFKA_EVENT_DR
        if kp_deliveries_init(&self.deliveries):
            raise MemoryError()

    def __dealloc__(self):
        if self.forks == forks():       # in a forked child it is leaked, as the client's memory is
            kp_deliveries_free(&self.deliveries)

    cdef int configure(self, dict properties) except -1:
        self.deliveries.only_errors = boolean(properties, "delivery.report.only.error", False)
        return 0

    cdef int attach(self, kp_dispatcher *dispatcher) except -1:
        if self.deliveries.dispatcher is not NULL:
            raise RuntimeError("a ProducerService is for one client")
        kp_deliveries_attach(&self.deliveries, dispatcher)
        return 0

    cdef int created(self, object client) except -1:
        # rdkafka_int.h, rd_kafka_curr_msgs_add(): the queue's limit counts values only.
        kbytes = client.get_property("queue.buffering.max.kbytes")
        self.deliveries.max_value = int(kbytes) * 1024
        self.max_message_bytes = int(client.get_property("message.max.bytes"))
        if self.max_message_bytes > self.deliveries.max_value:
            warn(client.name, [
                f"message.max.bytes ({self.max_message_bytes}) is more than queue.buffering.max.kbytes ({kbytes}) has "
                f"room for: values of more than {self.deliveries.max_value} bytes are refused; raise "
                "queue.buffering.max.kbytes"])
        return 0

    cdef int complete(self, list raised) except -1:
        return complete_reports(&self.deliveries, raised)

    cdef int complete_unreported(self, list topics, list holds, list raised) except -1:
        return complete_without_reports(&self.deliveries, topics, holds, raised)

    cdef int64_t outstanding(self) noexcept:
        return kp_outstanding(&self.deliveries)

    cdef int64_t count(self) noexcept:
        return kp_outstanding_records(&self.deliveries)

    cdef bint in_use(self) noexcept:
        return KP_READ(self.deliveries.senders) != 0

    cdef int check_waiting(self, str what) except -1:
        """Raises in a signal handler that has interrupted a send_batch(): the handler must not wait for its end."""
        if self.batch_waiters and PyThread_get_thread_ident() in self.batch_waiters:
            raise RuntimeError(f"{what}() was called from a signal handler that interrupts send_batch(), where it would"
                               f" deadlock: raise an exception in the handler, and call {what}() where it is caught")
        return 0

    cdef bint drain(self, object client, int64_t deadline, list raised) except -1:
        return wait_reported(<Client>client, KP_READ(self.deliveries.epoch_number), deadline, raised)

    cdef int cancel(self, rd_kafka_t *rk) except -1:
        with nogil:
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
        return 0

    cdef object waiting_room(self):
        outbox = self.outbox() if self.outbox is not None else None
        return outbox if outbox is not None and not outbox.is_dispatched() else None    # else it is that thread's

    cdef int count_losses(self) noexcept:
        if not KP_READ(self.deliveries.counts_losses):
            self.expected = self.count()
        kp_losses_begin(&self.deliveries)
        return 0

    cdef bint end_losses(self) noexcept:
        cdef bint counted = KP_READ(self.deliveries.counts_losses)
        kp_losses_end(&self.deliveries)
        self.unsent.clear()
        return counted

    cdef dict losses(self):
        cdef kp_loss loss
        cdef size_t i = 0
        cdef int64_t reported = 0
        cdef dict lost = dict(self.unsent)
        outbox = self.outbox() if self.outbox is not None else None
        counted = [] if outbox is None else list(outbox.topics().items())
        while kp_loss_at(&self.deliveries, i, &loss):
            counted.append(((<Topic>loss.topic).name if loss.topic is not NULL else "", loss.count))
            reported += loss.count
            i += 1
        # What is reported, and so counted, is outstanding until its callback has returned.
        counted.append(("", min(self.count(), max(0, self.expected - reported))))
        for name, count in counted:
            if count:
                lost[name] = lost.get(name, 0) + count
        return lost

    cdef dict ledger(self):
        return {"states": kp_in_use(&self.deliveries) + KP_READ(self.deliveries.open_batches),
                "buffers": KP_READ(self.deliveries.views), "outstanding": self.count()}


cdef ProducerService specimen = ProducerService.__new__(ProducerService)
kp_install_traverse(<PyObject *>specimen, &specimen.deliveries)
specimen = None


cdef int wait_in_send_batch(Client client, int64_t seen, int64_t deadline) except -1:
    cdef list waiters = service_of(client).batch_waiters
    cdef object me = PyThread_get_thread_ident()
    waiters.append(me)
    try:
        client.wait(seen, deadline, None)
    finally:
        waiters.remove(me)
    return 0


cdef bint wait_reported(Client client, int64_t epoch, int64_t deadline, list raised) except -1:
    """Block until all records of an epoch are completed. False when the deadline has expired first."""
    cdef kp_deliveries *d = deliveries_of(client)
    cdef int64_t seen
    cdef int ms
    cdef rd_kafka_resp_err_t err
    while not kp_epoch_done(d, epoch):
        if expired(deadline):
            return False
        ms = remaining_ms(deadline, COMPLETION_CHECK_MS)
        # rd_kafka_flush() ends lingering while it waits. It dispatches nothing: delivery reports are events here.
        if client.background:
            with nogil:
                seen = kp_rounds(&client.dispatcher)
                err = rd_kafka_flush(client.rk, ms)
                if err == RD_KAFKA_RESP_ERR_NO_ERROR and not kp_epoch_done(d, epoch):
                    kp_wait_round(&client.dispatcher, seen, ms)
        else:
            with nogil:
                seen = kp_rounds(&client.dispatcher)
                rd_kafka_flush(client.rk, min(ms, 1))
            if not kp_epoch_done(d, epoch):
                client.dispatch(seen, ms, raised)
        PyErr_CheckSignals()
    return True


cdef int flush(Client client, int64_t deadline) except -1:
    cdef list raised = None if client.background else []
    cdef bint done
    if KP_READ(client.state) == OPEN or client.in_callback() or client.foreign():
        client.check_blocking("flush")
    client.service.check_waiting("flush")
    if not client.enter_unless_closed():
        return 0
    try:
        done = wait_reported(client, kp_epoch_close(deliveries_of(client)), deadline, raised)
    except:
        report_all_unraisable(raised)
        raise
    finally:
        client.leave()
    if not done:
        error = new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                              f"flush() timed out: {client.service.count()} records are still outstanding")
        if not raised:
            raise error
        raised.append(error)
    raise_all(raised)
    return 0


@cython.final
cdef class BlockingPurgeCall(BlockingCall):
    cdef int perform(self) except -1:
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        return 0


cdef int purge(Client client) except -1:
    """Purge, and wait until the broker threads have; at most UNRESPONSIVE_MS, as one that waits for a name server will
    not."""
    cdef BlockingPurgeCall request = BlockingPurgeCall.__new__(BlockingPurgeCall)
    cdef int64_t deadline = now_ms() + UNRESPONSIVE_MS
    client.check_blocking("purge")
    client.enter()
    try:
        request.start(client, deadline)
        while not KP_READ(request.finished) and not expired(deadline):
            request.done.wait(SIGNAL_CHECK_MS / 1000.0)     # nothing is dispatched: purge() runs no callbacks
    finally:
        client.leave()
    if request.failure is not None:
        raise request.failure
    return 0
