"""Event handlers: logs, errors, statistics and token refreshes, which every client has.

Each calls the user's callback on the thread that dispatches. What a callback raises goes to sys.unraisablehook: the
call that dispatches was made for something else. Events without a callback go to `logging`, on a thread of its own: see
log_later.
"""
from _thread import _local
from collections.abc import Mapping
from time import time

cimport cython

from kafkapp.common.log_lines import log_later, log_line, wait
from kafkapp.common.texts import check_text, one_line
from kafkapp.config.redaction import redact, secrets

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_EVENT_ERROR,
    RD_KAFKA_EVENT_LOG,
    RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH,
    RD_KAFKA_EVENT_STATS,
    RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    RD_KAFKA_RESP_ERR__FATAL,
    rd_kafka_event_config_string,
    rd_kafka_event_error,
    rd_kafka_event_error_is_fatal,
    rd_kafka_event_error_string,
    rd_kafka_event_log,
    rd_kafka_event_stats,
    rd_kafka_event_t,
    rd_kafka_event_type,
    rd_kafka_oauthbearer_set_token,
    rd_kafka_oauthbearer_set_token_failure,
    rd_kafka_resp_err_t,
    rd_kafka_t,
)
from kafkapp.common.atomics cimport KP_SET
from kafkapp.common.callbacks cimport report_all_unraisable, report_unraisable, run_callback
from kafkapp.common.errors cimport new_error
from kafkapp.common.forks cimport forks

cdef enum:          # of syslog's levels
    ERROR = 3
    WARNING = 4
cdef double WARNING_WAIT_SECONDS = 0.5      # limit of how long creating a client waits for logging handlers
cdef object warning = _local()      # `here`: this thread is inside log_warning()


