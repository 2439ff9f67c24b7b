"""Transactions: what a producer with a `transactional.id` sends between begin and commit is read whole or not at all.

Layer L6: the base of both producers. librdkafka's calls are made by threads of their own, so that signals are answered
meanwhile, and reports served where no background thread does: a commit waits for them.
"""
from time import sleep

from kafkapp.errors import KafkaException

from libc.stdint cimport int64_t
from posix.unistd cimport usleep

from kafkapp.client cimport Client
from kafkapp.delivery cimport KP_SET, KP_TAKE_FLAG, raise_all, report_all_unraisable, report_unraisable
from kafkapp.errors cimport take_error
from kafkapp.librdkafka cimport (
    RD_KAFKA_RESP_ERR__CONFLICT,
    RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_abort_transaction,
    rd_kafka_begin_transaction,
    rd_kafka_commit_transaction,
    rd_kafka_error_t,
    rd_kafka_init_transactions,
)
from kafkapp.numbers cimport exact_int, short_int
from kafkapp.requests cimport TransactionFunction, call_transaction, send_offsets
from kafkapp.timeouts cimport deadline_of, expired

# A call that resumes as its end comes in takes the end for its own step's, and returns a step too early: the next
# begin_transaction would too, and a send find no transaction. librdkafka's thread needs microseconds for that step.
cdef unsigned int ACKNOWLEDGED = 5000   # µs

cdef double PAUSE = 0.1     # seconds between two tries of what was refused at once


cdef class Transactional(Sender):
    """Transactions, which both producers have."""

    def init_transactions(self, timeout=None):
        """Get ready for transactions: end what an earlier producer with this `transactional.id` left, and fence it.

        Once, before the first transaction. Blocks, without the GIL; can be called again after a time-out or Ctrl-C, as
        `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, `transactional.id` is not set;
                RD_KAFKA_RESP_ERR__TIMED_OUT, or with `is_retriable` the reason for which the time was over, such as
                RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS: call it again; others as `error` tells: `is_fatal`.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_init_transactions(); KafkaProducer::initTransactions.
        """
        run(self.get_client(), rd_kafka_init_transactions, "init_transactions", deadline_of(timeout))

    def begin_transaction(self):
        """Begin a transaction: what is sent from now on is part of it.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, `transactional.id` is not set;
                RD_KAFKA_RESP_ERR__STATE, there is one already, or `init_transactions` was not called;
                RD_KAFKA_RESP_ERR__FATAL.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_begin_transaction(); KafkaProducer::beginTransaction.
        """
        cdef Client client = self.get_client()
        cdef rd_kafka_error_t *error
        client.check_blocking("begin_transaction")
        client.enter()
        try:
            with nogil:
                error = rd_kafka_begin_transaction(client.rk)
        finally:
            client.leave()
        raise_error(take_error(error))

    def commit_transaction(self, timeout=None):
        """Flush, and commit the transaction.

        Blocks, without the GIL; can be called again after a time-out or Ctrl-C. After Ctrl-C it goes on to its end:
        this call takes it up again, the others of a transaction wait for it first.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, there is no transaction; RD_KAFKA_RESP_ERR__INCONSISTENT, a
                record was not delivered; others: `error` tells what to do: `is_retriable`: call it again;
                `transaction_requires_abort`: abort; `is_fatal`: the producer has to be replaced.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_commit_transaction(); KafkaProducer::commitTransaction.
        """
        run(self.get_client(), rd_kafka_commit_transaction, "commit_transaction", deadline_of(timeout))

    def abort_transaction(self, timeout=None):
        """Give up what is in flight, and abort the transaction.

        Blocks, without the GIL; can be called again after a time-out or Ctrl-C, as `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits for ever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, there is no transaction; RD_KAFKA_RESP_ERR__TIMED_OUT and others
                with `is_retriable`: call it again; `is_fatal`: the producer has to be replaced.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
            Whatever callbacks raised, where this call ran them (a BaseExceptionGroup when several did).
        Source: rd_kafka_abort_transaction(); KafkaProducer::abortTransaction.
        """
        run(self.get_client(), rd_kafka_abort_transaction, "abort_transaction", deadline_of(timeout))

    def send_offsets_to_transaction(self, offsets, group_id, timeout=None):
        """Commit a consumer group's offsets with the transaction.

        Blocks, without the GIL. After Ctrl-C the request goes on to its end, and the other calls of the transaction
        raise RD_KAFKA_RESP_ERR__CONFLICT, with `is_retriable`, until then; `with transaction()` waits for that.

        Args:
            offsets: (topic, partition, offset) tuples; the offset is that of the next record to read.
            group_id: the group's id, str.
            timeout: seconds (int, float or timedelta), None waits for as long as a transaction may last.
        Raises:
            KafkaException: as `commit_transaction`.
            TypeError, ValueError: an argument is malformed.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_send_offsets_to_transaction(); KafkaProducer::sendOffsetsToTransaction.
        """
        cdef int64_t deadline = deadline_of(timeout)
        checked = [check_offset(item) for item in offsets]
        raise_error(send_offsets(self.get_client(), checked, check_text("group_id", group_id), deadline))

    def transaction(self):
        """A transaction as a context: commits at its end, aborts when its body raises.

        A commit that can be repeated is repeated; one that fails abortably is aborted, and raises; a fatal one raises.

        Returns:
            A context manager, whose value is the producer.
        """
        return Transaction(self)


