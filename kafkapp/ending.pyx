"""The end of clients: closed, dropped by who has not closed them, or still open when the interpreter ends.

Layer L5: knows clients, no producers.

close() waits for three parties, none of which has to answer, and has a bound for each:

* brokers, until its time is over; what is in flight then is purged, and the reports are there in milliseconds.
* librdkafka's threads: UNRESPONSIVE_MS. A report that has not come by then is not waited for: see handle.pyx.
* the user's callbacks, on the background thread or in another thread's call: CALLBACK_GRACE_MS for each. One that takes
  longer may want a lock that the caller of close() holds. So close() warns and returns; the callbacks that are due run,
  each once, on the thread that is in that one, which is the last to use the handle and so destroys it.

A finalizer may run anywhere: within any lock, on the client's own background thread, in one of its callbacks; and where
the garbage collector calls it, within any call. So it has a thread of its own close the client. It waits for that only
where the last reference was dropped, and only while nothing shows that it is waited for itself.
"""
import atexit

from kafkapp import log_lines
from kafkapp.client import clients, on_drop
from kafkapp.visible import start_thread

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp.client cimport (
    FLUSH_CHECK_MS,
    SIGNAL_CHECK_MS,
    UNRESPONSIVE_MS,
    Client,
    Py_IsFinalizing,
    PyThread_get_thread_ident,
)
from kafkapp.delivery cimport (
    KP_ADD,
    KP_READ,
    KP_SET,
    KP_THREAD,
    kp_claim,
    kp_deliveries,
    kp_outstanding,
    kp_rounds,
    kp_wait_round,
    kp_wake,
    raise_all,
    report_unraisable,
    report_all_unraisable,
)
from kafkapp.handle cimport CLOSED, CLOSING, OPEN
from kafkapp.librdkafka cimport (
    RD_KAFKA_PURGE_F_INFLIGHT,
    RD_KAFKA_PURGE_F_NON_BLOCKING,
    RD_KAFKA_PURGE_F_QUEUE,
    rd_kafka_purge,
)
from kafkapp.timeouts cimport expired, now_ms

cdef enum:
    ABANDONED_CLOSE_MS = 10000       # ms for clients that nobody closed
    CALLBACK_GRACE_MS = 5000    # ms for one callback of the user's, beyond a close's own time


cdef double LOG_DRAIN_SECONDS = 1      # seconds for the lines that are yet to be said


# -- closed -----------------------------------------------------------------------------------------

cdef int close(Client client, int64_t deadline, int64_t last=-1) except -1:
    """Every record accepted has its outcome, and its callback has returned, when this does; unless one goes on: see
    above. `last`: callbacks have no more time after that moment, however many there are."""
    cdef list raised = None if client.background else []
    cdef bint ended
    if client.foreign():
        raise RuntimeError("this producer was made in another process: make one after the fork")
    if client.in_callback():
        raise RuntimeError("close would wait for the callback that calls it")
    client.check_batching("close")
    if not claim(client, deadline, last):
        return 0
    if client.background and Py_IsFinalizing():
        return lose(client)
    KP_SET(client.close_deadline, deadline)
    KP_SET(client.state, CLOSING)
    try:
        with nogil:
            kp_wake(&client.deliveries)     # who waits for room in the queue sees that there will be none
        wait_delivered(client, raised)
        ended = wait_purged(client, last, raised)
    except:
        # Interrupted: the producer is as it was, and can be closed again. Without its thread it only can be closed.
        if KP_READ(client.state) == CLOSING and not KP_READ(client.deliveries.stopping) and not client.reports_lost:
            KP_SET(client.state, OPEN)
        KP_SET(client.closing_thread, 0)    # last: who takes over says that it is closing
        report_all_unraisable(raised)
        raise
    KP_SET(client.state, CLOSED)
    try:
        client.destroy()
        kp_wake(&client.deliveries)
        wait_destroyed(client, deadline)
    except:
        report_all_unraisable(raised)
        raise
    finally:
        if ended:
            clients.discard(client)
    if not ended:
        warn_running(client)
    raise_all(raised)
    return 0


