"""Awaitable futures of sent records, by asyncio's protocol for foreign futures. Never blocks.

An asyncio.Future would cost a loop handle and two calls for each record: here all delivery reports of one dispatch
share one of each.
"""
from asyncio import CancelledError, InvalidStateError

from kafkapp.common import unretrieved
from kafkapp.common.errors import KafkaException

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit

from kafkapp.common.callbacks cimport report_unraisable
from kafkapp.common.public_names cimport export_as
from kafkapp.producer.record_metadata cimport RecordMetadata

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object thing)


@cython.final
cdef class CompletedFutures:
    """The completed futures of one loop whose callbacks are due. Does not keep the producer alive."""

    def bind(self, loop not None):
        """Set the loop, which must be running in this thread. It is always the same; its thread may be another one."""
        self.loop, self.is_running, self.thread = loop, loop.is_running, PyThread_get_thread_ident()

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

    cpdef int soon(self) except -1:
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
    """SendFuture(*args, **kwargs)\n--\n
    The outcome of a record, to be awaited: its RecordMetadata, or a KafkaException.

    It has the methods of asyncio.Future except those that set an outcome, and works wherever one does
    (`asyncio.gather`, `wait`, `wait_for`, `shield`). Cancelling it does not stop the record.
    """

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

    def _peek(self):
        """(metadata, error) of a future that is done, without taking the exception for retrieved: for tracing."""
        cdef bint unseen = self.unseen
        if self.state == CANCELLED:
            return None, self._make_cancelled_error()
        failure = self.get_failure()
        self.unseen = unseen
        return self.metadata, failure

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

    def __iter__(self):             # `yield from`, in generators that are coroutines; an alias would fill no slot
        return self.__await__()

    def __del__(self):
        if self.unseen:
            unretrieved.add(self.outcomes.client, self.get_failure(), self.topic)

    def __repr__(self):
        if self.state == PENDING:
            state = "pending"
        elif self.state == CANCELLED:
            state = "cancelled"
        else:
            state = str(self.metadata if self.failure is None else f"failed, {self.failure}")
        return f"<SendFuture {unretrieved.record_text(self.topic or '', self.record_id)}: {state}>"

    def __reduce__(self):
        raise TypeError("a SendFuture cannot be pickled or copied: it belongs to an event loop")


export_as(SendFuture, "kafkapp.aio.SendFuture")