class Transaction:
    """See Transactional.transaction."""

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
                sleep(PAUSE)

    def _abort_for(self, exc):
        """Abort because of an exception, which stays the one that is raised: what else fails is said beside it."""
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
                sleep(PAUSE)


cdef int run(Client client, TransactionFunction call, str what, int64_t deadline) except -1:
    """Make a call that librdkafka ends when it thinks fit, and resumes: when no time-out of the user's is over."""
    cdef list raised = None if client.background else []
    cdef object error, reason = None
    client.check_blocking(what)
    client.enter()
    try:
        while True:
            error = call_transaction(client, call, deadline, raised)
            if error is None or not goes_on(call, error):
                break
            KP_SET(client.resumes_call, True)
            if error.code != RD_KAFKA_RESP_ERR__TIMED_OUT:
                reason = error
            if expired(deadline):
                error = reason or error     # librdkafka forgets the reason from call to call
                break
        if error is None and KP_TAKE_FLAG(client.resumes_call):
            with nogil:
                usleep(ACKNOWLEDGED)
        if not client.background:
            client.dispatch(0, 0, raised)     # reports that came with the end of the call
    except:
        report_all_unraisable(raised)
        raise
    finally:
        client.leave()
    if error is not None:
        report_all_unraisable(raised)
        raise_error(error)
    raise_all(raised)
    return 0


cdef bint goes_on(TransactionFunction call, error):
    """Whether the call is still under way, and only its time was over."""
    if not error.is_retriable:
        return False
    if call == <TransactionFunction>rd_kafka_init_transactions:
        # At the end of its time it gives, if it can, the error that it is retrying in place of the time-out.
        return error.code not in (RD_KAFKA_RESP_ERR__CONFLICT, RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS)
    return error.code == RD_KAFKA_RESP_ERR__TIMED_OUT


cdef int raise_error(error) except -1:
    if error is not None:
        raise KafkaException(error)
    return 0


cdef str check_text(str what, text):
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text or "\0" in text:
        raise ValueError(f"{what} must be a text without NUL, not {text[:64]!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must not have a lone surrogate: {text[:64]!r}") from None
    return text


cdef tuple check_offset(item):
    if not isinstance(item, (tuple, list)) or len(item) != 3:
        raise TypeError(f"offsets must be (topic, partition, offset) tuples, not {repr(item)[:200]}")
    topic, partition, offset = item
    numbers = []
    for name, number, most in (("partition", partition, 2**31 - 1), ("offset", offset, 2**63 - 1)):
        number = exact_int(number, f"offsets: {name} must be an int")
        if not 0 <= number <= most:
            raise ValueError(f"offsets: {name} must be from 0 to {most}, not {short_int(number)}")
        numbers.append(number)
    return check_text("offsets: topic", topic).encode(), *numbers
