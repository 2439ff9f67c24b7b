"""Futures of records for an event loop, and the hand-over of records for which there is one.

Layer L7: knows senders and the protocol that asyncio has for futures that are not its own; no descriptors, no waiting.
asyncio's own future costs a handle of the loop and two calls for each record: here a round of reports is one of each.
"""
from _asyncio import _get_running_loop as running_loop
from asyncio import CancelledError, InvalidStateError
from collections import deque

from kafkapp.errors import KafkaException
from kafkapp.options import SendOption

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from libc.stdint cimport int64_t

from kafkapp.delivery cimport KP_FUTURE, FutureTarget, report_unraisable
from kafkapp.errors cimport new_error
from kafkapp.librdkafka cimport RD_KAFKA_RESP_ERR__PURGE_QUEUE, RD_KAFKA_RESP_ERR__QUEUE_FULL, rd_kafka_resp_err_t
from kafkapp.records cimport ProducerRecord, RecordMetadata
from kafkapp.room cimport copy_of, never_fits
from kafkapp.sender cimport Sender, copies

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    void PyObject_GC_UnTrack(object thing)

cdef object NO_COPY = SendOption.NoCopyRecordValue


cdef enum State:
    PENDING
    CANCELLED
    FINISHED


@cython.final
cdef class Outcomes:
    """The futures that are done and whose callbacks are due, of one loop. It does not keep the producer alive."""
    cdef object loop                # None: not bound yet
    cdef object is_running          # its method
    cdef unsigned long thread       # the one that it runs in
    cdef SendFuture first, last     # linked by SendFuture.next
    cdef bint scheduled             # the loop will call run()

    @cython.critical_section        # close() completes what is left in a thread of its own
    cdef int add(self, SendFuture future) noexcept:
        if not future.linked:
            future.linked = True
            if self.last is None:
                self.first = future
            else:
                self.last.next = future
            self.last = future
        return 0

    @cython.critical_section
    cdef SendFuture take(self):
        """The first of those that are due; none is any more."""
        cdef SendFuture first = self.first
        self.first = self.last = None
        return first

    cdef int soon(self) except -1:
        """Have the loop call what is due, as asyncio's own futures do. In the loop's thread."""
        if self.first is not None and not self.scheduled:
            self.loop.call_soon(self.run)
            self.scheduled = True
        return 0

    def run(self):
        """Call what is due now, each callback in its own context. In the loop's thread, outside any task."""
        cdef SendFuture future, after
        self.scheduled = False
        future = self.take()                # what becomes due from here on waits for the loop's next turn
        raised = None
        while future is not None:
            after, future.next = future.next, None
            future.linked = False
            callback, context, more = future.callback, future.context, future.more
            future.callback = future.context = future.more = None
            if callback is not None:
                raised = self.call(callback, context, future, raised)
            if more is not None:
                for callback, context in more:
                    raised = self.call(callback, context, future, raised)
            future = after
        self.soon()
        if raised is not None:
            raise raised

    cdef object call(self, callback, context, SendFuture future, raised):
        """Returns what ends the loop, or did before. As with its own handles, its exception handler has the rest."""
        try:
            PyContext_Enter(context)
            try:
                callback(future)
            finally:
                PyContext_Exit(context)
        except (SystemExit, KeyboardInterrupt) as exc:
            if raised is None:
                return exc
            report_unraisable(exc)         # the loop ends by one only
        except BaseException as exc:
            try:
                self.loop.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": exc,
                                                  "future": future})
            except BaseException as other:
                if raised is None:
                    return other        # the callbacks of the others are due all the same
                report_unraisable(other)
        return raised


