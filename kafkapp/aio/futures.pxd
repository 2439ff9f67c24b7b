# Futures of sent records, and those of one loop whose callbacks are due.

cimport cython

from kafkapp.producer.delivery cimport FutureTarget

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


cdef enum State:
    PENDING
    CANCELLED
    FINISHED


@cython.final
cdef class CompletedFutures:
    cdef readonly str client        # the client's name in librdkafka's logs
    cdef readonly object loop       # the producer's; None: not bound yet
    cdef object is_running          # loop.is_running
    cdef unsigned long thread       # the thread that the loop runs in
    cdef SendFuture first, last     # linked by SendFuture.next
    cdef bint scheduled             # the loop will call run()

    cdef int add(self, SendFuture future) noexcept
    cdef SendFuture take(self)
    cdef object run_callback(self, callback, context, SendFuture future, raised)
    cpdef int soon(self) except -1      # have the loop run the callbacks that are due

    cdef inline bint runs_here(self) except -1:
        """Whether the loop runs in this thread: so it is the running loop. Asking asyncio costs a system call."""
        return self.thread == PyThread_get_thread_ident() and self.is_running()


@cython.final
cdef class SendFuture(FutureTarget):
    cdef CompletedFutures outcomes
    cdef str topic                  # of the record
    cdef object record_id           # likewise
    cdef SendFuture next            # in the list of those whose callbacks are due
    cdef object metadata            # RecordMetadata, once it is delivered; when cancelled, the message
    cdef object failure             # Error, or the exception made of it
    cdef object callback, context   # the first callback: most futures have one
    cdef list more                  # (callback, context) of further ones
    cdef State state
    cdef bint linked                # in the list of those whose callbacks are due
    cdef bint unseen                # it failed, and nothing has retrieved its exception
    cdef public bint _asyncio_future_blocking

    cdef CompletedFutures owner(self)
    cdef object get_failure(self)
