/* Destruction of an rd_kafka_t: the thread, and its reference-counted result. See destroy.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np */
#endif
#include "destroy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#ifdef __APPLE__
#define CLOCK CLOCK_REALTIME
#else
#define CLOCK CLOCK_MONOTONIC
#endif

struct kp_destruction {
    rd_kafka_t *rk; /* the thread's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int owners;
    int held;
    int left; /* of a held one: its group */
    int over;
};

static void set(kp_destruction *end, int *flag) {
    pthread_mutex_lock(&end->lock);
    *flag = 1;
    pthread_cond_broadcast(&end->changed);
    pthread_mutex_unlock(&end->lock);
}

static void *destroy(void *arg) {
    kp_destruction *end = arg;
#ifdef __APPLE__
    pthread_setname_np("kafkapp end");
#else
    pthread_setname_np(pthread_self(), "kafkapp end");
#endif
    if (end->held) {
        rd_kafka_consumer_close(end->rk); /* else librdkafka 2.0 may leave a connection open */
        set(end, &end->left);
    }
    rd_kafka_destroy(end->rk);
    set(end, &end->over);
    kp_destruction_release(end);
    return NULL;
}

static kp_destruction *kp_destruction_new(rd_kafka_t *rk, int held) {
    pthread_condattr_t attr;
    kp_destruction *end = calloc(1, sizeof(*end));
    if (!end)
        return NULL;
    end->rk = rk;
    end->held = held;
    end->owners = 2;
    pthread_mutex_init(&end->lock, NULL);
    pthread_condattr_init(&attr);
#ifndef __APPLE__
    pthread_condattr_setclock(&attr, CLOCK);
#endif
    pthread_cond_init(&end->changed, &attr);
    pthread_condattr_destroy(&attr);
    return end;
}

kp_destruction *kp_destruction_start(rd_kafka_t *rk, int held) {
    kp_destruction *end = kp_destruction_new(rk, held);
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    int err = ENOMEM;
    if (end) {
        /* Signals are for the threads of the program. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        err = pthread_create(&thread, &attr, destroy, end);
        pthread_attr_destroy(&attr);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (!err)
        return end;
    if (end) {
        end->owners = 1;
        kp_destruction_release(end);
    }
    if (held)
        rd_kafka_consumer_close(rk); /* destroying it would block for as long as it is held */
    else
        rd_kafka_destroy(rk);
    return NULL;
}

static int wait_for(kp_destruction *end, const int *flag, int timeout_ms) {
    struct timespec until;
    int is_set;
    clock_gettime(CLOCK, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&end->lock);
    while (!*flag && !end->over && pthread_cond_timedwait(&end->changed, &end->lock, &until) != ETIMEDOUT)
        ;
    is_set = *flag || end->over;
    pthread_mutex_unlock(&end->lock);
    return is_set;
}

int kp_destruction_wait(kp_destruction *end, int timeout_ms) {
    return wait_for(end, &end->over, timeout_ms);
}

int kp_destruction_wait_left(kp_destruction *end, int timeout_ms) {
    return wait_for(end, &end->left, timeout_ms);
}

kp_destruction *kp_destruction_share(kp_destruction *end) {
    pthread_mutex_lock(&end->lock);
    end->owners++;
    pthread_mutex_unlock(&end->lock);
    return end;
}

void kp_destruction_release(kp_destruction *end) {
    int left;
    pthread_mutex_lock(&end->lock);
    left = --end->owners;
    pthread_mutex_unlock(&end->lock);
    if (left)
        return;
    pthread_cond_destroy(&end->changed);
    pthread_mutex_destroy(&end->lock);
    free(end);
}
