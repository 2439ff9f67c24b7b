# Contract of kafkapp.client with the producers above it. Layer L4.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.events cimport EventHandlers
from kafkapp.handle cimport Handle

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
    SILENCE = 1000                  # ms without a report after which purged records are not waited for
    SLICE = 100                     # ms; the longest wait without a look at signals
    FLUSH_SLICE = 10                # ms; the longest that a flush overlooks that its own records are reported

cdef enum Thread:                   # what a client's own thread does
    SERVES                          # all of it: reports, logs, errors, statistics, tokens
    TELLS                           # of all but reports; these too where no call serves for a while
    KEEPS                           # in C, within a bound, what the calls that serve have not fetched for a while


@cython.final
cdef class Client(Handle):
    cdef unsigned long closer       # ident of the thread that closes it, or has; 0: none
    cdef int64_t end_by             # when its time to deliver is over; another thread's close() may bring it forward
    cdef unsigned long poller       # ident of the background thread, 0: none
    cdef int dropping               # a thread closes it, since nobody has
    cdef int unsaid                 # it was not said yet that it was left open
    cdef readonly bint background   # SERVES; else the callers do
    cdef object request             # a call of a transaction that is under way, and may have been left so
    cdef int resumes                # the next goes on where one was left whose time was over
    cdef int driven                 # an event loop serves: no other thread may while it runs
    cdef EventHandlers handlers     # what logs, errors and statistics go to
    cdef list batching              # idents of threads that wait for room within a send_batch, each as often as it does
    cdef int polls                  # the thread that SERVES or TELLS runs, or is about to
    cdef readonly object properties  # a Properties: what the user gave, and our defaults
    cdef readonly str name
    cdef readonly str client_id
    cdef int64_t max_message        # message.max.bytes; by kafkapp.room
    cdef object __weakref__

    cdef bint warn_open(self) except -1
    cdef int start_poller(self) except -1
    cdef int stop_poller(self) noexcept nogil
    cdef int serve_rest(self) except -1
    cdef int settle(self, list raised) except -1
    cdef bint tell(self) except -1
    cdef bint wait_reported(self, int64_t epoch, int64_t deadline, list raised) except -1
    cdef int check_blocking(self, str what) except -1
    cdef int check_batching(self, str what) except -1
    cdef bint in_callback(self) noexcept
    cdef int64_t serve(self, int64_t seen, int timeout_ms, list raised) except -1
    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1
    cdef int wait_for_room(self, int64_t seen, int64_t deadline) except -1
    cdef bint wait_for(self, const int *flag, int64_t deadline, list raised) except -1
    cdef int flush(self, int64_t deadline) except -1
