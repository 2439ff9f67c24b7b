"""LoopClient: what an event loop needs of a producer's client, and other users of it do not.

What blocks is for threads of the loop's side.
"""
cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR_NO_ERROR,
    rd_kafka_fatal_error,
    rd_kafka_flush,
    rd_kafka_resp_err_t,
)
from kafkapp.client.blocking_calls cimport BlockingCall
from kafkapp.client.shutdown cimport stay_open
from kafkapp.common.timeouts cimport deadline_of, timeout_to_ms
from kafkapp.producer.delivery cimport kp_epoch_close, kp_epoch_done
from kafkapp.producer.group_offsets cimport new_offsets_call
from kafkapp.producer.producer cimport Producer
from kafkapp.producer.service cimport deliveries_of, service_of
from kafkapp.producer.transactions cimport new_transaction_call


@cython.final
cdef class LoopClient(EventClient):
    def __cinit__(self, Producer producer not None):
        self.client = producer.get_client()

    def end_lingering_for(self, timeout):
        """End lingering for `timeout` seconds, at most 1, or until nothing is in flight. Blocks, dispatches nothing.

        Returns whether something is in flight.
        """
        cdef int ms = <int>min(<int64_t>1000, max(<int64_t>0, timeout_to_ms(timeout)))
        cdef rd_kafka_resp_err_t err
        self.client.enter()
        try:
            with nogil:
                err = rd_kafka_flush(self.client.rk, ms)
        finally:
            self.client.leave()
        return err != RD_KAFKA_RESP_ERR_NO_ERROR

    def purge(self):
        """As Producer.purge, but does not wait until librdkafka has purged."""
        self.client.enter()
        try:
            self.client.service.cancel(self.client.rk)
        finally:
            self.client.leave()

    def count_losses(self):
        """From here on count what fails: a line of the log has it when the producer is closed."""
        self.client.service.count_losses()

    def stay_open(self):
        """The close was cancelled: log what it has purged already, if it has, and count no more."""
        stay_open(self.client)

    def has_failed(self):
        """Whether the producer has had a fatal error."""
        if not self.client.enter_unless_closed():
            return False
        try:
            return rd_kafka_fatal_error(self.client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR
        finally:
            self.client.leave()

    def close_epoch(self):
        """Close the current epoch; `is_epoch_done` says whether all that was sent until now is reported."""
        self.client.check_open()
        return kp_epoch_close(deliveries_of(self.client))

    def is_epoch_done(self, int64_t epoch):
        return kp_epoch_done(deliveries_of(self.client), epoch)

    @property
    def transaction_call(self):
        """The BlockingTransactionCall that runs, or whose result nobody has: its caller was cancelled. Else None."""
        return service_of(self.client).transaction_call

    def start_transaction_call(self, str name not None, timeout, done not None):
        """Have a thread call what Producer's method of this name does, for at most `timeout` seconds. It becomes the
        `transaction_call`. At its end that thread calls `done.set()`."""
        cdef BlockingCall call = new_transaction_call(name)
        try:
            self.start(call, timeout, done)
        finally:
            if call.started:        # interrupted or not
                service_of(self.client).transaction_call = call
        return call

    def end_transaction_call(self, call not None):
        """Its result has been taken."""
        if service_of(self.client).transaction_call is call:
            service_of(self.client).transaction_call = None

    def start_offsets_call(self, offsets, group, timeout, done not None):
        """As start_transaction_call(), for Producer.send_offsets_to_transaction(); is no `transaction_call`."""
        cdef BlockingCall call = new_offsets_call(offsets, group)
        self.start(call, timeout, done)
        return call

    cdef int start(self, BlockingCall call, timeout, done) except -1:
        self.client.enter()
        try:
            call.done = done
            return call.start(self.client, deadline_of(timeout))
        finally:
            self.client.leave()
