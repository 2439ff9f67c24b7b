"""Logs, errors, statistics and token refreshes: the events of librdkafka that are no delivery reports.

Layer L3: calls the user's callbacks for them, each on the thread that serves the queue; what a callback raises goes
to sys.unraisablehook, since it is no answer to what that thread was asked to do.
"""
cimport cython

from kafkapp.config import is_sensitive, redact

from kafkapp.delivery cimport call, report_all
from kafkapp.errors cimport new_error
from kafkapp.librdkafka cimport *

# syslog's levels to logging's; syslog's notice (5) has no counterpart of its own.
LOGGING_LEVELS = (50, 50, 50, 40, 30, 20, 20, 10)


def logger():
    import logging      # here: an import of kafkapp must not pay for it
    return logging.getLogger("kafkapp")


@cython.final
cdef class EventHandlers:
    def __init__(self, str name, dict properties):
        self.name = name
        self.secrets = {key: value for key, value in properties.items() if is_sensitive(key)}
        self.log_cb = properties.get("log_cb")
        self.error_cb = properties.get("error_cb")
        self.stats_cb = properties.get("stats_cb")
        self.token_cb = properties.get("oauthbearer_token_refresh_cb")

    cdef int serve(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        cdef int type = rd_kafka_event_type(event)
        if type == RD_KAFKA_EVENT_LOG:
            self.on_log(event)
        elif type == RD_KAFKA_EVENT_ERROR:
            self.on_error(rk, event)
        elif type == RD_KAFKA_EVENT_STATS:
            if self.stats_cb is not None:
                tell(self.stats_cb, (text(rd_kafka_event_stats(event)),))
        elif type == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
            self.on_token_refresh(rk, event)
        return 0

    cdef int lost(self, int64_t lines) except -1:
        """Say of lines that had to make room for newer ones, as nobody has served for long."""
        if not lines:
            return 0
        message = f"{lines} logs and errors were dropped: nobody has fetched or handled them for too long"
        if self.log_cb is not None:
            return tell(self.log_cb, (4, "DROPPED", message))           # 4: a warning
        return tell(self.to_logging, (30, "DROPPED", message))

    cdef str said(self, const char *string):
        """What librdkafka says, without the secrets that it was given: it quotes what it cannot read."""
        return redact(text(string), self.secrets) if self.secrets else text(string)

    cdef int on_log(self, rd_kafka_event_t *event) except -1:
        cdef const char *facility = NULL
        cdef const char *message = NULL
        cdef int level = 0
        if rd_kafka_event_log(event, &facility, &message, &level):
            return 0
        if facility is not NULL and facility == b"SSLCERTVRFY":
            self.refusal = self.said(message)
        if self.log_cb is not None:
            return tell(self.log_cb, (level, text(facility), self.said(message)))
        return tell(self.to_logging, (LOGGING_LEVELS[min(max(level, 0), 7)], text(facility), self.said(message)))

    def to_logging(self, int level, str facility, str message):
        logger().log(level, "%s %s %s", self.name, facility, message)

    cdef int on_error(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        cdef rd_kafka_resp_err_t err = rd_kafka_event_error(event)
        cdef char reason[512]
        if err == RD_KAFKA_RESP_ERR__FATAL:
            # rdkafka.h: "rd_kafka_fatal_error() ... to extract the actual underlying error code"
            err = rd_kafka_fatal_error(rk, reason, sizeof(reason))
            error = new_error(err, self.said(reason), True)
        else:
            error = new_error(err, self.with_refusal(self.said(rd_kafka_event_error_string(event))))
        if self.error_cb is not None:
            return tell(self.error_cb, (error,))
        if self.log_cb is not None:
            return tell(self.log_cb, (3, "ERROR", str(error)))      # 3: an error, among syslog's levels
        return tell(self.to_logging, (40, "ERROR", str(error)))

    cdef str with_refusal(self, str message):
        """The message with the reason why this broker's certificate was refused, logged just before: csrc/verify.c."""
        cdef str broker = message.partition(": ")[0] + ": "
        if self.refusal is None or "verify failed" not in message or broker not in self.refusal:
            return message
        return f"{message}: {self.refusal.rpartition('callback failed: ')[2]}"

    cdef int on_token_refresh(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1:
        try:
            set_token(rk, self.token_cb(text(rd_kafka_event_config_string(event))))
        except BaseException as exc:
            # The reason goes to librdkafka's log and error event: the type alone, for the text may hold a secret.
            reason = f"oauthbearer_token_refresh_cb raised {type(exc).__name__}".encode()
            rd_kafka_oauthbearer_set_token_failure(rk, reason)
            pass_on([exc])
        return 0


cdef int tell(object callback, tuple args) except -1:
    cdef list raised = []
    call(callback, args, raised)
    return pass_on(raised)


cdef int pass_on(list raised) except -1:
    """To sys.unraisablehook; but Ctrl-C is for the call that serves, not for the callback that it happened to hit."""
    for exc in raised:
        if isinstance(exc, KeyboardInterrupt):
            raise exc
    return report_all(raised)


cdef str text(const char *string):
    return "" if string is NULL else string.decode("utf-8", "replace")


cdef int set_token(rd_kafka_t *rk, answer) except -1:
    """Take (token, expiry in seconds since the epoch, principal, extensions)."""
    cdef char errstr[512]
    cdef const char *pairs[64]
    cdef size_t n = 0
    token, expiry, principal, extensions = answer
    kept = [part.encode() for pair in dict(extensions or {}).items() for part in pair]
    if len(kept) > 64:
        raise ValueError("extensions: more than 32")
    for part in kept:
        pairs[n] = part
        n += 1
    value, name = token.encode(), principal.encode()
    if rd_kafka_oauthbearer_set_token(rk, value, <int64_t>(expiry * 1000), name, pairs, n, errstr, sizeof(errstr)):
        raise ValueError(text(errstr))
    return 0
