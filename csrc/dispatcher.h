/* Dispatcher: a client's queue, drained in rounds without the GIL, and the events of an idle client.
 *
 * A round is what one thread at a time does: it drains librdkafka's queue (kp_drain_round), completes what the drained
 * events were waited for, dispatches the others, and ends (kp_round_end). Draining is C; the rest runs Python, and so
 * callbacks, and is Cython's part. What a client is for, it has from a kp_service. Everything named kp_* is ours.
 */
#ifndef KAFKAPP_DISPATCHER_H
#define KAFKAPP_DISPATCHER_H

#include <Python.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdint.h>

#include "atomics.h"

#if RD_KAFKA_VERSION < 0x020002ff
#error "kafkapp needs librdkafka 2.0.2 or later"
#endif

/* What a client is for, to its dispatcher: the events of one type, and what is to be completed when they have come. The
 * thread that owns the round calls these, without the GIL, once for each event or round; `data` is the dispatcher's
 * service_data. What is to be completed is counted in the dispatcher's `pending`. */
typedef struct {
    int event; /* RD_KAFKA_EVENT_*: the type of the events that `read` is for */
    void (*begin)(void *data); /* before a round is drained */
    /* Read an event; returns how many operations it reports as done. The event lives until the round ends if that has
     * raised `pending`; else it is destroyed at once. */
    int64_t (*read)(void *data, rd_kafka_event_t *event);
    void (*collect)(void *data); /* raise `pending` by what no event reports: see kp_service_ready() */
    void (*end)(void *data); /* the round's completions are done */
} kp_service;

/* Events in the order in which they came. */
typedef struct {
    rd_kafka_event_t **events;
    uint32_t first, count, room;
} kp_ring;

typedef struct {
    rd_kafka_t *rk;          /* the client; borrowed */
    rd_kafka_queue_t *queue; /* its main queue */
    const kp_service *service;
    void *service_data;

    /* -- written by the thread that owns the round ---------------------------------------------- */
    char own_cache_line[64];
    unsigned long callback_thread; /* ident of the thread that runs the round's callbacks now, 0: none */
    size_t pending;                /* what the service has to complete in this round */
    rd_kafka_event_t **events;     /* the service's events of the round: destroyed when it ends */
    size_t event_count, event_room;
    rd_kafka_event_t **other_events; /* the round's logs, errors, statistics, token refreshes */
    size_t other_event_count, other_event_room;

    /* -- guarded by lock ----------------------------------------------------------------------- */
    pthread_mutex_t lock;
    pthread_cond_t round_ended; /* a round has ended, or the client's state has changed */
    int64_t rounds;             /* how many have ended */
    int round_open;             /* a thread owns the round */
    int stopping;               /* the client's thread has to end */
    int service_ready;          /* atomic, not guarded: the service has something to collect */

    /* -- guarded by lock: events that are kept until a call fetches them ------------------------- */
    kp_ring service_events, log_events, statistics, token_refreshes; /* log_events: logs and errors */
    int64_t kept;                        /* events in all rings */
    int64_t dropped_lines;               /* logs and errors that had to make room for newer ones */
    pthread_cond_t keeper_wakeup;        /* something is kept, or the thread has to end */
    int has_event_thread;                /* a Python thread dispatches what is kept; else calls that dispatch do */
    int event_thread_waits;              /* it is inside kp_drain_when_idle */
    unsigned long event_callback_thread; /* its ident while it runs callbacks, 0: it does not */
    int keeper_runs;                     /* the thread that keeps events and dispatches none */
    pthread_t keeper_thread;
} kp_dispatcher;

/* Returns an errno, or 0. */
int kp_dispatcher_init(kp_dispatcher *d);
void kp_dispatcher_free(kp_dispatcher *d);

/* Waiting and rounds. None needs the GIL; each blocks for at most timeout_ms. */
static inline int64_t kp_rounds(kp_dispatcher *d) {
    return KP_READ(d->rounds);
}
void kp_wait_round(kp_dispatcher *d, int64_t seen, int timeout_ms);
void kp_wake(kp_dispatcher *d);
int kp_round_begin(kp_dispatcher *d, int64_t seen, int timeout_ms);
int kp_drain_round(kp_dispatcher *d, int64_t seen, int timeout_ms, size_t max_pending, int64_t *reported);
int kp_drain_rounds(kp_dispatcher *d, size_t max_pending);
void kp_service_ready(kp_dispatcher *d);
void kp_stop(kp_dispatcher *d);
void kp_round_end(kp_dispatcher *d);
void kp_name_thread(const char *client);
void kp_deadline_in(struct timespec *when, int timeout_ms);

/* Make room for `extra` more elements of a growing array. Without memory it waits until there is some: librdkafka takes
 * no event back. */
void kp_reserve(void **array, size_t count, size_t *room, size_t extra, size_t size);

/* What kp_drain_when_idle has found. */
enum { KP_ROUND_DRAINED = 1, KP_EVENTS_KEPT = 2 };

/* Events that are kept, within a bound, until a call fetches them. None of these needs the GIL. */
void kp_keep(kp_dispatcher *d, rd_kafka_event_t *event);
void kp_keep_what_comes(kp_dispatcher *d, int timeout_ms);
int kp_is_kept(kp_dispatcher *d, const void *opaque);
rd_kafka_event_t *kp_kept_next(kp_dispatcher *d);
int64_t kp_dropped_lines(kp_dispatcher *d);
int kp_drain_when_idle(kp_dispatcher *d, size_t max_pending);
int kp_keeper_start(kp_dispatcher *d);
void kp_kept_free(kp_dispatcher *d);

#endif
