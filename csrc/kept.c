/* Kept events: events of an idle client, kept within a bound until a call fetches them, and the keeper thread. */
#include "dispatcher.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_KEPT_LINES 8192 /* logs and errors */
#define MAX_KEPT_STATISTICS 32
#define IDLE_MS 250 /* a client without a round for so long is idle */

static rd_kafka_event_t *take_oldest(kp_ring *ring) {
    rd_kafka_event_t *event = ring->events[ring->first];
    ring->first = (ring->first + 1) % ring->room;
    ring->count--;
    return event;
}

/* Make room for one more event. Returns 0 without memory. */
static int make_room(kp_ring *ring) {
    uint32_t room = ring->room ? ring->room * 2 : 32, i;
    rd_kafka_event_t **grown;
    if (ring->count < ring->room)
        return 1;
    grown = malloc(room * sizeof(*grown));
    if (!grown)
        return 0;
    for (i = 0; i < ring->count; i++)
        grown[i] = ring->events[(ring->first + i) % ring->room];
    free(ring->events);
    ring->events = grown;
    ring->first = 0;
    ring->room = room;
    return 1;
}

/* Put an event into a ring of at most `limit`, in place of the oldest when it is full. Returns how many are dropped. */
static int put(kp_dispatcher *d, kp_ring *ring, uint32_t limit, rd_kafka_event_t *event) {
    rd_kafka_event_t *dropped = NULL;
    if (ring->count >= limit || !make_room(ring))
        dropped = ring->count ? take_oldest(ring) : event;
    if (dropped != event)
        ring->events[(ring->first + ring->count++) % ring->room] = event;
    if (dropped)
        rd_kafka_event_destroy(dropped);
    else
        __atomic_store_n(&d->kept, d->kept + 1, __ATOMIC_SEQ_CST);
    return dropped != NULL;
}

