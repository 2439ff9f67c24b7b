/* Dispatcher: waiting for rounds, and draining the queue in them, without the GIL. See dispatcher.h. */
#include "dispatcher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void nothing(void *data) {
    (void)data;
}

static int64_t read_nothing(void *data, rd_kafka_event_t *event) {
    (void)data, (void)event;
    return 0;
}

static const kp_service no_service = {.begin = nothing, .read = read_nothing, .collect = nothing, .end = nothing};

int kp_dispatcher_init(kp_dispatcher *d) {
    pthread_condattr_t attr;
    int err;
    memset(d, 0, sizeof(*d));
    d->service = &no_service;
    if ((err = pthread_mutex_init(&d->lock, NULL)))
        return err;
    /* Monotonic: a step of the wall clock must not lengthen a wait. */
    pthread_condattr_init(&attr);
#ifndef __APPLE__
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    err = pthread_cond_init(&d->round_ended, &attr);
    if (!err && (err = pthread_cond_init(&d->keeper_wakeup, &attr)))
        pthread_cond_destroy(&d->round_ended);
    pthread_condattr_destroy(&attr);
    if (err)
        pthread_mutex_destroy(&d->lock);
    return err;
}

void kp_dispatcher_free(kp_dispatcher *d) {
    free(d->events);
    free(d->other_events);
    pthread_cond_destroy(&d->keeper_wakeup);
    pthread_cond_destroy(&d->round_ended);
    pthread_mutex_destroy(&d->lock);
    memset(d, 0, sizeof(*d));
}

/* -- waiting ------------------------------------------------------------------------------------ */

void kp_deadline_in(struct timespec *when, int timeout_ms) {
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, when);
#else
    clock_gettime(CLOCK_MONOTONIC, when);
#endif
    when->tv_sec += timeout_ms / 1000;
    when->tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (when->tv_nsec >= 1000000000L) {
        when->tv_sec++;
        when->tv_nsec -= 1000000000L;
    }
}

/* Block until a round has ended since the caller read kp_rounds() as `seen`, or kp_wake(); at most timeout_ms. */
void kp_wait_round(kp_dispatcher *d, int64_t seen, int timeout_ms) {
    struct timespec until;
    kp_deadline_in(&until, timeout_ms);
    pthread_mutex_lock(&d->lock);
    while (d->rounds == seen && pthread_cond_timedwait(&d->round_ended, &d->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&d->lock);
}

void kp_wake(kp_dispatcher *d) {
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->round_ended);
    pthread_mutex_unlock(&d->lock);
}

/* Become the owner of the round. Returns 0 when another thread owns it, after that round or timeout_ms; and, where the
 * caller would wait, when a round has ended since `seen`, which may have been the one that it waits for. */
int kp_round_begin(kp_dispatcher *d, int64_t seen, int timeout_ms) {
    int mine = 1;
    pthread_mutex_lock(&d->lock);
    if (timeout_ms > 0 && d->rounds != seen) {
        mine = 0;
    } else if (d->round_open) {
        mine = 0;
        if (timeout_ms > 0) {
            struct timespec until;
            kp_deadline_in(&until, timeout_ms);
            while (d->rounds == seen && d->round_open &&
                   pthread_cond_timedwait(&d->round_ended, &d->lock, &until) != ETIMEDOUT)
                ;
        }
    } else {
        KP_SET(d->round_open, 1); /* has_events() reads it without the lock */
    }
    pthread_mutex_unlock(&d->lock);
    return mine;
}

/* -- rounds ------------------------------------------------------------------------------------- */

void kp_reserve(void **array, size_t count, size_t *room, size_t extra, size_t size) {
    size_t want = *room ? *room * 2 : 64;
    void *grown;
    if (count + extra <= *room)
        return;
    while (want < count + extra)
        want *= 2;
    while (!(grown = realloc(*array, want * size))) {
        struct timespec pause = {0, 10000000L};
        nanosleep(&pause, NULL);
    }
    *array = grown;
    *room = want;
}

/* The service has something to collect: the next round does so, as the one that is drained now may. */
void kp_service_ready(kp_dispatcher *d) {
    KP_SET(d->service_ready, 1); /* read without the lock while a round is drained */
    rd_kafka_queue_yield(d->queue);
}

/* The next event of a round; kept events come first. Any poll of the queue may consume the wake-up of
 * kp_service_ready(), also one that does not wait, and one of the keeper thread. So what is ready is collected before and
 * after each poll, and before its event is read: it was ready before what the event is for. */
