# C interface of kafkapp.client.events.

cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_event_t, rd_kafka_t


@cython.final
cdef class EventHandlers:
    cdef object log_cb, error_cb, stats_cb, token_cb    # the user's, or None
    cdef str name                                       # the client's
    cdef dict secrets                                   # the sensitive properties, whose values no text may show
    cdef int brokers_down                               # atomic: none could be reached, and nothing has come since
    cdef str refusal                                    # the last log line about a refused certificate
    cdef int dispatch(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1
    cdef int report_dropped(self, int64_t lines) except -1
    cdef int say(self, int level, str facility, str message) except -1
    cdef str redacted_text(self, const char *string)
    cdef int on_log(self, rd_kafka_event_t *event) except -1
    cdef int on_error(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1
    cdef int report(self, object error) except -1
    cdef str with_refusal(self, str message)
    cdef int fail_token_refresh(self, rd_kafka_t *rk, str reason, exc) except -1
    cdef int on_token_refresh(self, rd_kafka_t *rk, rd_kafka_event_t *event) except -1

cdef int warn(str name, list messages) except -1