/* Keep an event that a round has polled; takes ownership of it. */
void kp_keep(kp_dispatcher *d, rd_kafka_event_t *event) {
    int type = rd_kafka_event_type(event);
    pthread_mutex_lock(&d->lock);
    if (type == d->service->event)
        put(d, &d->service_events, UINT32_MAX, event); /* keep_while_idle() has made room */
    else if (type == RD_KAFKA_EVENT_STATS)
        /* With an event thread each replaces the one before: only the newest is of use to a slow callback. */
        put(d, &d->statistics, d->has_event_thread ? 1 : MAX_KEPT_STATISTICS, event);
    else if (type == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
        put(d, &d->token_refreshes, 1, event);
    else
        d->dropped_lines += put(d, &d->log_events, MAX_KEPT_LINES, event);
    pthread_cond_signal(&d->keeper_wakeup);
    pthread_mutex_unlock(&d->lock);
}

/* The next kept event, which the caller must destroy; NULL: there is none. */
rd_kafka_event_t *kp_kept_next(kp_dispatcher *d) {
    kp_ring *rings[] = {&d->token_refreshes, &d->service_events, &d->log_events, &d->statistics};
    rd_kafka_event_t *event = NULL;
    size_t i;
    pthread_mutex_lock(&d->lock);
    for (i = 0; i < sizeof(rings) / sizeof(*rings) && !event; i++)
        if (rings[i]->count)
            event = take_oldest(rings[i]);
    if (event)
        __atomic_store_n(&d->kept, d->kept - 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&d->lock);
    return event;
}

/* How many logs and errors were dropped since the last call. */
int64_t kp_dropped_lines(kp_dispatcher *d) {
    int64_t dropped;
    pthread_mutex_lock(&d->lock);
    dropped = d->dropped_lines;
    d->dropped_lines = 0;
    pthread_mutex_unlock(&d->lock);
    return dropped;
}

/* Wait until the client was idle for IDLE_MS. Returns 0 when it was not, and at once when the thread has to end or has
 * kept events to dispatch. */
static int wait_idle(kp_dispatcher *d) {
    struct timespec until;
    int64_t seen = kp_rounds(d);
    int idle = 0;
    kp_deadline_in(&until, IDLE_MS);
    pthread_mutex_lock(&d->lock);
    while (!d->stopping && !(d->has_event_thread && d->kept))
        if (pthread_cond_timedwait(&d->keeper_wakeup, &d->lock, &until) == ETIMEDOUT) {
            idle = d->rounds == seen && !d->round_open;
            break;
        }
    pthread_mutex_unlock(&d->lock);
    return idle;
}

/* The event thread's wait, of a client whose calls dispatch the service's events: drains a round only when the client is
 * idle. Returns KP_ROUND_DRAINED for a round to complete, KP_EVENTS_KEPT for kept events to dispatch, 0 to end. */
int kp_drain_when_idle(kp_dispatcher *d, size_t max_pending) {
    int64_t reported = 0;
    int found = -1;
    KP_SET(d->event_thread_waits, 1);
    while (found < 0) {
        int idle = wait_idle(d);
        if (KP_READ(d->kept))
            found = KP_EVENTS_KEPT;
        else if (KP_READ(d->stopping))
            found = 0;
        else if (idle && kp_drain_round(d, 0, 0, max_pending, &reported))
            found = KP_ROUND_DRAINED;
    }
    KP_SET(d->event_thread_waits, 0);
    return found;
}

/* Keep what the queue has: the caller owns the round. Waits up to timeout_ms for the first event. */
static void keep_queue(kp_dispatcher *d, int timeout_ms) {
    rd_kafka_event_t *event;
    /* librdkafka takes no event back: make room first. */
    while (!KP_READ(d->stopping) && make_room(&d->service_events) &&
           (event = rd_kafka_queue_poll(d->queue, timeout_ms))) {
        kp_keep(d, event);
        timeout_ms = 0;
    }
}

/* For a call that waits for an event where no callback may run: keep all events, as the keeper thread does. */
void kp_keep_what_comes(kp_dispatcher *d, int timeout_ms) {
    if (kp_round_begin(d, kp_rounds(d), timeout_ms)) {
        keep_queue(d, timeout_ms);
        kp_round_end(d);
    }
}

/* Whether an event of the service's with this opaque is kept. */
int kp_is_kept(kp_dispatcher *d, const void *opaque) {
    const kp_ring *ring = &d->service_events;
    uint32_t i;
    int found = 0;
    pthread_mutex_lock(&d->lock);
    for (i = 0; i < ring->count && !found; i++)
        found = rd_kafka_event_opaque(ring->events[(ring->first + i) % ring->room]) == opaque;
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* The keeper thread, of a client that only its user's calls dispatch: keeps the events of an idle client, whose number
 * is bounded here and not in librdkafka's queue. It never enters Python. */
static void *keep_while_idle(void *arg) {
    kp_dispatcher *d = arg;
    kp_name_thread(rd_kafka_name(d->rk));
    while (!KP_READ(d->stopping)) {
        if (!wait_idle(d) || !rd_kafka_queue_length(d->queue) || !kp_round_begin(d, 0, 0))
            continue;
        keep_queue(d, 0);
        kp_round_end(d);
    }
    return NULL;
}

/* Start the keeper thread. Returns an errno, or 0. */
int kp_keeper_start(kp_dispatcher *d) {
    sigset_t all, before;
    int err;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    err = pthread_create(&d->keeper_thread, NULL, keep_while_idle, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    d->keeper_runs = !err;
    return err;
}

/* End the keeper thread, and destroy the kept events. No other thread may use the client any more. */
void kp_kept_free(kp_dispatcher *d) {
    kp_ring *rings[] = {&d->token_refreshes, &d->service_events, &d->log_events, &d->statistics};
    rd_kafka_event_t *event;
    size_t i;
    if (d->keeper_runs) {
        kp_stop(d);
        pthread_join(d->keeper_thread, NULL);
        d->keeper_runs = 0;
    }
    while ((event = kp_kept_next(d)))
        rd_kafka_event_destroy(event);
    for (i = 0; i < sizeof(rings) / sizeof(*rings); i++) {
        free(rings[i]->events);
        memset(rings[i], 0, sizeof(*rings[i]));
    }
}