@cython.final
@cython.trashcan(True)      # as a list, it may be the last to hold another one, and that the next
cdef class SendFuture(FutureTarget):
    """The outcome of a record, to be awaited: its RecordMetadata, or a KafkaException.

    It has the methods of asyncio.Future but those that set an outcome, and goes wherever such a future may go
    (`asyncio.gather`, `wait`, `wait_for`, `shield`). Cancelling it does not stop the record.
    """
    cdef Outcomes outcomes
    cdef SendFuture next            # among those whose callbacks are due
    cdef object metadata            # RecordMetadata, once it is delivered; when cancelled, the message
    cdef object failure             # Error, or the exception made of it
    cdef object callback, context   # most have one callback
    cdef list more                  # (callback, context) of the others
    cdef State state
    cdef bint linked                # among those whose callbacks are due
    cdef bint unseen                # it failed, and nobody has asked
    cdef public bint _asyncio_future_blocking

    def __init__(self, *args, **kwargs):
        raise TypeError("a SendFuture is what KafkaProducer.send returns")

    def __dealloc__(self):
        # Still linked: nobody will run those behind it. Each is taken off the chain before it goes: were it to free the
        # next from within itself, a long chain would overflow the C stack.
        cdef SendFuture after = self.next, further
        self.next = None
        while after is not None:
            further, after.next = after.next, None
            after.linked = False
            after = further

    cdef Outcomes owner(self):
        if self.outcomes is None:
            raise RuntimeError("this SendFuture was made by hand: KafkaProducer.send returns those of records")
        return self.outcomes

    cdef int resolve(self, RecordMetadata metadata, object error) noexcept:
        if self.state != PENDING:
            return 0        # cancelled: the record has gone its way all the same
        self.state = FINISHED
        if error is not None:
            self.failure = error
            self.unseen = True
        else:
            self.metadata = metadata
            if metadata is not None and metadata._record_id is None:
                PyObject_GC_UnTrack(metadata)   # of strings and numbers, it is part of no cycle
        if self.callback is not None:
            self.outcomes.add(self)
        return 0

    cdef object settled(self):
        """The exception it failed with, None if it did not; raises when that cannot be told."""
        if self.state == PENDING:
            raise InvalidStateError("the record is not reported yet")
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        self.unseen = False
        if self.failure is None:
            if self.metadata is not None:
                return None
            self.failure = MemoryError("the record was reported, but there was no memory to say how")
        elif not isinstance(self.failure, BaseException):
            self.failure = KafkaException(self.failure)
        return self.failure

    def result(self):
        """The record's RecordMetadata.

        Raises:
            KafkaException: it was not delivered.
            asyncio.CancelledError: the future was cancelled.
            asyncio.InvalidStateError: the record is not reported yet.
        """
        failure = self.settled()
        if failure is not None:
            raise failure.with_traceback(None)
        return self.metadata

    def exception(self):
        """The KafkaException of a record that was not delivered, None for one that was; raises as `result` else."""
        return self.settled()

    def done(self):
        """Whether the record is reported, or the future cancelled."""
        return self.state != PENDING

    def cancelled(self):
        """Whether the future was cancelled."""
        return self.state == CANCELLED

    def cancel(self, msg=None):
        """Stop waiting. The record goes its way all the same.

        Returns:
            Whether there was something to cancel.
        """
        cdef Outcomes outcomes = self.owner()
        if self.state != PENDING:
            return False
        self.state = CANCELLED
        self.metadata = msg
        if self.callback is not None:
            outcomes.add(self)
            outcomes.soon()
        return True

    def add_done_callback(self, callback, *, context=None):
        """Have the loop call `callback(future)` once it is done, in `context` or a copy of the current one."""
        if context is None:
            context = PyContext_CopyCurrent()
        if self.callback is None:
            self.callback, self.context = callback, context
        elif self.more is None:
            self.more = [(callback, context)]
        else:
            self.more.append((callback, context))
        if self.state != PENDING:
            self.outcomes.add(self)     # it is done, and so not made by hand
            self.outcomes.soon()

    def remove_done_callback(self, callback):
        """Take back all of `callback`. Returns how many that were."""
        if self.callback is None:
            return 0
        every = [(self.callback, self.context), *(self.more or ())]
        left = [pair for pair in every if pair[0] != callback]
        self.callback, self.context = left[0] if left else (None, None)
        self.more = left[1:] or None
        return len(every) - len(left)

    # asyncio.gather asks a cancelled future for these two.
    @property
    def _cancel_message(self):
        return self.metadata if self.state == CANCELLED else None

    def _make_cancelled_error(self):
        return CancelledError() if self.metadata is None else CancelledError(self.metadata)

    def get_loop(self):
        """The loop that it belongs to."""
        return self.owner().loop

    def __await__(self):
        if self.state == PENDING:
            self._asyncio_future_blocking = True
            yield self
            if self.state == PENDING:
                raise RuntimeError("await was not used with the future")
        return self.result()

    __iter__ = __await__

    def __del__(self):
        if self.unseen:
            self.outcomes.loop.call_exception_handler({
                "message": "the exception of a record was never retrieved", "exception": self.settled(),
                "future": self})

    def __repr__(self):
        if self.state == PENDING:
            return "<SendFuture pending>"
        if self.state == CANCELLED:
            return "<SendFuture cancelled>"
        return f"<SendFuture {self.metadata if self.failure is None else self.failure!r}>"

    def __reduce__(self):
        raise TypeError("a SendFuture cannot be pickled or copied: it belongs to a loop")


@cython.final
cdef class Waiting:
    """A record that waits for room in the queue, as it was when it was sent."""
    cdef ProducerRecord record
    cdef SendFuture future
    cdef object option


