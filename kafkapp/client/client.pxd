# C interface of kafkapp.client.client.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.client.events cimport EventHandlers
from kafkapp.client.handle cimport Handle

cdef extern from "Python.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030D0000
    #define Py_IsFinalizing _Py_IsFinalizing
    #endif
    """
    bint Py_IsFinalizing()

cdef enum:
    UNRESPONSIVE_MS = 1000          # without a delivery report: then purged records are not waited for any more
    SIGNAL_CHECK_MS = 100           # the longest wait between two checks for signals
    FLUSH_CHECK_MS = 10             # the longest that a flush takes to see that its own records are reported

cdef enum Thread:                   # what a client's own thread does
    DISPATCHES_ALL                  # delivery reports, logs, errors, statistics, token refreshes
    DISPATCHES_EVENTS               # all but delivery reports; these too when no call has dispatched them for a while
    KEEPS_EVENTS                    # keeps events of an idle client, in C and within a bound; dispatches nothing


@cython.final
cdef class Client(Handle):
    cdef unsigned long closing_thread   # ident of the thread that closes it or has closed it; 0: none
    cdef int64_t close_deadline     # of close(); a close() in another thread may bring it forward
    cdef unsigned long dispatcher   # ident of the background thread, 0: none
    cdef int closing_dropped        # a thread closes it, because it was dropped open
    cdef int warns_if_open          # the warning that it was left open is still to be given
    cdef readonly bint background   # its thread DISPATCHES_ALL; else the user's calls dispatch delivery reports
    cdef object transaction_call    # a transaction's call that is still running, perhaps after its caller has left it
    cdef int resumes_call           # the next transaction call resumes one that has timed out
    cdef int loop_dispatches        # an event loop dispatches: no other thread may while it runs
    cdef EventHandlers handlers     # of logs, errors, statistics and token refreshes
    cdef list batch_waiters         # idents of threads that wait for room in a send_batch, once for each such call
    cdef int thread_runs            # the thread that DISPATCHES_ALL or DISPATCHES_EVENTS runs, or is about to
    cdef readonly object properties     # a Properties: what the user gave, and our defaults
    cdef readonly str name
    cdef readonly str client_id
    cdef int64_t max_message_bytes  # message.max.bytes; set by kafkapp.producer.queue_room
    cdef object __weakref__

    cdef bint warn_open(self) except -1
    cdef int start_dispatcher(self) except -1
    cdef int stop_dispatcher(self) noexcept nogil
    cdef int dispatch_remaining(self) except -1
    cdef int dispatch_round(self, list raised) except -1
    cdef bint dispatch_kept(self) except -1
    cdef bint wait_reported(self, int64_t epoch, int64_t deadline, list raised) except -1
    cdef int check_blocking(self, str what) except -1
    cdef int check_batching(self, str what) except -1
    cdef bint in_callback(self) noexcept
    cdef int64_t dispatch(self, int64_t seen, int timeout_ms, list raised) except -1
    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1
    cdef int wait_for_room(self, int64_t seen, int64_t deadline) except -1
    cdef bint wait_for(self, const int *flag, int64_t deadline, list raised) except -1
    cdef int flush(self, int64_t deadline) except -1