cdef bint claim(Client client, int64_t deadline, int64_t last) except -1:
    """Become the one that closes it. False when another thread has, or does not come to its end."""
    cdef kp_deliveries *d = &client.deliveries
    cdef unsigned long me = PyThread_get_thread_ident()
    cdef int64_t left = -1, stuck = 0
    # Should this thread be closing it already, then this is a signal's handler: the other call finds it done.
    while KP_READ(client.state) != CLOSED and not kp_claim(&client.closing_thread, me):
        # Another thread closes, and may have more time. Should it be interrupted, this one takes over.
        hurry(client, deadline)
        if not expired(deadline) or kp_outstanding(d) != left:
            left, stuck = kp_outstanding(d), now_ms() + CALLBACK_GRACE_MS + 2 * UNRESPONSIVE_MS
        elif expired(stuck) or (last >= 0 and expired(last)):
            warn_running(client)
            return False
        if client.enter_unless_closed():    # that one must not destroy what this one polls
            try:
                client.wait(kp_rounds(d), -1 if expired(deadline) else deadline, None)
            finally:
                client.leave()
    return KP_READ(client.state) != CLOSED


cdef int hurry(Client client, int64_t deadline) except -1:
    """Who closes it has no more time than this."""
    cdef int64_t end_by = KP_READ(client.close_deadline)
    if deadline >= 0 and (end_by < 0 or end_by > deadline):
        KP_SET(client.close_deadline, deadline)
    return 0


cdef int wait_delivered(Client client, list raised) except -1:
    """Have all sent and reported, within the time that there is."""
    cdef int64_t end_by
    while kp_outstanding(&client.deliveries):
        end_by = KP_READ(client.close_deadline)
        if expired(end_by):
            break
        wait_all(client, now_ms() + SIGNAL_CHECK_MS if end_by < 0 else min(end_by, now_ms() + SIGNAL_CHECK_MS), raised)
    return 0


cdef int wait_all(Client client, int64_t deadline, list raised) except -1:
    """As wait_reported, for every epoch: nothing new is accepted."""
    while kp_outstanding(&client.deliveries) and not expired(deadline):
        client.wait_reported(KP_READ(client.deliveries.epoch_number), deadline, raised)
    return 0


cdef bint wait_purged(Client client, int64_t last, list raised) except -1:
    """Purge what is left, have it reported or completed, end the background thread. False when a callback goes on."""
    cdef kp_deliveries *d = &client.deliveries
    cdef int64_t seen, left = -1, silent = 0, stuck = 0
    while kp_outstanding(d) or KP_READ(client.thread_runs):
        if kp_outstanding(d) != left:
            left, silent, stuck = kp_outstanding(d), now_ms() + UNRESPONSIVE_MS, now_ms() + CALLBACK_GRACE_MS
        elif expired(stuck) or (last >= 0 and expired(last)):
            if KP_READ(client.thread_runs):
                with nogil:
                    client.stop_dispatcher()    # it ends after that callback, and after those that are due then
            return False
        if left and not KP_READ(d.stopping) and (KP_THREAD(d.callback_thread) or not expired(silent)):
            purge_all(client)       # again: a send that had begun may have come after the last one
            wait_all(client, now_ms() + SIGNAL_CHECK_MS, raised)
        elif left and not client.background:
            if not client.complete_remaining(raised):
                client.wait(kp_rounds(d), now_ms() + SIGNAL_CHECK_MS, raised)
        else:
            with nogil:
                client.stop_dispatcher()        # with a background thread that is who completes what is left
                seen = kp_rounds(d)
            if Py_IsFinalizing() and not KP_READ(d.event_thread_waits):
                # The interpreter has ended that thread where it would have entered Python.
                KP_SET(client.thread_runs, False)
                KP_ADD(client.users, -1)
            elif KP_READ(client.thread_runs):
                with nogil:
                    kp_wait_round(d, seen, SIGNAL_CHECK_MS)
                PyErr_CheckSignals()
    return True


