# Declarations of csrc/dispatcher.h: a client's queue, drained in rounds without the GIL.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_event_t, rd_kafka_queue_t, rd_kafka_t


cdef extern from "dispatcher.h" nogil:
    ctypedef struct kp_service:
        int event
        void (*begin)(void *data) noexcept
        int64_t (*read)(void *data, rd_kafka_event_t *event) noexcept
        void (*collect)(void *data) noexcept
        void (*end)(void *data) noexcept

    ctypedef struct kp_dispatcher:
        rd_kafka_t *rk
        rd_kafka_queue_t *queue
        const kp_service *service
        void *service_data
        unsigned long callback_thread
        size_t pending
        rd_kafka_event_t **events
        size_t event_count
        rd_kafka_event_t **other_events
        size_t other_event_count
        int round_open
        int stopping
        int64_t kept
        int has_event_thread
        int event_thread_waits
        unsigned long event_callback_thread

    int kp_dispatcher_init(kp_dispatcher *d)
    void kp_dispatcher_free(kp_dispatcher *d)
    int64_t kp_rounds(kp_dispatcher *d)
    void kp_wait_round(kp_dispatcher *d, int64_t seen, int timeout_ms)
    void kp_wake(kp_dispatcher *d)
    bint kp_round_begin(kp_dispatcher *d, int64_t seen, int timeout_ms)
    bint kp_drain_round(kp_dispatcher *d, int64_t seen, int timeout_ms, size_t max_pending, int64_t *reported)
    bint kp_drain_rounds(kp_dispatcher *d, size_t max_pending)
    void kp_service_ready(kp_dispatcher *d)
    void kp_stop(kp_dispatcher *d)
    void kp_round_end(kp_dispatcher *d)
    void kp_name_thread(const char *client)
    int KP_ROUND_DRAINED
    int KP_EVENTS_KEPT
    void kp_keep_what_comes(kp_dispatcher *d, int timeout_ms)
    bint kp_is_kept(kp_dispatcher *d, const void *opaque)
    rd_kafka_event_t *kp_kept_next(kp_dispatcher *d)
    int64_t kp_dropped_lines(kp_dispatcher *d)
    int kp_drain_when_idle(kp_dispatcher *d, size_t max_pending)
    int kp_keeper_start(kp_dispatcher *d)
    void kp_kept_free(kp_dispatcher *d)
