"""Shutdown of clients: closed, dropped without close(), or still open when the interpreter ends.

close() waits for three parties, none of which has to answer, and has a limit for each:

* brokers: until its timeout expires. What is outstanding then is cancelled, and reported within milliseconds.
* librdkafka's threads: UNRESPONSIVE_MS. What is not reported is then completed without a report: see Handle.
* the user's callbacks, on the background thread or in another thread's call: CALLBACK_GRACE_MS for each. One that takes
  longer may want a lock that the caller of close() holds. So close() warns and returns. The thread that is in that
  callback then runs the remaining ones, each once, and as the last user destroys the handle.

A finalizer may run anywhere: with any lock held, on the client's own background thread, in one of its callbacks; when
the garbage collector calls it, inside any call. So it starts a thread that closes the client. It waits for that thread
only where the last reference was dropped, and only until a callback runs that may wait for the finalizer's thread.
"""
import atexit
import sys

from kafkapp.client.client import clients, on_create, on_drop
from kafkapp.common import log_lines
from kafkapp.common.texts import one_line
from kafkapp.common.threads import start_thread

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp.client.client cimport (
    COMPLETION_CHECK_MS,
    SIGNAL_CHECK_MS,
    UNRESPONSIVE_MS,
    Client,
    Py_IsFinalizing,
    PyThread_get_thread_ident,
)
from kafkapp.client.dispatcher cimport kp_dispatcher, kp_rounds, kp_wait_round, kp_wake
from kafkapp.client.handle cimport CLOSED, CLOSING, OPEN
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_THREAD, kp_claim
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, report_unraisable
from kafkapp.common.forks cimport forks
from kafkapp.common.timeouts cimport expired, now_ms

cdef enum:
    ABANDONED_CLOSE_MS = 10000      # for clients that were never closed
    CALLBACK_GRACE_MS = 5000        # for one callback of the user's, beyond the timeout of close()

ABANDONED_CLOSE_SECONDS = ABANDONED_CLOSE_MS // 1000     # for those that close one by other means


cdef Py_ssize_t MAX_TOPICS = 10         # that a line names
cdef double LOG_DRAIN_SECONDS = 1       # for lines that are not logged yet at exit


# -- closed -----------------------------------------------------------------------------------------

cdef int close(Client client, int64_t deadline, int64_t last=-1) except -1:
    """When this returns, all that was outstanding is complete and its callbacks have returned, unless a callback takes
    longer: see above. After the moment `last` no callback is waited for, however many there are."""
    cdef list raised = None if client.background else []
    cdef bint ended
    if client.foreign():
        raise RuntimeError(f"this {client.service.name} was created in another process: create one after the fork")
    if client.in_callback():
        raise RuntimeError(f"close() was called from a callback of the same {client.service.name}, where it would "
                           "deadlock: call it from another thread, or after the callback has returned")
    client.service.check_waiting("close")
    if not claim(client, deadline, last):
        return 0
    if client.background and Py_IsFinalizing():
        return lose(client)
    KP_SET(client.close_deadline, deadline)
    KP_SET(client.state, CLOSING)
    try:
        with nogil:
            kp_wake(&client.dispatcher)     # calls that wait for a round see the client closing
        wait_drained(client, raised)
        if client.service.outstanding():
            client.service.count_losses()
        ended = wait_cancelled(client, last, raised)
    except:
        # Interrupted: the client is open again, and can be closed again; without its thread it can only be closed.
        if KP_READ(client.state) == CLOSING and not KP_READ(client.dispatcher.stopping) and not client.reports_lost:
            stay_open(client)
            KP_SET(client.state, OPEN)
        KP_SET(client.closing_thread, 0)    # last: a close() that takes over marks it as closing again
        report_all_unraisable(raised)
        raise
    KP_SET(client.state, CLOSED)
    try:
        client.destroy()
        kp_wake(&client.dispatcher)
        if ended:               # else a callback runs that has more to come, of which warn_running() tells
            log_lost(client, client.service.losses())
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
    """Become the thread that closes it. False when another thread has closed it, or is stuck in doing so."""
    cdef kp_dispatcher *d = &client.dispatcher
    cdef unsigned long me = PyThread_get_thread_ident()
    cdef int64_t left = -1, stuck = 0
    # A signal handler may interrupt this thread's own close(): the handler closes, and the interrupted call finds it
    # closed.
    while KP_READ(client.state) != CLOSED and not kp_claim(&client.closing_thread, me):
        # Another thread closes, perhaps with a later deadline. If it is interrupted, this one takes over.
        bring_deadline_forward(client, deadline)
        if not expired(deadline) or client.service.outstanding() != left:
            left, stuck = client.service.outstanding(), now_ms() + CALLBACK_GRACE_MS + 2 * UNRESPONSIVE_MS
        elif expired(stuck) or (last >= 0 and expired(last)):
            warn_running(client)
            return False
        if client.enter_unless_closed():    # the other thread must not destroy the queue that this one polls
            try:
                client.wait(kp_rounds(d), -1 if expired(deadline) else deadline, None)
            finally:
                client.leave()
    return KP_READ(client.state) != CLOSED


