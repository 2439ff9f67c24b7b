"""A client: its configuration, its queue, its waiting, its end.

Layer L4: knows what is in flight, not what a producer sends. Nothing of librdkafka's that may block is called with
the GIL held, and no thread of librdkafka's enters Python: reports, logs and errors are taken from one queue.
"""
import os
from _weakrefset import WeakSet     # without the rest of weakref, which an import of kafkapp does not need

from kafkapp.config import Properties, one_line, redact, snapshot
from kafkapp.visible import register_thread, start_thread, unregister_thread

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from kafkapp.conf cimport answers_unsecured, boolean, conf_in_force, conf_value, new_client, new_conf
from kafkapp.delivery cimport *
from kafkapp.errors cimport new_exception, take_error
from kafkapp.events cimport EventHandlers
from kafkapp.handle cimport CLOSED, OPEN
from kafkapp.librdkafka cimport *
from kafkapp.timeouts cimport expired, remaining_ms


cdef enum:
    MAX_REPORTS_PER_ROUND = 24576       # completed under one acquisition of the GIL; their memory fills the queue

clients = WeakSet()
cdef object close_dropped_client = None      # kafkapp.ending's: what becomes of a client that nobody closed


def on_drop(function):
    global close_dropped_client
    close_dropped_client = function
    return function


