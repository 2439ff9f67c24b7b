"""Client: an rd_kafka_t with its configuration, its dispatcher thread, and waiting for what it reports.

No function of librdkafka that may block is called with the GIL held. No thread of librdkafka's enters Python: all that
it reports comes from one queue, and one thread at a time dispatches it. What a client is for is its Service's.
"""
import os
from _weakrefset import WeakSet     # without the rest of weakref, which an import of kafkapp does not need

from kafkapp.common.threads import register_thread, start_thread, unregister_thread
from kafkapp.config.application import OWN_PROPERTIES
from kafkapp.config.defaults import set_defaults
from kafkapp.config.properties import Properties, snapshot

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_EVENT_BACKGROUND,
    RD_KAFKA_EVENT_ERROR,
    RD_KAFKA_EVENT_LOG,
    RD_KAFKA_EVENT_STATS,
    RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    rd_kafka_conf_destroy,
    rd_kafka_conf_set_events,
    rd_kafka_conf_t,
    rd_kafka_event_destroy,
    rd_kafka_event_t,
    rd_kafka_last_error,
    rd_kafka_name,
    rd_kafka_queue_get_main,
    rd_kafka_sasl_background_callbacks_enable,
    rd_kafka_set_log_queue,
)
from kafkapp.client.dispatcher cimport (
    KP_ROUND_DRAINED,
    kp_dispatcher,
    kp_drain_round,
    kp_drain_rounds,
    kp_drain_when_idle,
    kp_dropped_lines,
    kp_keeper_start,
    kp_kept_next,
    kp_name_thread,
    kp_round_end,
    kp_rounds,
    kp_stop,
    kp_wait_round,
    kp_wake,
)
from kafkapp.client.events cimport EventHandlers, warn
from kafkapp.client.handle cimport CLOSED, OPEN, Service
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_TAKE_FLAG, KP_THREAD
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, report_unraisable, run_callback_1
from kafkapp.common.errors cimport new_exception, take_error
from kafkapp.common.timeouts cimport expired, remaining_ms
from kafkapp.config.application cimport (
    conf_in_force,
    conf_value,
    doubtful,
    new_client,
    new_conf,
    refused_client,
    set_up_tokens,
)


cdef enum:
    MAX_REPORTS_PER_ROUND = 24576       # completed under one acquisition of the GIL; they take memory until then

clients = WeakSet()
cdef object close_dropped_client = None     # called for a client that is dropped open; set by on_drop


cdef object before_create = None            # called before a client is created; set by on_create


def on_create(function):
    """Decorator: `function()` is called before a client is created."""
    global before_create
    before_create = function
    return function


def on_drop(function):
    """Decorator: `function(client)` is called for a client that is dropped open."""
    global close_dropped_client
    close_dropped_client = function
    return function