cdef int purge_all(Client client) except -1:
    """Have librdkafka purge what is in flight. The reports follow."""
    if not client.enter_unless_closed():
        return 0
    try:
        with nogil:
            rd_kafka_purge(client.rk,
                           RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
    finally:
        client.leave()
    return 0


cdef int wait_destroyed(Client client, int64_t deadline) except -1:
    """Wait for librdkafka's threads, unless they were waited for already and did not answer."""
    cdef int64_t moment = now_ms()
    cdef int64_t limit = UNRESPONSIVE_MS
    cdef int64_t until = moment + (limit if deadline < 0 else min(max(deadline - moment, limit // 2), limit))
    cdef bint over = client.reports_lost
    while not over and not expired(until):
        with nogil:
            over = client.destroyed(SIGNAL_CHECK_MS)
        PyErr_CheckSignals()
    return 0


cdef int warn_running(Client client) except -1:
    import warnings
    try:
        warnings.warn(f"producer {client.name}: close() returns before a callback that goes on; "
                      f"{client.outstanding()} records are reported after it", RuntimeWarning, stacklevel=2)
    except RuntimeWarning as exc:
        report_unraisable(exc)
    return 0


cdef int lose(Client client) except -1:
    """The interpreter is at its end, and has ended the background thread: nobody can report any more."""
    cdef int _i
    KP_SET(client.state, CLOSED)
    with nogil:
        for _i in range(5):      # threads of librdkafka's that begin just now use OpenSSL, which ends with the process
            kp_wait_round(&client.deliveries, kp_rounds(&client.deliveries), SIGNAL_CHECK_MS // 5)
    if client.outstanding():
        report_unraisable(RuntimeError(f"producer {client.name}: {client.outstanding()} records lost: the interpreter "
                                       "ends"))
    return 0


# -- dropped ----------------------------------------------------------------------------------------

cdef int abandon(Client client, bint wait) except -1:
    """A finalizer's: deliver what can be delivered within a bound, lose no report."""
    cdef kp_deliveries *d = &client.deliveries
    cdef int64_t seen, left = -1, silent = 0
    if KP_READ(client.state) == CLOSED or client.foreign():
        return 0
    client.warn_open()
    if Py_IsFinalizing():
        return close(client, now_ms() + ABANDONED_CLOSE_MS)
    KP_SET(client.closing_dropped, True)
    try:
        clients.add(client)     # again, as the collector clears weak references: the end of the program waits for it
        start_thread(lambda: close_dropped(client))
    except (MemoryError, RuntimeError):
        if not client.in_callback():        # else close_all() does it
            close(client, now_ms() + ABANDONED_CLOSE_MS)
        return 0
    while wait and KP_READ(client.closing_dropped) and not client.in_callback():
        seen = kp_rounds(d)
        if kp_outstanding(d) != left:
            left, silent = kp_outstanding(d), now_ms() + UNRESPONSIVE_MS
        elif expired(silent) and (KP_THREAD(d.callback_thread) or KP_THREAD(d.event_callback_thread)):
            break       # a callback that may wait for what this thread holds
        with nogil:
            kp_wait_round(d, seen, SIGNAL_CHECK_MS)
        try:
            PyErr_CheckSignals()
        except:
            hurry(client, 0)        # interrupted: what is not delivered now is purged, and reported
            raise
    return 0


@on_drop
def drop(Client client not None):
    abandon(client, False)


cdef int close_dropped(Client client) except -1:
    try:
        close(client, now_ms() + ABANDONED_CLOSE_MS)
    except BaseException as exc:
        report_unraisable(exc)
    KP_SET(client.closing_dropped, False)
    kp_wake(&client.deliveries)
    return 0


# -- open at the end --------------------------------------------------------------------------------

cdef bint drained(Client client) except -1:
    """Whether nothing is in flight; a short look, and a push."""
    if KP_READ(client.state) == CLOSED:
        return not KP_READ(client.thread_runs)    # a callback may have outlasted its close()
    if not client.enter_unless_closed():
        return True
    try:
        return (KP_READ(client.state) != OPEN or not kp_outstanding(&client.deliveries)
                or client.wait_reported(KP_READ(client.deliveries.epoch_number), now_ms() + FLUSH_CHECK_MS, None))
    finally:
        client.leave()


cdef list living():
    """The clients of this process."""
    cdef Client client
    while True:
        try:
            return [client for client in list(clients) if not client.foreign()]
        except RuntimeError:
            continue        # another thread has made one meanwhile, or closed one


@atexit.register
def close_all():
    """Before the interpreter goes, while threads still run. All producers together have the time that one has, and
    their callbacks too."""
    cdef Client client
    cdef int64_t deadline = now_ms() + ABANDONED_CLOSE_MS, last
    left = living()
    try:
        for client in left:
            client.warn_open()
        waiting = left
        while waiting and not expired(deadline):
            waiting = [client for client in waiting if not drained(client)]
    except BaseException as exc:
        report_unraisable(exc)
        deadline = 0        # interrupted: what is not delivered now is purged, and reported
    last = now_ms() + CALLBACK_GRACE_MS
    for client in left:
        try:
            close(client, deadline, last)
        except BaseException as exc:
            report_unraisable(exc)
            deadline = 0
            close(client, 0, last)      # interrupted: once more, without waiting
    log_lines.wait(LOG_DRAIN_SECONDS)