@cython.final
cdef class EventHandlers:
    def __init__(self, str name, dict properties):
        self.name = name
        self.secrets = secrets(properties)
        self.log_cb = properties.get("log_cb")
        self.error_cb = properties.get("error_cb")
        self.stats_cb = properties.get("stats_cb")
        self.token_cb = properties.get("oauthbearer_token_refresh_cb")

    cdef int dispatch(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        cdef int type = rd_kafka_event_type(event)
        if type == RD_KAFKA_EVENT_LOG:
            self.on_log(event)
        elif type == RD_KAFKA_EVENT_ERROR:
            self.on_error(rk, event)
        elif type == RD_KAFKA_EVENT_STATS:
            if self.stats_cb is not None:
                notify(self.stats_cb, (text(rd_kafka_event_stats(event)),))
        elif type == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
            self.on_token_refresh(rk, event)
        return 0

    cdef int report_dropped(self, int64_t lines) except -1:
        """Report log lines and errors that had to make room for newer ones."""
        if not lines:
            return 0
        message = (f"{lines} log lines and errors were dropped: the callbacks take too long, or no call has run them "
                   "for too long; call poll_events() more often")
        return self.say(WARNING, "DROPPED", message)

    cdef int say(self, int level, str facility, str message) except -1:
        if self.log_cb is not None:
            return notify(self.log_cb, (level, one_line(facility), one_line(message)))
        return notify(self.to_logging, (level, facility, message))

    cdef str redacted_text(self, const char *string):
        """A text of librdkafka's without the user's secrets: it quotes values that it cannot parse."""
        return redact(text(string), self.secrets) if self.secrets else text(string)

    cdef int on_log(self, rd_kafka_event_t *event) except -1:
        cdef const char *facility = NULL
        cdef const char *message = NULL
        cdef int level = 0
        if rd_kafka_event_log(event, &facility, &message, &level):
            return 0
        said = self.redacted_text(message)
        if facility is not NULL and facility == b"SSLCERTVRFY":
            self.refusal = said
        return self.say(level, text(facility), said)

    def to_logging(self, int level, str facility, str message):
        log_later(self.log, level, facility, message)

    def log(self, int level, str facility, str message):
        """Runs on the logging thread."""
        try:
            log_line(level, self.name, facility, message)
        except BaseException as exc:
            report_unraisable(exc)

    cdef int on_error(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        cdef rd_kafka_resp_err_t err = rd_kafka_event_error(event)
        message = self.redacted_text(rd_kafka_event_error_string(event))
        if err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
            KP_SET(self.brokers_down, True)
        if err == RD_KAFKA_RESP_ERR__FATAL or rd_kafka_event_error_is_fatal(event):
            # librdkafka has replaced RD_KAFKA_RESP_ERR__FATAL by the underlying error before the event is read.
            error = new_error(err, message, True)
        else:
            error = new_error(err, self.with_refusal(message))
        return self.report(error)

    cdef int report(self, object error) except -1:
        if self.error_cb is not None:
            return notify(self.error_cb, (error,))
        return self.say(ERROR, "ERROR", str(error))

    cdef str with_refusal(self, str message):
        """The message with the reason for which this broker's certificate was refused, which was logged just before."""
        cdef str broker = message.partition(": ")[0] + ": "
        if self.refusal is None or "verify failed" not in message or broker not in self.refusal:
            return message
        return f"{message}: {self.refusal.rpartition('callback failed: ')[2]}"

    cdef int on_token_refresh(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        cdef int before = forks()
        if self.token_cb is None:
            return 0
        try:
            answer = self.token_cb(text(rd_kafka_event_config_string(event)))
            if forks() != before:
                return 0        # the child of a callback that forked: librdkafka's locks are in the state of the fork
        except BaseException as exc:
            if forks() != before:
                return raise_or_report([exc])
            # The reason goes to librdkafka's log and error event: only the type, for the text may hold a secret.
            return self.fail_token_refresh(rk, f"oauthbearer_token_refresh_cb raised {type(exc).__name__}", exc)
        try:
            set_token(rk, answer)
        except BaseException as exc:
            return self.fail_token_refresh(rk, str(exc) if type(exc) is BadToken else type(exc).__name__, exc)
        return 0

    cdef int fail_token_refresh(self, rd_kafka_t *rk, str reason, exc) except -1:
        cdef bytes encoded = reason.encode("utf-8", "replace")
        rd_kafka_oauthbearer_set_token_failure(rk, encoded)
        return raise_or_report([exc])


cdef int warn(str name, list messages) except -1:
    """Log warnings about a client that is being created, and wait a moment for that: the program may end at once."""
    if messages and not getattr(warning, "here", False):
        for message in messages:
            log_later(log_warning, name, message)
        wait(WARNING_WAIT_SECONDS)
    return 0


def log_warning(name, message):
    """Log the warning. Runs in the logging thread."""
    warning.here = True             # a handler may create a client of its own, with the same properties
    try:
        log_line(WARNING, name, "CONFWARN", message)        # as librdkafka calls its own warnings about properties
    except BaseException as exc:
        report_unraisable(exc)
    finally:
        warning.here = False


cdef int notify(object callback, tuple args) except -1:
    cdef list raised = []
    run_callback(callback, args, raised)
    return raise_or_report(raised)


cdef int raise_or_report(list raised) except -1:
    """Pass exceptions to sys.unraisablehook; KeyboardInterrupt is raised: it is for the call that dispatches."""
    for exc in raised:
        if isinstance(exc, KeyboardInterrupt):
            raise exc
    return report_all_unraisable(raised)


cdef str text(const char *string):
    return "" if string is NULL else string.decode("utf-8", "replace")


class BadToken(ValueError):
    """What oauthbearer_token_refresh_cb has returned cannot be used. The message never shows the value."""

    def __init__(self, reason):
        super().__init__("oauthbearer_token_refresh_cb must return (token, expiry in seconds since the epoch"
                         f"[, principal[, extensions]]): {reason}")


cdef bytes checked_text(str what, value, allowed):
    """A text of ASCII characters from `allowed` (None: any text), as bytes."""
    try:
        value = check_text(what, value)
    except (TypeError, ValueError) as error:
        raise BadToken(str(error)) from None
    if allowed is not None and not allowed.issuperset(value):
        character = next(c for c in value if c not in allowed)
        raise BadToken(f"{what} must not contain {character!a}")
    return value.encode()


cdef frozenset LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
cdef frozenset VISIBLE = frozenset(map(chr, range(0x21, 0x7f)))
cdef int64_t MAX_EXPIRY_SECONDS = 253402300799      # the last second of the year 9999


cdef int64_t checked_expiry(expiry) except -1:
    """A time in seconds since the epoch, in milliseconds."""
    if isinstance(expiry, (bool, str, bytes)) or not (hasattr(expiry, "__float__") or hasattr(expiry, "__index__")):
        hint = "; its timestamp() is" if hasattr(expiry, "timestamp") else ""
        raise BadToken(f"expiry must be a number, not {type(expiry).__name__}{hint}")
    try:
        seconds = float(expiry)
    except OverflowError:
        seconds = 2.0 * MAX_EXPIRY_SECONDS
    if seconds != seconds:
        raise BadToken("expiry is NaN")
    if seconds > MAX_EXPIRY_SECONDS:
        raise BadToken("expiry is later than the year 9999: it must be in seconds, not in milliseconds")
    if seconds <= time():
        raise BadToken("expiry has passed")
    return <int64_t>(seconds * 1000)


cdef list checked_extensions(extensions):
    """Names and values in turn, as bytes."""
    if extensions is None:
        return []
    if not isinstance(extensions, Mapping):
        raise BadToken(f"extensions must be a dict of str to str or None, not {type(extensions).__name__}")
    parts = []
    for name, value in extensions.items():
        part = checked_text("the name of an extension", name, LETTERS)
        if part in (b"", b"auth"):
            raise BadToken(f"an extension must not be called {part.decode()!r}")
        parts += [part, checked_text("the value of an extension", value, VISIBLE | frozenset(" \t\r\n"))]
    if len(parts) > 64:
        raise BadToken("extensions: more than 32")
    return parts


cdef int set_token(rd_kafka_t *rk, answer) except -1:
    """Take (token, expiry in seconds since the epoch[, principal[, extensions]])."""
    cdef char errstr[512]
    cdef const char *pairs[64]
    cdef size_t n = 0
    cdef bytes token, principal
    if not isinstance(answer, (tuple, list)):
        raise BadToken(f"it returned a value of type {type(answer).__name__}")
    if not 2 <= len(answer) <= 4:
        raise BadToken(f"it returned {len(answer)} values")
    values = [*answer, None, None]
    token = checked_text("token", values[0], VISIBLE)
    if not token:
        raise BadToken("token is empty")
    expiry = checked_expiry(values[1])
    principal = b"" if values[2] is None else checked_text("principal", values[2], None)
    kept = checked_extensions(values[3])
    for part in kept:
        pairs[n] = part
        n += 1
    if rd_kafka_oauthbearer_set_token(rk, token, expiry, principal, pairs, n, errstr, sizeof(errstr)):
        raise BadToken("librdkafka has refused it")     # its own text may show the token
    return 0
