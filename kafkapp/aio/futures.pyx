"""Awaitable futures of sent records, and the queue of records that wait for room.

Knows senders and asyncio's protocol for foreign futures; knows no descriptors. Never blocks. An asyncio.Future would
cost a loop handle and two calls for each record: here all delivery reports of one dispatch share one of each.
"""
from _asyncio import _get_running_loop as running_loop
from asyncio import CancelledError, InvalidStateError
from collections import deque

from kafkapp.common.errors import KafkaException
from kafkapp.producer.options import SendOption

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    rd_kafka_resp_err_t,
)
from kafkapp.common.callbacks cimport report_unraisable
from kafkapp.common.errors cimport new_error
from kafkapp.producer.delivery cimport KP_FUTURE, FutureTarget
from kafkapp.producer.queue_room cimport queued_copy, never_fits_error
from kafkapp.producer.record cimport ProducerRecord, RecordMetadata
from kafkapp.producer.send cimport Sender, wants_copy

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    void PyObject_GC_UnTrack(object thing)

cdef object NO_COPY = SendOption.NoCopyRecordValue


cdef enum State:
    PENDING
    CANCELLED
    FINISHED


@cython.final
cdef class CompletedFutures:
    """The completed futures of one loop whose callbacks are due. Does not keep the producer alive."""
    cdef object loop                # None: not bound yet
    cdef object is_running          # loop.is_running
    cdef unsigned long thread       # the thread that the loop runs in
    cdef SendFuture first, last     # linked by SendFuture.next
    cdef bint scheduled             # the loop will call run()

    @cython.critical_section        # close() completes futures in a thread of its own
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
        """Remove all that are due. Returns the first of them."""
        cdef SendFuture first = self.first
        self.first = self.last = None
        return first

    cdef int soon(self) except -1:
        """Have the loop run the callbacks that are due, as asyncio's own futures do. In the loop's thread."""
        if self.first is not None and not self.scheduled:
            self.loop.call_soon(self.run)
            self.scheduled = True
        return 0

    def run(self):
        """Run the callbacks that are due, each in its own context. In the loop's thread, outside any task."""
        cdef SendFuture future, after
        self.scheduled = False
        future = self.take()                # what becomes due from here on is for the loop's next iteration
        raised = None
        while future is not None:
            after, future.next = future.next, None
            future.linked = False
            callback, context, more = future.callback, future.context, future.more
            future.callback = future.context = future.more = None
            if callback is not None:
                raised = self.run_callback(callback, context, future, raised)
            if more is not None:
                for callback, context in more:
                    raised = self.run_callback(callback, context, future, raised)
            future = after
        self.soon()
        if raised is not None:
            raise raised

    cdef object run_callback(self, callback, context, SendFuture future, raised):
        """Returns the exception that ends the loop: this callback's, or `raised`. Its handler gets any other."""
        try:
            PyContext_Enter(context)
            try:
                callback(future)
            finally:
                PyContext_Exit(context)
        except (SystemExit, KeyboardInterrupt) as exc:
            if raised is None:
                return exc
            report_unraisable(exc)      # the loop can end with one exception only
        except BaseException as exc:
            try:
                self.loop.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": exc,
                                                  "future": future})
            except BaseException as handler_exc:
                if raised is None:
                    return handler_exc      # raised when the other callbacks have run
                report_unraisable(handler_exc)
        return raised


