"""Wakeup: what a task waits for until librdkafka has signalled, by asyncio's protocol for foreign futures.

The loop's callback that has seen the signal goes on with the task itself. With an asyncio.Future the loop would first
go round once more, and look at all descriptors again: a third of the time until a record is in hand.
"""
from asyncio import CancelledError, InvalidStateError, current_task

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit


@cython.final
cdef class Wakeup:
    """Of one wait. Used in the loop's thread only."""

    def __cinit__(self, loop):
        self.loop, self.callbacks = loop, []

    cpdef int wake(self) except -1:
        """Go on with what waits: at once, unless a loop runs inside a task. For a callback of the loop's."""
        if self.state != PENDING:
            return 0
        self.state = WOKEN
        if self.callbacks and current_task(self.loop) is None:
            callback, context = self.callbacks.pop(0)
            self.call_soon()
            PyContext_Enter(context)
            try:
                callback(self)
            finally:
                PyContext_Exit(context)
        else:
            self.call_soon()
        return 0

    cpdef int set(self) except -1:
        """The same, but soon, as asyncio's own futures do it."""
        if self.state == PENDING:
            self.state = WOKEN
            self.call_soon()
        return 0

    cdef int call_soon(self) except -1:
        for callback, context in self.callbacks:
            self.loop.call_soon(callback, self, context=context)
        self.callbacks = []
        return 0

    # -- as asyncio.Future ------------------------------------------------------------------------

    def get_loop(self):
        return self.loop

    def done(self):
        return self.state != PENDING

    def cancelled(self):
        return self.state == CANCELLED

    def cancel(self, msg=None):
        if self.state != PENDING:
            return False
        self.state, self.message = CANCELLED, msg
        self.call_soon()
        return True

    def result(self):
        if self.state == PENDING:
            raise InvalidStateError("nothing was signalled yet")
        if self.state == CANCELLED:
            raise self._make_cancelled_error()

    def exception(self):
        return self.result()

    @property
    def _cancel_message(self):
        return self.message

    def _make_cancelled_error(self):
        return CancelledError() if self.message is None else CancelledError(self.message)

    def add_done_callback(self, callback, *, context=None):
        self.callbacks.append((callback, PyContext_CopyCurrent() if context is None else context))
        if self.state != PENDING:
            self.call_soon()

    def remove_done_callback(self, callback):
        left = [pair for pair in self.callbacks if pair[0] != callback]
        removed = len(self.callbacks) - len(left)
        self.callbacks = left
        return removed

    def __await__(self):
        if self.state == PENDING:
            self._asyncio_future_blocking = True
            yield self
        return self.result()