@cython.final
@cython.no_gc_clear     # as Handle
cdef class Client(Handle):
    def __init__(self, properties, int thread, dict defaults):
        cdef rd_kafka_conf_t *conf
        cdef char errstr[512]
        cdef int failure
        cdef int events = RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS
        if self.conf is not NULL or self.rk is not NULL:
            raise RuntimeError("Client.__init__() was called already")
        self.background, self.warns_if_open, self.batch_waiters = thread == DISPATCHES_ALL, 1, []
        self.deliveries.has_event_thread = thread == DISPATCHES_EVENTS
        given = snapshot(properties)
        for name, value in defaults.items():
            if name != "linger.ms" or "queue.buffering.max.ms" not in given:     # its other name
                given.setdefault(name, value)
        given.setdefault("client.id", os.urandom(6).hex())
        # librdkafka's own default differs from that of every other client: records of a key would part ways.
        given.setdefault("partitioner", "murmur2_random")
        self.deliveries.only_errors = boolean(given, "delivery.report.only.error", False)
        conf = new_conf(given)
        try:
            unsecured = answers_unsecured(conf, given)
        except:
            rd_kafka_conf_destroy(conf)
            raise
        if unsecured:
            events |= RD_KAFKA_EVENT_BACKGROUND     # librdkafka's own thread, which runs its own callback for tokens
        rd_kafka_conf_set_events(conf, events)
        with nogil:
            self.rk = new_client(conf, errstr, sizeof(errstr))
        if self.rk is NULL:
            rd_kafka_conf_destroy(conf)     # rdkafka.h: "on failure ... the application is responsible"
            raise new_exception(rd_kafka_last_error(), one_line(redact(errstr.decode("utf-8", "replace"), given)))
        self.deliveries.rk = self.rk
        self.deliveries.queue = rd_kafka_queue_get_main(self.rk)
        self.conf = conf_in_force(self.rk)
        rd_kafka_set_log_queue(self.rk, NULL)
        if unsecured:
            error = take_error(rd_kafka_sasl_background_callbacks_enable(self.rk))
            if error is not None:       # librdkafka 2.0.2: it makes the first one only
                raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG,
                                    "enable.sasl.oauthbearer.unsecure.jwt: this librdkafka cannot renew such tokens "
                                    f"({error.message}); use oauthbearer_token_refresh_cb")
        self.name = rd_kafka_name(self.rk).decode("utf-8", "replace")     # librdkafka cuts it, also within a letter
        self.client_id = given["client.id"]
        self.handlers = EventHandlers(self.name, given)
        self.properties = Properties(given)
        if thread == KEEPS_EVENTS:
            failure = kp_keeper_start(&self.deliveries)     # ended with the handle
            if failure:
                raise new_exception(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
                                    f"no background thread: {os.strerror(failure)}")
        KP_SET(self.state, OPEN)
        clients.add(self)       # before its thread runs: afterwards nothing may fail
        if thread != KEEPS_EVENTS:
            self.start_dispatcher()

    cdef int start_dispatcher(self) except -1:
        KP_SET(self.thread_runs, True)
        KP_ADD(self.users, 1)          # left by the thread, at its end
        try:
            __import__("threading")     # what the thread shows itself in is there before it
            # Not a threading.Thread, whose start() waits for a word that a thread without memory never gives.
            start_thread(self.run_thread)
        except RuntimeError as exc:
            self.thread_runs = False
            self.users = 0
            KP_SET(self.state, CLOSED)
            raise new_exception(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, f"no background thread: {exc}") from exc
        except:
            # No memory, and it may run: it ends, and with it the client goes.
            KP_SET(self.state, CLOSED)
            kp_stop(&self.deliveries)
            raise
        return 0

    def __del__(self):
        # Its producer has closed it, unless a subclass has a __del__ that does not; or both are in a cycle: without a
        # GIL the garbage collector may come here first.
        if close_dropped_client is not None and KP_READ(self.state) != CLOSED:
            close_dropped_client(self)

    cdef bint warn_open(self) except -1:
        """Whether it was left open; says so, once."""
        if KP_READ(self.state) != OPEN or self.foreign() or not KP_TAKE_FLAG(self.warns_if_open):
            return False
        # That it is said is noted before: the warning may run the garbage collector, and that a producer's __del__.
        import warnings
        try:
            warnings.warn(f"producer {self.name} was never closed", ResourceWarning, stacklevel=2, source=self)
        except ResourceWarning as exc:
            report_unraisable(exc)
        return True

    cdef int check_blocking(self, str what) except -1:
        if self.in_callback() and not self.foreign():       # open or not
            raise RuntimeError(f"{what} would wait for the callback that calls it")
        self.check_open()
        if self.background and Py_IsFinalizing():
            raise RuntimeError(f"{what} would wait for ever: the interpreter has ended the producer's thread")
        return 0

    cdef int check_batching(self, str what) except -1:
        """A signal's handler may interrupt a send_batch, whose end it must not wait for."""
        if self.batch_waiters and PyThread_get_thread_ident() in self.batch_waiters:
            raise RuntimeError(f"{what} would wait for the send_batch that this signal's handler interrupts: "
                               f"raise an exception in the handler, and call it where that is caught")
        return 0

    cdef bint in_callback(self) noexcept:
        """Whether this thread serves, or has to: on the background thread finalizers run between callbacks too."""
        cdef unsigned long me = PyThread_get_thread_ident()
        return KP_THREAD(self.deliveries.callback_thread) == me or KP_THREAD(self.dispatcher) == me

    # -- serving and waiting --------------------------------------------------------------------

    def run_thread(self):
        """The client's thread: serves, or tells, until it is stopped."""
        cdef kp_deliveries *d = &self.deliveries
        cdef int what
        if not KP_READ(self.thread_runs):
            raise RuntimeError("run_thread() is the client's own thread's")
        KP_SET(self.dispatcher, PyThread_get_thread_ident())
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
                    report_unraisable(exc)     # this thread goes on: without it nothing would ever be reported
            if self.foreign():
                return      # the child of a callback that forked: this thread, its only one, ends
        try:
            self.dispatch_remaining()
            self.leave()
        except BaseException as exc:
            report_unraisable(exc)
        if self.foreign():
            return
        run_callback_1(unregister_thread, self.name, None)
        if KP_READ(self.state) == CLOSED:
            clients.discard(self)
        KP_SET(self.dispatcher, 0)
        KP_SET(self.thread_runs, False)
        kp_wake(d)

    cdef int stop_dispatcher(self) noexcept nogil:
        kp_stop(&self.deliveries)
        return 0

    cdef int dispatch_remaining(self) except -1:
        """The background thread's last: close() has not waited for what is in flight now."""
        cdef int64_t seen
        while kp_outstanding(&self.deliveries) and self.dispatch(0, 0, None):
            pass
        while kp_outstanding(&self.deliveries) and not self.complete_remaining(None):
            seen = kp_rounds(&self.deliveries)      # a thread still sends: it finds the client closing
            with nogil:
                kp_wait_round(&self.deliveries, seen, FLUSH_CHECK_MS)
        return 0

    cdef int dispatch_round(self, list raised) except -1:
        """Settle the round that was drained, and end it."""
        cdef kp_deliveries *d = &self.deliveries
        cdef size_t i
        cdef object interrupt = None
        try:
            if d.report_count:
                complete_reports(d, raised)
            if d.other_event_count:
                KP_SET(d.callback_thread, PyThread_get_thread_ident())
                for i in range(d.other_event_count):
                    if self.foreign():
                        break
                    try:
                        self.handlers.dispatch(self.rk, d.other_events[i])
                    except KeyboardInterrupt as exc:
                        if interrupt is not None:
                            report_unraisable(interrupt)
                        interrupt = exc     # it is meant for the call that serves, not for a logger
                    except BaseException as exc:
                        report_unraisable(exc)
                self.handlers.report_dropped(kp_dropped_lines(d))
        finally:
            KP_SET(d.callback_thread, 0)
            if not self.foreign():
                with nogil:
                    kp_round_end(d)
        if self.foreign():
            # In the child of a callback that forked: librdkafka's locks are as other threads held them, and the reports
            # that are left are the parent's.
            mine = raised[:] if raised else []
            if raised:
                del raised[:]
            raise_all(mine)
            self.check_open()
        if interrupt is not None:
            raise interrupt
        return 0

    cdef bint dispatch_kept(self) except -1:
        """Tell of what is kept, in the thread that DISPATCHES_EVENTS. False when the client is closed meanwhile."""
        cdef kp_deliveries *d = &self.deliveries
        cdef rd_kafka_event_t *event
        if not self.enter_unless_closed():
            return False
        KP_SET(d.event_callback_thread, PyThread_get_thread_ident())
        try:
            while not self.foreign():       # a callback may fork: the rest is the parent's to tell
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
                self.handlers.report_dropped(kp_dropped_lines(d))
            return False
        finally:
            KP_SET(d.event_callback_thread, 0)
            self.leave()

    cdef int64_t dispatch(self, int64_t seen, int timeout_ms, list raised) except -1:
        """Serve one round, or wait for one that was not seen. Returns how many records it reported."""
        cdef int64_t reported = 0
        cdef bint busy
        with nogil:
            busy = kp_drain_round(&self.deliveries, seen, timeout_ms, MAX_REPORTS_PER_ROUND, &reported)
        if busy:
            self.dispatch_round(raised)
        return reported

    cdef int wait(self, int64_t seen, int64_t deadline, list raised) except -1:
        """Wait one slice for a round (`seen`: kp_rounds before what is waited for was found missing)."""
        cdef int ms = remaining_ms(deadline, SIGNAL_CHECK_MS)
        if self.background:
            with nogil:
                kp_wait_round(&self.deliveries, seen, ms)
        else:
            self.dispatch(seen, ms, raised)
        PyErr_CheckSignals()
        return 0

    cdef int wait_for_room(self, int64_t seen, int64_t deadline) except -1:
        """As wait(), of a send_batch."""
        cdef object me = PyThread_get_thread_ident()
        self.batch_waiters.append(me)
        try:
            self.wait(seen, deadline, None)
        finally:
            self.batch_waiters.remove(me)
        return 0

    cdef bint wait_for(self, const int *flag, int64_t deadline, list raised) except -1:
        """Wait until a report has set a flag. False when the time was over first."""
        cdef int64_t seen
        cdef bint inside = self.enter_unless_closed()
        try:
            while True:
                seen = kp_rounds(&self.deliveries)
                if KP_READ(flag[0]):
                    return True
                if expired(deadline):
                    return False
                if inside and KP_READ(self.state) != CLOSED:
                    self.wait(seen, deadline, raised)
                    continue
                if inside:
                    inside = False
                    self.leave()    # the last one out reports what nobody else will
                with nogil:
                    kp_wait_round(&self.deliveries, seen, FLUSH_CHECK_MS)
                PyErr_CheckSignals()
        finally:
            if inside:
                self.leave()

    cdef bint wait_reported(self, int64_t epoch, int64_t deadline, list raised) except -1:
        """Have all of an epoch sent and settled. False when the time was over first."""
        cdef int64_t seen
        cdef int ms
        cdef rd_kafka_resp_err_t err
        while not kp_epoch_done(&self.deliveries, epoch):
            if expired(deadline):
                return False
            ms = remaining_ms(deadline, FLUSH_CHECK_MS)
            # rd_kafka_flush() ends lingering for as long as it waits. It serves nothing: reports are events here.
            if self.background:
                with nogil:
                    seen = kp_rounds(&self.deliveries)
                    err = rd_kafka_flush(self.rk, ms)
                    if err == RD_KAFKA_RESP_ERR_NO_ERROR and not kp_epoch_done(&self.deliveries, epoch):
                        kp_wait_round(&self.deliveries, seen, ms)
            else:
                with nogil:
                    seen = kp_rounds(&self.deliveries)
                    rd_kafka_flush(self.rk, min(ms, 1))
                if not kp_epoch_done(&self.deliveries, epoch):
                    self.dispatch(seen, ms, raised)
            PyErr_CheckSignals()
        return True

    # -- the public calls -----------------------------------------------------------------------

    cdef int flush(self, int64_t deadline) except -1:
        cdef list raised = None if self.background else []
        cdef bint done
        self.check_blocking("flush")
        self.check_batching("flush")
        self.enter()
        try:
            done = self.wait_reported(kp_epoch_close(&self.deliveries), deadline, raised)
        except:
            report_all_unraisable(raised)
            raise
        finally:
            self.leave()
        if not done:
            error = new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                  f"flush: {self.outstanding()} records are not reported yet")
            if not raised:
                raise error
            raised.append(error)
        raise_all(raised)
        return 0

    def get_property(self, str name not None):
        if self.conf is NULL:
            raise RuntimeError("Client.__init__() was not called")
        if name in ("delivery.report.only.error", "log.queue"):
            return self.properties.get(name, "false" if name[0] == "d" else "true")
        return conf_value(<rd_kafka_conf_t *>self.conf, name)


cdef Client specimen = Client.__new__(Client)
kp_install_traverse(<PyObject *>specimen, &specimen.deliveries)
specimen = None