cdef int bring_deadline_forward(Client client, int64_t deadline) except -1:
    """The thread that closes it must do so by this deadline."""
    cdef int64_t end_by = KP_READ(client.close_deadline)
    if deadline >= 0 and (end_by < 0 or end_by > deadline):
        KP_SET(client.close_deadline, deadline)
    return 0


cdef int wait_drained(Client client, list raised) except -1:
    """Wait until nothing is outstanding, or the deadline of close() expires."""
    cdef int64_t end_by
    while client.service.outstanding():
        end_by = KP_READ(client.close_deadline)
        if expired(end_by):
            break
        drain(client, now_ms() + SIGNAL_CHECK_MS if end_by < 0 else min(end_by, now_ms() + SIGNAL_CHECK_MS), raised)
    return 0


cdef int drain(Client client, int64_t deadline, list raised) except -1:
    """Drain the service until nothing is outstanding, or the deadline expires; nothing new is accepted."""
    while client.service.outstanding() and not expired(deadline):
        client.service.drain(client, deadline, raised)
    return 0


# Long because each round looks at all of it anew: what is outstanding, who dispatches, what has moved since.
cdef bint wait_cancelled(Client client, int64_t last, list raised) except -1:
    """Cancel what is outstanding, wait until it is completed, end the background thread. False when a callback takes
    too long."""
    cdef kp_dispatcher *d = &client.dispatcher
    cdef int64_t seen, left = -1, unresponsive = 0, stuck = 0
    while client.service.outstanding() or KP_READ(client.thread_runs):
        if client.service.outstanding() != left:
            left = client.service.outstanding()
            unresponsive, stuck = now_ms() + UNRESPONSIVE_MS, now_ms() + CALLBACK_GRACE_MS
        elif expired(stuck) or (last >= 0 and expired(last)):
            if KP_READ(client.thread_runs):
                with nogil:
                    client.stop_dispatcher()    # it ends after that callback and the remaining ones
            return False
        if left and not KP_READ(d.stopping) and (KP_THREAD(d.callback_thread) or not expired(unresponsive)):
            cancel(client)      # repeated: a call that had begun may have begun something after the last one
            drain(client, now_ms() + SIGNAL_CHECK_MS, raised)
        elif left and not client.background:
            if not client.complete_remaining(raised):
                client.wait(kp_rounds(d), now_ms() + SIGNAL_CHECK_MS, raised)
        else:
            with nogil:
                client.stop_dispatcher()        # a background thread completes what is left before it ends
                seen = kp_rounds(d)
            if Py_IsFinalizing() and not KP_READ(d.event_thread_waits):
                # The shutdown of the interpreter has ended that thread where it would have entered Python.
                KP_SET(client.thread_runs, False)
                KP_ADD(client.users, -1)
            elif KP_READ(client.thread_runs):
                with nogil:
                    kp_wait_round(d, seen, SIGNAL_CHECK_MS)
                PyErr_CheckSignals()
    return True


cdef int cancel(Client client) except -1:
    """Cancel what is outstanding. librdkafka reports it afterwards."""
    if not client.enter_unless_closed():
        return 0
    try:
        client.service.cancel(client.rk)
    finally:
        client.leave()
    return 0


cdef int wait_destroyed(Client client, int64_t deadline) except -1:
    """Wait for librdkafka's threads to end, unless they are known to be unresponsive."""
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
        warnings.warn(f"{client.service.name} {client.name}: close() returned while a callback was still running; "
                      f"{client.service.count()} {client.service.unit} are reported after it returns", RuntimeWarning,
                      stacklevel=2)
    except RuntimeWarning as exc:
        report_unraisable(exc)
    return 0


cdef int stay_open(Client client) noexcept:
    """A close() was interrupted: log what it has cancelled already, if it has, and count no more."""
    try:
        lost = client.service.losses()
        if client.service.end_losses():
            log_lost(client, lost)
    except BaseException as exc:
        report_unraisable(exc)
    return 0


cdef int log_lost(Client client, dict losses) except -1:
    """Log what has failed since the client began to end, or is left to a callback that still runs."""
    lost = sorted(losses.items(), key=lambda pair: (not pair[0], -pair[1], pair[0]))
    if not lost:
        return 0
    named = [f"{one_line(topic) or 'unknown topics'}: {count}" for topic, count in lost[:MAX_TOPICS]]
    if lost[MAX_TOPICS:]:
        named.append(f"{len(lost) - MAX_TOPICS} other topics: {sum([count for _, count in lost[MAX_TOPICS:]])}")
    why, cure = ("close() timed out", "give it more time") if KP_READ(client.warns_if_open) else (
        "it was never closed", "call close() before the program ends, or use `with`")
    line = (f"{client.service.name} {client.name}: {why}, and {sum([count for _, count in lost])} "
            f"{client.service.unit} {client.service.loss} ({', '.join(named)}); {cure}")
    if Py_IsFinalizing():
        log_loss(client.name, line)
    else:
        log_lines.log_later(log_loss, client.name, line)
    return 0


