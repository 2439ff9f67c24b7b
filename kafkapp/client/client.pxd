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
    UNRESPONSIVE_MS = 1000          # without a report: then what was cancelled is not waited for any more
    SIGNAL_CHECK_MS = 100           # the longest wait between two checks for signals
    COMPLETION_CHECK_MS = 10        # the longest that a wait takes to see that what it waits for is complete

cdef enum Thread:                   # what a client's own thread does
    DISPATCHES_ALL                  # the service's events, logs, errors, statistics, token refreshes
    DISPATCHES_EVENTS               # all but the service's; these too when no call has dispatched them for a while
    KEEPS_EVENTS                    # keeps events of an idle client, in C and within a bound; dispatches nothing


@cython.final
cdef class Client(Handle):
    cdef unsigned long closing_thread   # ident of the thread that closes it or has closed it; 0: none
    cdef int64_t close_deadline     # of close(); a close() in another thread may bring it forward
    cdef unsigned long own_thread   # ident of the background thread, 0: none
    cdef int closing_dropped        # a thread closes it, because it was dropped open
    cdef int warns_if_open          # the warning that it was left open is still to be given
    cdef readonly bint background   # its thread DISPATCHES_ALL; else the user's calls dispatch the service's events
    cdef int loop_dispatches        # an event loop dispatches: no other thread may while it runs
    cdef EventHandlers handlers     # of logs, errors, statistics and token refreshes
    cdef int thread_runs            # the thread that DISPATCHES_ALL or DISPATCHES_EVENTS runs, or is about to
    cdef readonly object properties     # a Properties: what the user gave, and our defaults
    cdef readonly str name
    cdef readonly str client_id
    cdef object __weakref__

    cdef bint warn_open(self) except -1
    cdef int start_dispatcher(self) except -1
    cdef int stop_dispatcher(self) noexcept nogil
    cdef int dispatch_remaining(self) except -1
    cdef int dispatch_round(self, list raised) except -1
    cdef bint dispatch_kept(self) except -1
    cdef int check_blocking(self, str what) except -1
    cdef bint in_callback(self) noexcept
    cdef int64_t dispatch(self, int64_t seen, int timeout_ms, list raised) except -1
    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1
    cdef int64_t poll_events(self, int64_t deadline) except -1
    cdef bint wait_for(self, const int *flag, int64_t deadline, list raised) except -1