@cython.final
@cython.trashcan(True)      # a future may hold the last reference to another one, and so on
cdef class SendFuture(FutureTarget):
    """The outcome of a record, to be awaited: its RecordMetadata, or a KafkaException.

    It has the methods of asyncio.Future except those that set an outcome, and works wherever one does
    (`asyncio.gather`, `wait`, `wait_for`, `shield`). Cancelling it does not stop the record.
    """
    cdef CompletedFutures outcomes
    cdef SendFuture next            # in the list of those whose callbacks are due
    cdef object metadata            # RecordMetadata, once it is delivered; when cancelled, the message
    cdef object failure             # Error, or the exception made of it
    cdef object callback, context   # the first callback: most futures have one
    cdef list more                  # (callback, context) of further ones
    cdef State state
    cdef bint linked                # in the list of those whose callbacks are due
    cdef bint unseen                # it failed, and nothing has retrieved its exception
    cdef public bint _asyncio_future_blocking

    def __init__(self, *args, **kwargs):
        raise TypeError("a SendFuture cannot be created directly: KafkaProducer.send() returns one")

    def __dealloc__(self):
        # Still linked: nothing will run the callbacks of those behind it. Each is unlinked before it is freed: if each
        # freed the next one from within itself, a long chain would overflow the C stack.
        cdef SendFuture after = self.next, following
        self.next = None
        while after is not None:
            following, after.next = after.next, None
            after.linked = False
            after = following

    cdef CompletedFutures owner(self):
        if self.outcomes is None:
            raise RuntimeError("this SendFuture was not returned by KafkaProducer.send() and belongs to no record")
        return self.outcomes

    cdef int resolve(self, RecordMetadata metadata, object error) noexcept:
        if self.state != PENDING:
            return 0        # cancelled: the record was sent all the same
        self.state = FINISHED
        if error is not None:
            self.failure = error
            self.unseen = True
        else:
            self.metadata = metadata
            if metadata is not None and metadata._record_id is None:
                PyObject_GC_UnTrack(metadata)   # it holds strings and numbers only: part of no cycle
        if self.callback is not None:
            self.outcomes.add(self)
        return 0

    cdef object get_failure(self):
        """The exception it failed with, None if it did not; raises while pending and when cancelled."""
        if self.state == PENDING:
            raise InvalidStateError("the record is still in flight: await the future first")
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        self.unseen = False
        if self.failure is None:
            if self.metadata is not None:
                return None
            self.failure = MemoryError("no memory for the record's delivery report: it may or may not be delivered")
        elif not isinstance(self.failure, BaseException):
            self.failure = KafkaException(self.failure)
        return self.failure

    def result(self):
        """The record's RecordMetadata.

        Raises:
            KafkaException: it was not delivered.
            asyncio.CancelledError: the future was cancelled.
            asyncio.InvalidStateError: the record is still in flight.
        """
        failure = self.get_failure()
        if failure is not None:
            raise failure.with_traceback(None)
        return self.metadata

    def exception(self):
        """The KafkaException of a record that was not delivered, None for one that was; raises as `result`."""
        return self.get_failure()

    def done(self):
        """Whether the record has its delivery report, or the future is cancelled."""
        return self.state != PENDING

    def cancelled(self):
        """Whether the future was cancelled."""
        return self.state == CANCELLED

    def cancel(self, msg=None):
        """Cancel the future. The record is sent all the same.

        Returns:
            Whether there was something to cancel.
        """
        cdef CompletedFutures outcomes = self.owner()
        if self.state != PENDING:
            return False
        self.state = CANCELLED
        self.metadata = msg
        if self.callback is not None:
            outcomes.add(self)
            outcomes.soon()
        return True

    def add_done_callback(self, callback, *, context=None):
        """Have the loop call `callback(future)` once it is done, in `context` or in a copy of the current one."""
        if context is None:
            context = PyContext_CopyCurrent()
        if self.callback is None:
            self.callback, self.context = callback, context
        elif self.more is None:
            self.more = [(callback, context)]
        else:
            self.more.append((callback, context))
        if self.state != PENDING:
            self.outcomes.add(self)     # done: so it was returned by send(), and has `outcomes`
            self.outcomes.soon()

    def remove_done_callback(self, callback):
        """Remove every registration of `callback`. Returns how many there were."""
        if self.callback is None:
            return 0
        every = [(self.callback, self.context), *(self.more or ())]
        left = [pair for pair in every if pair[0] != callback]
        self.callback, self.context = left[0] if left else (None, None)
        self.more = left[1:] or None
        return len(every) - len(left)

    # asyncio.gather reads these two from a cancelled future.
    @property
    def _cancel_message(self):
        return self.metadata if self.state == CANCELLED else None

    def _make_cancelled_error(self):
        return CancelledError() if self.metadata is None else CancelledError(self.metadata)

    def get_loop(self):
        """The event loop of the producer."""
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
                "message": "the exception of a record was never retrieved", "exception": self.get_failure(),
                "future": self})

    def __repr__(self):
        if self.state == PENDING:
            return "<SendFuture pending>"
        if self.state == CANCELLED:
            return "<SendFuture cancelled>"
        return f"<SendFuture {self.metadata if self.failure is None else self.failure!r}>"

    def __reduce__(self):
        raise TypeError("a SendFuture cannot be pickled or copied: it belongs to an event loop")


@cython.final
cdef class WaitingRecord:
    """A record that waits for room in librdkafka's queue, as it was when `send` was called."""
    cdef ProducerRecord record
    cdef SendFuture future
    cdef object option