def log_loss(name, line):
    try:
        log_lines.logger().warning("%s", line, extra=log_lines.fields(one_line(name), "LOST", 4))   # 4: a warning
    except BaseException as exc:        # at the end of the interpreter `logging` may be half gone
        report_unraisable(exc)


cdef int lose(Client client) except -1:
    """The shutdown of the interpreter has ended the background thread: no thread can complete anything any more."""
    cdef int _i
    KP_SET(client.state, CLOSED)
    with nogil:
        for _i in range(5):     # a thread of librdkafka's that starts now uses OpenSSL, which the process's exit frees
            kp_wait_round(&client.dispatcher, kp_rounds(&client.dispatcher), SIGNAL_CHECK_MS // 5)
    if client.service.count():
        report_unraisable(RuntimeError(
            f"{client.service.name} {client.name}: {client.service.count()} {client.service.unit} were lost: it was "
            "closed after the interpreter's shutdown had begun; close it before the program ends"))
    return 0


# -- dropped ----------------------------------------------------------------------------------------

cdef int abandon(Client client, bint wait) except -1:
    """A finalizer's close(): complete what can be completed in ABANDONED_CLOSE_MS, lose no report."""
    cdef kp_dispatcher *d = &client.dispatcher
    cdef int64_t seen, left = -1, unresponsive = 0
    if KP_READ(client.state) == CLOSED or client.foreign():
        return 0
    client.warn_open()
    if Py_IsFinalizing():
        return close(client, now_ms() + ABANDONED_CLOSE_MS)
    KP_SET(client.closing_dropped, True)
    try:
        clients.add(client)     # again, as the collector has cleared the weak reference: close_all() waits for it
        start_thread(lambda: close_dropped(client))
    except (MemoryError, RuntimeError):
        if not client.in_callback():        # there close_all() closes it
            close(client, now_ms() + ABANDONED_CLOSE_MS)
        return 0
    while wait and KP_READ(client.closing_dropped) and not client.in_callback():
        seen = kp_rounds(d)
        if client.service.outstanding() != left:
            left, unresponsive = client.service.outstanding(), now_ms() + UNRESPONSIVE_MS
        elif expired(unresponsive) and (KP_THREAD(d.callback_thread) or KP_THREAD(d.event_callback_thread)):
            break       # a callback runs, and may want a lock that this thread holds
        with nogil:
            kp_wait_round(d, seen, SIGNAL_CHECK_MS)
        try:
            PyErr_CheckSignals()
        except:
            bring_deadline_forward(client, 0)       # interrupted: what is outstanding is cancelled, and reported
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
    kp_wake(&client.dispatcher)
    return 0


# -- open at exit -----------------------------------------------------------------------------------

cdef bint drained(Client client) except -1:
    """Whether nothing is outstanding; drains for a moment."""
    if KP_READ(client.state) == CLOSED:
        return not KP_READ(client.thread_runs)      # a callback may have taken longer than its close()
    if not client.enter_unless_closed():
        return True
    try:
        if KP_READ(client.state) != OPEN:
            return True
        waiting = client.service.waiting_room()
        if waiting is not None and len(waiting):
            waiting.enqueue_waiting()
        return (not client.service.outstanding() or client.service.drain(client, now_ms() + COMPLETION_CHECK_MS, None)
                ) and (waiting is None or not len(waiting))
    finally:
        client.leave()


cdef list all_clients():
    """The clients that this process has created and not closed."""
    cdef Client client
    while True:
        try:
            return [client for client in list(clients) if not client.foreign()]
        except RuntimeError:
            continue        # another thread has created or closed one meanwhile


@atexit.register
def close_all():
    """Close all clients at exit, while threads still run. All share one ABANDONED_CLOSE_MS, and their callbacks one
    CALLBACK_GRACE_MS."""
    cdef Client client
    cdef int64_t deadline = now_ms() + ABANDONED_CLOSE_MS, last
    left = all_clients()
    try:
        for client in left:
            client.warn_open()
        waiting = left
        while waiting and not expired(deadline):
            waiting = [client for client in waiting if not drained(client)]
    except BaseException as exc:
        report_unraisable(exc)
        deadline = 0        # interrupted: what is outstanding is cancelled, and reported
    last = now_ms() + CALLBACK_GRACE_MS
    for client in left:
        try:
            close(client, deadline, last)
        except BaseException as exc:
            report_unraisable(exc)
            deadline = 0
            close(client, 0, last)      # interrupted: again, without waiting for brokers
    log_lines.wait(LOG_DRAIN_SECONDS)


cdef int worker = -1        # forks() of the process in which close_all() is a worker's finalizer; -1: in none


def close_at_exit_of_worker():
    """Wait for the worker's threads, which may still send, and close. multiprocessing waits for them a moment later."""
    import threading
    try:
        threading._shutdown()
    finally:
        close_all()


@on_create
def close_at_end_of_worker():
    """Have close_all() called at the end of a process that multiprocessing has started: one that it has forked ends by
    os._exit(), without `atexit`, and runs finalizers before."""
    global worker
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if worker == forks() or process is None or util is None or process.parent_process() is None:
        return
    util.Finalize(None, close_at_exit_of_worker, exitpriority=0)    # the last before its own children end
    worker = forks()
