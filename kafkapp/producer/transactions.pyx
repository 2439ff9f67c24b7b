"""Transactions: librdkafka's transaction calls over a client, and the context manager of a transaction.

What a producer with a `transactional.id` sends between begin and commit is read as a whole or not at all. librdkafka's
calls block, and run on threads of their own: the calling thread answers signals meanwhile and, where no background
thread does, dispatches the delivery reports that a commit waits for.
"""
from time import sleep

from kafkapp.common.errors import KafkaException

cimport cython
from libc.stdint cimport int64_t
from posix.unistd cimport usleep

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__CONFLICT,
    RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS,
    RD_KAFKA_RESP_ERR__STATE,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_abort_transaction,
    rd_kafka_begin_transaction,
    rd_kafka_commit_transaction,
    rd_kafka_error_t,
    rd_kafka_init_transactions,
    rd_kafka_t,
)
from kafkapp.client.blocking_calls cimport BlockingCall, still_running_error, with_grace
from kafkapp.client.client cimport Client
from kafkapp.common.atomics cimport KP_READ, KP_SET, KP_TAKE_FLAG
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, report_unraisable
from kafkapp.common.errors cimport take_error
from kafkapp.common.timeouts cimport expired
from kafkapp.producer.group_offsets cimport new_offsets_call, send_offsets
from kafkapp.producer.service cimport ProducerService, service_of

# A resumed call may take the end of the call that it resumes for its own, and return one state too early: the next
# begin_transaction would do the same, and a send would find no transaction. librdkafka's main thread needs microseconds
# for that change of state.
cdef unsigned int STATE_CHANGE_MICROSECONDS = 5000
STATE_CHANGE_SECONDS = STATE_CHANGE_MICROSECONDS / 1e6

ORDER_OF_CALLS = {
    "init_transactions": "init_transactions() is called once, before the first begin_transaction()",
    "begin_transaction": "init_transactions() comes first, once; commit_transaction() or abort_transaction() ends a "
                         "transaction before the next",
}

RETRY_SECONDS = 0.1     # between two attempts of a call that fails at once

ctypedef rd_kafka_error_t *(*TransactionFunction)(rd_kafka_t *, int) noexcept nogil


cdef int init_transactions(Client client, int64_t deadline) except -1:
    return run(client, "init_transactions", deadline)


cdef rd_kafka_error_t *begin(rd_kafka_t *rk, int timeout_ms) noexcept nogil:
    return rd_kafka_begin_transaction(rk)


cdef int begin_transaction(Client client) except -1:
    cdef rd_kafka_error_t *error
    client.check_blocking("begin_transaction")
    client.enter()
    try:
        with nogil:
            error = rd_kafka_begin_transaction(client.rk)
    finally:
        client.leave()
    return raise_error("begin_transaction", take_error(error))


def transaction_exception(name, error):
    """The KafkaException of Producer's method of this name, which has failed with `error`."""
    exc = KafkaException(error)
    if error.code == RD_KAFKA_RESP_ERR__STATE:
        exc.add_note(ORDER_OF_CALLS.get(name) or f"begin_transaction() comes before {name}()")
    return exc


cdef int commit_transaction(Client client, int64_t deadline) except -1:
    return run(client, "commit_transaction", deadline)


cdef int abort_transaction(Client client, int64_t deadline) except -1:
    return run(client, "abort_transaction", deadline)


cdef int send_offsets_to_transaction(Client client, offsets, group, int64_t deadline) except -1:
    return raise_error("send_offsets_to_transaction", send_offsets(client, new_offsets_call(offsets, group), deadline))


class Transaction:
    """The context manager of Producer.transaction()."""

    def __init__(self, producer):
        self.producer = producer

    def __enter__(self):
        self.producer.begin_transaction()
        return self.producer

    def __exit__(self, exc_type, exc, traceback):
        if exc is not None:
            return self._abort_for(exc)
        while True:
            try:
                return self.producer.commit_transaction()
            except KafkaException as failure:
                error = failure.error
                if error.is_fatal or not (error.is_retriable or error.transaction_requires_abort):
                    raise
                if error.transaction_requires_abort:
                    try:
                        self.abort()
                    except KafkaException:
                        raise           # it says more: the producer has to be replaced
                    except Exception as raised:
                        report_unraisable(raised)  # by callbacks
                    raise
                sleep(RETRY_SECONDS)

    def _abort_for(self, exc):
        """Abort because of an exception, which is the one that is raised; failures of the abort are added as notes."""
        if not isinstance(exc, BaseException):
            raise TypeError(f"abort_for: exc must be an exception, not {type(exc).__name__}")
        try:
            self.abort()
        except KafkaException as failure:
            exc.add_note(f"the transaction could not be aborted: {failure}")
        except Exception as raised:
            report_unraisable(raised)      # by callbacks

    def abort(self):
        while True:
            try:
                return self.producer.abort_transaction()
            except KafkaException as failure:
                if not failure.error.is_retriable or failure.error.is_fatal:
                    raise
                sleep(RETRY_SECONDS)