cdef class Outbox:
    """What hands records over for futures. The base of kafkapp.aio's producer; not to be made itself."""
    cdef Sender sender              # a KafkaAsyncProducer
    cdef Outcomes outcomes
    cdef object waiting             # deque of Waiting
    cdef int64_t queued             # how many records have ever waited
    cdef bint shut                  # close() has begun
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):       # those of a subclass
        self.outcomes = Outcomes.__new__(Outcomes)
        self.waiting = deque()

    def send(self, record, option=NO_COPY):
        """Send a record.

        Never blocks. While librdkafka's queue is full records wait their turn; whoever awaits the futures of what was
        sent waits with them, which is all the back-pressure there is. Cancelling the future does not stop the record.

        Args:
            record: a ProducerRecord; may be changed and sent again at once. Its value's memory must not change before
                the future is done, unless `option` is SendOption.ToCopyRecordValue.
            option: a SendOption.
        Returns:
            A SendFuture: a future of the record's RecordMetadata, which raises KafkaException when it was not
            delivered.
        Raises:
            TypeError, BufferError: an argument is of the wrong type.
            RuntimeError: after `close`, outside the producer's loop, or in a forked child.
        Source: rd_kafka_produce(), rd_kafka_produceva(); KafkaAsyncProducer::send.
        """
        cdef SendFuture future
        cdef Waiting waiting
        # Its loop runs, and in this thread: then this is its loop. To ask for the one that runs costs a system call.
        if self.shut or self.outcomes.thread != PyThread_get_thread_ident() or not self.outcomes.is_running():
            self._bound()
        if not isinstance(record, ProducerRecord):
            raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
        future = SendFuture.__new__(SendFuture)
        future.outcomes = self.outcomes
        if self.waiting or not self.hand_over(<ProducerRecord>record, future, option):
            self.sender.client.check_open()
            waiting = Waiting.__new__(Waiting)
            waiting.record = copy_of(<ProducerRecord>record, copies(option))
            error = never_fits(self.sender.client, waiting.record)
            if error is not None:
                future.resolve(None, error)
                return future
            waiting.future = future
            waiting.option = option
            self.waiting.append(waiting)
            self.queued += 1
        return future

    cdef bint hand_over(self, ProducerRecord record, SendFuture future, object option) except -1:
        """Whether there was room. What librdkafka refuses for another reason is the future's outcome."""
        cdef rd_kafka_resp_err_t err
        try:
            err = self.sender.hand_over(record, future, KP_FUTURE, option, False, 0)
        except KafkaException as exc:
            future.resolve(None, exc.error)
            return True
        if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            return False
        if err:
            future.resolve(None, self.sender.refusal(err, record))
        return True

    # -- for kafkapp.aio ------------------------------------------------------------------------

    def _bound(self):
        """The loop that it is driven by; raises when that is not the one that runs, and after `close`."""
        self._taken()
        if self.shut:
            raise RuntimeError("the producer is closed")
        loop = running_loop()
        if loop is None:
            raise RuntimeError("no event loop runs here: use the producer in a coroutine or a callback of its loop")
        if self.outcomes.loop is None:
            self._drive(loop)
            self.outcomes.loop = loop
            self.outcomes.is_running = loop.is_running
            self.outcomes.thread = PyThread_get_thread_ident()
        elif loop is not self.outcomes.loop:
            raise RuntimeError("this producer belongs to another loop: the one in which it was first used" + (
                ", which is closed; close() it before its loop ends" if self.outcomes.loop.is_closed() else ""))
        else:
            self.outcomes.thread = PyThread_get_thread_ident()      # it may run in another one now
        return loop

    def _drive(self, loop):
        """Have the loop called when there is something to serve. The subclass does."""
        raise NotImplementedError

    def _loop(self):
        """The loop that it is driven by, None before the first use."""
        return self.outcomes.loop

    def _runs_here(self):
        """Whether its loop runs in this thread."""
        return (self.outcomes.loop is not None and self.outcomes.thread == PyThread_get_thread_ident()
                and self.outcomes.is_running())

    def _take(self, make, *args):
        """Make the producer that hands over, once."""
        cdef Sender made
        if self.sender is None:
            made = make(*args)
            if self.sender is None:
                self.sender = made
                return
            made.close(0)           # __init__ runs in two threads
        raise RuntimeError(f"{type(self).__name__}.__init__() was called already")

    def _taken(self):
        if self.sender is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called")
        return self.sender

    def _shut(self):
        """Accept nothing any more. Returns whether that is new."""
        was, self.shut = self.shut, True
        return not was

    def _reopen(self):
        self.shut = False

    def _hand_over_waiting(self):
        """Hand over what has room now, in order."""
        cdef Waiting first
        while self.waiting:
            first = self.waiting[0]
            try:
                if not self.hand_over(first.record, first.future, first.option):
                    return
            except Exception as exc:
                first.future.resolve(None, exc)     # a buffer that has been released since: the others go on
            self.waiting.popleft()

    def _give_up_waiting(self):
        """What waits fails: it never was in librdkafka's queue."""
        cdef Waiting each
        while self.waiting:
            each = self.waiting.popleft()
            each.future.resolve(None, new_error(RD_KAFKA_RESP_ERR__PURGE_QUEUE))

    def _places(self):
        """How many records have left the line, and how many have ever stood in it."""
        return self.queued - <int64_t>len(self.waiting), self.queued

    def _outcomes(self):
        """What outlives a producer that is dropped."""
        return self.outcomes

    def _soon(self):
        """Have the loop call who is due to be called."""
        self.outcomes.soon()