cdef class Outbox:
    """Base of kafkapp.aio.KafkaProducer: enqueues records and returns their futures. Not instantiated itself."""
    cdef Sender sender              # a KafkaAsyncProducer
    cdef CompletedFutures outcomes
    cdef object waiting             # deque of WaitingRecord
    cdef int64_t waited             # how many records have ever been put into `waiting`
    cdef bint stopped               # close() has begun
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):       # those of a subclass
        self.outcomes = CompletedFutures.__new__(CompletedFutures)
        self.waiting = deque()

    def send(self, record, option=NO_COPY):
        """Send a record.

        Never blocks. While librdkafka's queue is full records wait here, in order, without a limit: awaiting their
        futures is the only backpressure. Cancelling the future does not stop the record.

        Args:
            record: a ProducerRecord; may be changed and sent again at once. The memory of its value must not change
                before the future is done, unless `option` is SendOption.ToCopyRecordValue.
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
        cdef WaitingRecord waiting
        # Its loop runs in this thread: so it is the running loop. Asking asyncio for that costs a system call.
        if self.stopped or self.outcomes.thread != PyThread_get_thread_ident() or not self.outcomes.is_running():
            self._bound_loop()
        if not isinstance(record, ProducerRecord):
            raise TypeError(f"record must be a ProducerRecord, not {type(record).__name__}")
        future = SendFuture.__new__(SendFuture)
        future.outcomes = self.outcomes
        if self.waiting or not self.try_enqueue(<ProducerRecord>record, future, option):
            self.sender.client.check_open()
            waiting = WaitingRecord.__new__(WaitingRecord)
            waiting.record = queued_copy(<ProducerRecord>record, wants_copy(option))
            error = never_fits_error(self.sender.client, waiting.record)
            if error is not None:
                future.resolve(None, error)
                return future
            waiting.future = future
            waiting.option = option
            self.waiting.append(waiting)
            self.waited += 1
        return future

    cdef bint try_enqueue(self, ProducerRecord record, SendFuture future, object option) except -1:
        """Returns False when the queue is full. Any other refusal completes the future with its error."""
        cdef rd_kafka_resp_err_t err
        try:
            err = self.sender.enqueue(record, future, KP_FUTURE, option, False, 0)
        except KafkaException as exc:
            future.resolve(None, exc.error)
            return True
        if err == RD_KAFKA_RESP_ERR__QUEUE_FULL:
            return False
        if err:
            future.resolve(None, self.sender.enqueue_error(err, record))
        return True

    # -- for kafkapp.aio ------------------------------------------------------------------------

    def _bound_loop(self):
        """The loop of this producer, which must be running in this thread; raises if not, and after `close`."""
        self._made_sender()
        if self.stopped:
            raise RuntimeError("the producer is closed")
        loop = running_loop()
        if loop is None:
            raise RuntimeError("no event loop runs in this thread: use the producer in a coroutine or a callback of "
                               "its loop")
        if self.outcomes.loop is None:
            self._watch_events(loop)
            self.outcomes.loop = loop
            self.outcomes.is_running = loop.is_running
            self.outcomes.thread = PyThread_get_thread_ident()
        elif loop is not self.outcomes.loop:
            raise RuntimeError("this producer belongs to another loop: the one in which it was first used" + (
                ", which is closed; close() it before its loop ends" if self.outcomes.loop.is_closed() else ""))
        else:
            self.outcomes.thread = PyThread_get_thread_ident()      # the loop may run in another thread now
        return loop

    def _watch_events(self, loop):
        """Have the loop call back when there are events to dispatch. Implemented by the subclass."""
        raise NotImplementedError

    def _event_loop(self):
        """The loop of this producer, None before the first use."""
        return self.outcomes.loop

    def _runs_here(self):
        """Whether its loop runs in this thread."""
        return (self.outcomes.loop is not None and self.outcomes.thread == PyThread_get_thread_ident()
                and self.outcomes.is_running())

    def _make_sender(self, make, *args):
        """Create the producer that enqueues, once."""
        cdef Sender sender
        if self.sender is None:
            sender = make(*args)
            if self.sender is None:
                self.sender = sender
                return
            sender.close(0)         # another thread has run __init__ meanwhile
        raise RuntimeError(f"{type(self).__name__}.__init__() was called already")

    def _made_sender(self):
        if self.sender is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.sender

    def _stop_accepting(self):
        self.stopped = True

    def _accept_again(self):
        self.stopped = False

    def _enqueue_waiting(self):
        """Enqueue the waiting records for which there is room now, in order."""
        cdef WaitingRecord first
        while self.waiting:
            first = self.waiting[0]
            try:
                if not self.try_enqueue(first.record, first.future, first.option):
                    return
            except Exception as exc:
                first.future.resolve(None, exc)     # a buffer released meanwhile: that is no fault of the next records
            self.waiting.popleft()

    def _fail_waiting(self):
        """Fail the waiting records, which never were in librdkafka's queue."""
        cdef WaitingRecord record
        while self.waiting:
            record = self.waiting.popleft()
            record.future.resolve(None, new_error(RD_KAFKA_RESP_ERR__PURGE_QUEUE))

    def _waiting_counts(self):
        """How many records have left `waiting`, and how many have ever been put into it."""
        return self.waited - <int64_t>len(self.waiting), self.waited

    def _completed(self):
        """The completed futures: they outlive a producer that is garbage-collected."""
        return self.outcomes

    def _schedule_callbacks(self):
        """Have the loop run the callbacks that are due."""
        self.outcomes.soon()