static rd_kafka_event_t *next_event(kp_dispatcher *d, int timeout_ms) {
    rd_kafka_event_t *event = NULL;
    if (KP_READ(d->kept) && !d->has_event_thread)
        event = kp_kept_next(d);
    if (!event)
        event = rd_kafka_queue_poll(d->queue, KP_READ(d->service_ready) ? 0 : timeout_ms);
    if (KP_READ(d->service_ready)) {
        KP_SET(d->service_ready, 0); /* first: what becomes ready meanwhile is collected now or by the next call */
        d->service->collect(d->service_data);
    }
    return event;
}

/* Wait up to timeout_ms for the first event, then take what the queue has, until max_pending operations are reported.
 * Taking all of it matters: while a Python thread is busy, acquiring the GIL costs its switch interval, 5 ms, so one
 * acquisition must complete all that has come meanwhile. Returns how many operations are reported. The caller must own
 * the round. */
static int64_t drain_queue(kp_dispatcher *d, int timeout_ms, size_t max_pending) {
    int64_t read = 0;
    size_t kept = 0;
    rd_kafka_event_t *event = next_event(d, timeout_ms);
    while (event) {
        rd_kafka_event_t ***list;
        size_t *count, *room;
        if (rd_kafka_event_type(event) == d->service->event) {
            size_t before = d->pending;
            read += d->service->read(d->service_data, event);
            if (d->pending == before) {
                /* Nothing refers to its messages: destroying it makes room in librdkafka's queue now. */
                rd_kafka_event_destroy(event);
                if (read >= (int64_t)max_pending)
                    break;
                event = next_event(d, 0);
                continue;
            }
            list = &d->events, count = &d->event_count, room = &d->event_room;
        } else if (d->has_event_thread) {
            /* Not dispatched within a round: a log handler may want a lock that a thread holds while it sends. */
            kp_keep(d, event);
            if (++kept >= max_pending)
                break;
            event = next_event(d, 0);
            continue;
        } else {
            list = &d->other_events, count = &d->other_event_count, room = &d->other_event_room;
        }
        kp_reserve((void **)list, *count, room, 1, sizeof(**list));
        (*list)[(*count)++] = event;
        if (d->pending >= max_pending || d->event_count + d->other_event_count >= max_pending)
            break;
        event = next_event(d, 0);
    }
    return read;
}

/* Release the round's messages, which makes room in librdkafka's queue, and let another thread own the next round. */
void kp_round_end(kp_dispatcher *d) {
    size_t i;
    for (i = 0; i < d->event_count; i++)
        rd_kafka_event_destroy(d->events[i]);
    for (i = 0; i < d->other_event_count; i++)
        rd_kafka_event_destroy(d->other_events[i]);
    d->event_count = d->other_event_count = d->pending = 0;
    d->service->end(d->service_data);
    pthread_mutex_lock(&d->lock);
    KP_SET(d->round_open, 0);
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->round_ended);
    pthread_mutex_unlock(&d->lock);
}

/* Drain one round. Returns 1 when Python has something to complete: the caller must do so, and end the round. Returns 0
 * when there is nothing, also when another thread owns the round. `seen`: kp_rounds() as the caller read it before it
 * found that what it waits for is missing. Adds the number of reported operations to *reported. */
int kp_drain_round(kp_dispatcher *d, int64_t seen, int timeout_ms, size_t max_pending, int64_t *reported) {
    if (!kp_round_begin(d, seen, timeout_ms))
        return 0;
    d->service->begin(d->service_data);
    *reported += drain_queue(d, timeout_ms, max_pending);
    if (d->pending || d->other_event_count)
        return 1;
    kp_round_end(d);
    return 0;
}

/* The dispatcher thread's wait: drains rounds until one has something to complete (1), or kp_stop() (0). */
int kp_drain_rounds(kp_dispatcher *d, size_t max_pending) {
    int64_t reported = 0;
    while (!KP_READ(d->stopping))
        if (kp_drain_round(d, kp_rounds(d), 1000, max_pending, &reported))
            return 1;
    return 0;
}

void kp_stop(kp_dispatcher *d) {
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->stopping, 1, __ATOMIC_SEQ_CST);
    pthread_cond_signal(&d->keeper_wakeup);
    pthread_mutex_unlock(&d->lock);
    rd_kafka_queue_yield(d->queue);
    kp_wake(d);
}

/* Name this thread, for ps and top, after the client: `client` is its rd_kafka_name(), "client.id#type-number". */
void kp_name_thread(const char *client) {
    char text[16]; /* the longest name that Linux takes */
    const char *end = strrchr(client, '#');
    snprintf(text, sizeof(text), "kafkapp %.*s", end ? (int)(end - client) : 7, client);
#ifdef __APPLE__
    pthread_setname_np(text);
#else
    pthread_setname_np(pthread_self(), text);
#endif
}