@cython.final
@cython.no_gc_clear     # as Handle
cdef class Client(Handle):
    def __init__(self, properties, int thread, Service service not None, dict defaults):
        cdef rd_kafka_conf_t *conf
        cdef char errstr[512]
        cdef int failure
        cdef int events = service.events | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS
        if self.conf is not NULL or self.rk is not NULL:
            raise RuntimeError("Client.__init__() was called already")
        if before_create is not None:
            before_create()
        self.background, self.warns_if_open = thread == DISPATCHES_ALL, 1
        self.dispatcher.has_event_thread = thread == DISPATCHES_EVENTS
        given = snapshot(properties)
        set_defaults(given, defaults)
        service.configure(given)
        service.attach(&self.dispatcher)
        self.service = service
        conf = new_conf(given)
        try:
            unsecured = set_up_tokens(conf, given)
            service.set_up(conf)
        except:
            rd_kafka_conf_destroy(conf)
            raise
        if unsecured:
            events |= RD_KAFKA_EVENT_BACKGROUND     # librdkafka's own thread, which runs its own callback for tokens
        rd_kafka_conf_set_events(conf, events)
        with nogil:
            self.rk = new_client(service.type, conf, errstr, sizeof(errstr))
        if self.rk is NULL:
            rd_kafka_conf_destroy(conf)     # rdkafka.h: "on failure ... the application is responsible"
            raise new_exception(rd_kafka_last_error(), refused_client(errstr.decode("utf-8", "replace"), given))
        self.dispatcher.rk = self.rk
        self.dispatcher.queue = rd_kafka_queue_get_main(self.rk)
        self.conf = conf_in_force(self.rk)
        rd_kafka_set_log_queue(self.rk, NULL)
        if unsecured:
            error = take_error(rd_kafka_sasl_background_callbacks_enable(self.rk))
            if error is not None:       # librdkafka 2.0.2 makes the first token only
                raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG,
                                    "enable.sasl.oauthbearer.unsecure.jwt: this librdkafka cannot renew such tokens "
                                    f"({error.message}); use oauthbearer_token_refresh_cb")
        self.name = rd_kafka_name(self.rk).decode("utf-8", "replace")   # librdkafka may cut it within a character
        self.client_id = given["client.id"]
        self.handlers = EventHandlers(self.name, given)
        self.properties = Properties(given)
        warn(self.name, doubtful(<rd_kafka_conf_t *>self.conf, given))
        service.created(self)
        if thread == KEEPS_EVENTS:
            failure = kp_keeper_start(&self.dispatcher)     # kp_kept_free() ends it
            if failure:
                raise new_exception(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
                                    f"the background thread could not be started: {os.strerror(failure)}")
        KP_SET(self.state, OPEN)
        clients.add(self)       # before its thread runs: once it does, nothing may fail
        if thread != KEEPS_EVENTS:
            self.start_dispatcher()

    cdef int start_dispatcher(self) except -1:
        KP_SET(self.thread_runs, True)
        KP_ADD(self.users, 1)           # the thread leaves at its end
        try:
            __import__("threading")     # imported before the thread registers itself in it
            # Not a threading.Thread: its start() waits for the thread, which without memory never answers.
            start_thread(self.run_thread)
        except RuntimeError as exc:
            self.thread_runs = False
            self.users = 0
            KP_SET(self.state, CLOSED)
            raise new_exception(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
                                f"the background thread could not be started: {exc}") from exc
        except:
            # No memory or an interrupt, and the thread may run: it is stopped, and the last user destroys the handle.
            KP_SET(self.state, CLOSED)
            kp_stop(&self.dispatcher)
            raise
        return 0

    def __del__(self):
        # Its owner's __del__ has closed it already, unless a subclass overrides that; or the garbage collector, without
        # a GIL, finalizes the client of a cycle before its owner.
        if close_dropped_client is not None and KP_READ(self.state) != CLOSED:
            close_dropped_client(self)

    cdef bint warn_open(self) except -1:
        """Whether it was left open; warns of that once."""
        if KP_READ(self.state) != OPEN or self.foreign() or not KP_TAKE_FLAG(self.warns_if_open):
            return False
        # The flag is taken before: the warning may run the garbage collector, and that the owner's __del__.
        import warnings
        self.service.count_losses()
        count = sum(self.service.losses().values())
        outstanding = f": {count} {self.service.unit} are outstanding" if count else ""
        try:
            warnings.warn(f"{self.service.name} {self.name} was never closed{outstanding}", ResourceWarning,
                          stacklevel=2, source=self)
        except ResourceWarning as exc:
            report_unraisable(exc)
        return True

    cdef int check_blocking(self, str what) except -1:
        if self.in_callback() and not self.foreign():       # open or not
            raise RuntimeError(f"{what}() was called from a callback of the same {self.service.name}, where it would "
                               "deadlock: call it from another thread, or after the callback has returned")
        self.check_open()
        if self.background and Py_IsFinalizing():
            raise RuntimeError(f"{what}() would wait forever: the interpreter is shutting down and has ended the "
                               f"{self.service.name}'s background thread; call it before the program ends")
        return 0

    cdef bint in_callback(self) noexcept:
        """Whether this thread dispatches, or is the dispatcher thread, where finalizers run between callbacks too."""
        cdef unsigned long me = PyThread_get_thread_ident()
        return KP_THREAD(self.dispatcher.callback_thread) == me or KP_THREAD(self.own_thread) == me

    # -- dispatching and waiting ----------------------------------------------------------------

    def run_thread(self):
        """The client's thread: dispatches until it is stopped."""
        cdef kp_dispatcher *d = &self.dispatcher
        cdef int what
        if not KP_READ(self.thread_runs):
            raise RuntimeError("Client.run_thread() is for the client's own thread only")
        KP_SET(self.own_thread, PyThread_get_thread_ident())
        run_callback_1(register_thread, self.name, None)    # does not raise: without memory it runs without a name
        kp_name_thread(rd_kafka_name(self.rk))
        while True:
            with nogil:
                what = (kp_drain_when_idle(d, MAX_REPORTS_PER_ROUND) if d.has_event_thread
                        else kp_drain_rounds(d, MAX_REPORTS_PER_ROUND))
            if not what:
                break
            try:
                if what == KP_ROUND_DRAINED:
                    self.dispatch_round(None)
                elif not self.dispatch_kept() and not self.foreign():
                    break
            except BaseException as exc:
                if not self.foreign():
                    report_unraisable(exc)      # and goes on: without this thread nothing would be reported any more
            if self.foreign():
                return      # in the child of a callback that forked this thread is the only one: it ends
        try:
            self.dispatch_remaining()
            self.leave()
        except BaseException as exc:
            if not self.foreign():
                report_unraisable(exc)
        if self.foreign():
            return
        run_callback_1(unregister_thread, self.name, None)
        if KP_READ(self.state) == CLOSED:
            clients.discard(self)
        KP_SET(self.own_thread, 0)
        KP_SET(self.thread_runs, False)
        kp_wake(d)

    cdef int stop_dispatcher(self) noexcept nogil:
        kp_stop(&self.dispatcher)
        return 0

    cdef int dispatch_remaining(self) except -1:
        """The dispatcher thread's last step: dispatches what close() has not waited for."""
        cdef int64_t seen
        while self.service.outstanding() and self.dispatch(0, 0, None):
            pass
        while self.service.outstanding() and not self.complete_remaining(None):
            seen = kp_rounds(&self.dispatcher)      # a thread is still inside a call: it will find the client closing
            with nogil:
                kp_wait_round(&self.dispatcher, seen, COMPLETION_CHECK_MS)
        return 0

    cdef int dispatch_round(self, list raised) except -1:
        """Complete what a drained round has found, dispatch its other events, end it."""
        cdef kp_dispatcher *d = &self.dispatcher
        cdef size_t i
        cdef object interrupt = None
        KP_SET(d.callback_thread, PyThread_get_thread_ident())
        try:
            if d.pending:
                self.service.complete(raised)
            if d.other_event_count:
                for i in range(d.other_event_count):
                    if self.foreign():
                        break
                    try:
                        self.handlers.dispatch(self.rk, d.other_events[i])
                    except KeyboardInterrupt as exc:
                        if interrupt is not None:
                            report_unraisable(interrupt)
                        interrupt = exc     # it is for the call that dispatches, not for the callback
                    except BaseException as exc:
                        report_unraisable(exc)
                if not self.foreign():
                    self.handlers.report_dropped(kp_dropped_lines(d))
        finally:
            KP_SET(d.callback_thread, 0)
            if not self.foreign():
                with nogil:
                    kp_round_end(d)
        if self.foreign():
            self.end_in_child(raised)
        if interrupt is not None:
            raise interrupt
        return 0

    cdef bint dispatch_kept(self) except -1:
        """Dispatch the kept events, on the thread that DISPATCHES_EVENTS. False when the client is closed."""
        cdef kp_dispatcher *d = &self.dispatcher
        cdef rd_kafka_event_t *event
        if not self.enter_unless_closed():
            return False
        KP_SET(d.event_callback_thread, PyThread_get_thread_ident())
        try:
            while not self.foreign():       # a callback may fork: the remaining events are the parent's
                event = kp_kept_next(d)
                if event is NULL:
                    return True
                try:
                    self.handlers.dispatch(self.rk, event)
                except BaseException as exc:
                    report_unraisable(exc)
                finally:
                    if not self.foreign():
                        with nogil:
                            rd_kafka_event_destroy(event)
                if not self.foreign():
                    self.handlers.report_dropped(kp_dropped_lines(d))
            return False
        finally:
            KP_SET(d.event_callback_thread, 0)
            self.leave()

    cdef int64_t dispatch(self, int64_t seen, int timeout_ms, list raised) except -1:
        """Dispatch one round, or wait for another thread's. Returns how many operations it reported.

        `seen` is kp_rounds() as it was before the caller found that what it waits for is missing.
        """
        cdef int64_t reported = 0
        cdef bint busy
        with nogil:
            busy = kp_drain_round(&self.dispatcher, seen, timeout_ms, MAX_REPORTS_PER_ROUND, &reported)
        if busy:
            self.dispatch_round(raised)
        return reported

    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1:
        """Wait for a round after `seen`, as dispatch(), for at most SIGNAL_CHECK_MS; answers signals."""
        cdef int ms = remaining_ms(deadline, SIGNAL_CHECK_MS)
        if self.background:
            with nogil:
                kp_wait_round(&self.dispatcher, seen, ms)
        else:
            self.dispatch(seen, ms, raised)
        PyErr_CheckSignals()
        return 0

    cdef int64_t poll_events(self, int64_t deadline) except -1:
        """Dispatch a round in which operations are reported, and raise what callbacks raise. Returns how many were."""
        cdef int64_t reported
        cdef list raised = []
        if self.background:
            raise RuntimeError("poll_events() is for EventsPollingOption.Manual: with Auto a background thread polls")
        self.check_blocking("poll_events")
        self.enter()
        try:
            while True:
                reported = self.dispatch(kp_rounds(&self.dispatcher), remaining_ms(deadline, SIGNAL_CHECK_MS), raised)
                if raised:
                    break
                PyErr_CheckSignals()
                if reported or expired(deadline) or KP_READ(self.state) != OPEN:
                    break
        except:
            report_all_unraisable(raised)
            raise
        finally:
            self.leave()
        raise_all(raised)
        return reported

    cdef bint wait_for(self, const int *flag, int64_t deadline, list raised) except -1:
        """Block until a completion has set a flag. False when the deadline has expired first."""
        cdef int64_t seen
        cdef bint inside = self.enter_unless_closed()
        try:
            while True:
                seen = kp_rounds(&self.dispatcher)
                if KP_READ(flag[0]):
                    return True
                if expired(deadline):
                    return False
                if inside and KP_READ(self.state) != CLOSED:
                    self.wait(seen, deadline, raised)
                    continue
                if inside:
                    inside = False
                    self.leave()    # the last user completes what librdkafka has not reported
                with nogil:
                    kp_wait_round(&self.dispatcher, seen, COMPLETION_CHECK_MS)
                PyErr_CheckSignals()
        finally:
            if inside:
                self.leave()

    def get_property(self, str name not None):
        if self.conf is NULL:
            raise RuntimeError("Client.__init__() was not called")
        if name in OWN_PROPERTIES:
            return self.properties.get(name, OWN_PROPERTIES[name])
        if name in self.service.own:
            return self.properties[name]
        return conf_value(<rd_kafka_conf_t *>self.conf, name)