cdef int run(Client client, str name, int64_t deadline) except -1:
    """Make a call that librdkafka may end early, and resumes on the next call, until the user's timeout expires."""
    cdef list raised = None if client.background else []
    cdef object error, reason = None
    client.check_blocking(name)
    client.enter()
    try:
        while True:
            error = call_transaction(client, name, deadline, raised)
            if error is None or not must_resume(name, error):
                break
            KP_SET(service_of(client).resumes_call, True)
            if error.code != RD_KAFKA_RESP_ERR__TIMED_OUT:
                reason = error
            if expired(deadline):
                error = reason or error     # librdkafka does not keep the reason for the next call
                break
        if error is None and KP_TAKE_FLAG(service_of(client).resumes_call):
            with nogil:
                usleep(STATE_CHANGE_MICROSECONDS)
        if not client.background:
            client.dispatch(0, 0, raised)       # delivery reports that came with the end of the call
    except:
        report_all_unraisable(raised)
        raise
    finally:
        client.leave()
    if error is not None:
        report_all_unraisable(raised)
        raise_error(name, error)
    raise_all(raised)
    return 0


cdef bint must_resume(str name, error):
    """Whether librdkafka has not finished the operation, and only the call's timeout has expired."""
    if not error.is_retriable:
        return False
    if name == "init_transactions":
        # On a timeout it returns, if there is one, the error that it is retrying.
        return error.code not in (RD_KAFKA_RESP_ERR__CONFLICT, RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS)
    return error.code == RD_KAFKA_RESP_ERR__TIMED_OUT


cdef int raise_error(str name, error) except -1:
    if error is not None:
        raise transaction_exception(name, error)
    return 0


# -- librdkafka's calls -----------------------------------------------------------------------------

@cython.final
cdef class BlockingTransactionCall(BlockingCall):
    cdef TransactionFunction function
    cdef readonly str name              # of Producer's method

    @property
    def must_resume(self):
        """Whether librdkafka has not finished the operation: then the same call has to be made again."""
        return self.error is not None and must_resume(self.name, self.error)

    cdef int perform(self) except -1:
        cdef rd_kafka_error_t *error
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            error = self.function(rk, self.timeout_ms)
        self.error = take_error(error)
        return 0

    cdef bint wait_and_detach(self, int64_t deadline, list raised) except -1:
        """wait(); once it has finished, it is no longer the client's running call."""
        cdef ProducerService service
        try:
            return self.wait(deadline, raised)
        finally:
            if KP_READ(self.finished):
                service = service_of(self.client)
                with cython.critical_section(service):
                    if service.transaction_call is self:
                        service.transaction_call = None


cdef object call_transaction(Client client, str name, int64_t deadline, list raised):
    """Returns the Error, or None. A call that an interrupt has left running is waited for first: if it is the same
    one its result is this call's; otherwise its result is dropped."""
    cdef BlockingTransactionCall request
    cdef ProducerService service = service_of(client)
    with cython.critical_section(service):
        request = service.transaction_call
    if request is not None:
        if not request.wait_and_detach(deadline, raised):
            return still_running_error()
        if request.name == name:
            return request.error
    request = new_transaction_call(name)
    try:
        request.start(client, deadline)
    finally:
        if request.started:     # interrupted or not
            with cython.critical_section(service):
                service.transaction_call = request
    if not request.wait_and_detach(with_grace(deadline), raised):
        return still_running_error()
    return request.error


cdef BlockingCall new_transaction_call(str name):
    cdef BlockingTransactionCall call = BlockingTransactionCall.__new__(BlockingTransactionCall)
    call.name = name
    if name == "init_transactions":
        call.function = rd_kafka_init_transactions
    elif name == "begin_transaction":
        call.function = begin
    elif name == "commit_transaction":
        call.function = rd_kafka_commit_transaction
    elif name == "abort_transaction":
        call.function = rd_kafka_abort_transaction
    else:
        raise ValueError(f"no transaction call is named {name}")
    return call
