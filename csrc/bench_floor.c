/* C producer loops of the benchmarks: per record they do the least that any program over librdkafka must.
 * A thread drains the delivery reports, as in kafkapp's Auto mode: both sides divide the work alike. */
#include "bench_floor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *drain(void *arg) {
    kp_floor *f = arg;
    for (;;) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(f->queue, 100);
        int64_t delivered = 0, failed = 0;
        rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
        int stop;
        if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            const rd_kafka_message_t *message;
            while ((message = rd_kafka_event_message_next(event))) {
                if (message->err) {
                    failed++;
                    error = message->err;
                } else {
                    delivered++;
                }
            }
        }
        if (event)
            rd_kafka_event_destroy(event);
        pthread_mutex_lock(&f->lock);
        f->delivered += delivered;
        f->failed += failed;
        if (error && !f->first_error)
            f->first_error = error;
        stop = f->stop;
        if (delivered || failed)
            pthread_cond_broadcast(&f->counted);
        pthread_mutex_unlock(&f->lock);
        if (stop)
            return NULL;
    }
}

static void deadline_in(struct timespec *deadline, int ms) {
    clock_gettime(CLOCK_REALTIME, deadline);
    deadline->tv_sec += ms / 1000;
    deadline->tv_nsec += (long)(ms % 1000) * 1000000;
    if (deadline->tv_nsec >= 1000000000) {
        deadline->tv_sec++;
        deadline->tv_nsec -= 1000000000;
    }
}

/* The queue is full: block until a delivery report has made room, at most 10 ms. */
static void wait_for_room(kp_floor *f) {
    struct timespec deadline;
    deadline_in(&deadline, 10);
    pthread_mutex_lock(&f->lock);
    pthread_cond_timedwait(&f->counted, &f->lock, &deadline);
    pthread_mutex_unlock(&f->lock);
}

int kp_floor_open(kp_floor *f, rd_kafka_conf_t *conf, const char *topic_prefix, int topic_cnt, int partition_cnt,
                  char *errstr, size_t errstr_size) {
    int i;
    memset(f, 0, sizeof(*f));
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    f->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, errstr_size);
    if (!f->rk) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    f->queue = rd_kafka_queue_get_main(f->rk);
    f->partition_cnt = partition_cnt;
    f->topics = calloc((size_t)topic_cnt + 1, sizeof(*f->topics));
    if (!f->topics)
        abort();
    for (i = 0; i < topic_cnt; i++) {
        char name[512];
        if (topic_cnt == 1)
            snprintf(name, sizeof(name), "%s", topic_prefix);
        else
            snprintf(name, sizeof(name), "%s-%d", topic_prefix, i);
        f->topics[i] = rd_kafka_topic_new(f->rk, name, NULL);
        if (!f->topics[i])
            abort();
        f->topic_cnt++;
    }
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->counted, NULL);
    if (pthread_create(&f->drainer, NULL, drain, f))
        abort();
    return 0;
}

static rd_kafka_resp_err_t send_singly(kp_floor *f, void *value, size_t size, int64_t n, int msgflags) {
    int64_t i;
    int topic = 0;
    int32_t partition = 0;
    for (i = 0; i < n; i++) {
        while (rd_kafka_produce(f->topics[topic], partition, msgflags, value, size, NULL, 0, NULL) == -1) {
            rd_kafka_resp_err_t err = rd_kafka_last_error();
            if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                return err;
            wait_for_room(f);
        }
        if (++topic == f->topic_cnt) {
            topic = 0;
            if (++partition == f->partition_cnt)
                partition = 0;
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t send_in_batches(kp_floor *f, void *value, size_t size, int64_t n, int batch,
                                           int msgflags) {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_message_t *messages = calloc((size_t)batch, sizeof(*messages));
    int64_t call;
    if (!messages)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    for (call = 0; n > 0 && !err; call++) {
        rd_kafka_topic_t *rkt = f->topics[call % f->topic_cnt];
        int32_t partition = (int32_t)(call / f->topic_cnt % f->partition_cnt);
        int left = n < batch ? (int)n : batch, i;
        n -= left;
        for (i = 0; i < left; i++) {
            messages[i].payload = value;
            messages[i].len = size;
        }
        while (left) {
            int refused = 0;
            if (rd_kafka_produce_batch(rkt, partition, msgflags, messages, left) == left)
                break;
            /* All records are equal: the number of refused ones is enough to send them again. */
            for (i = 0; i < left; i++) {
                if (messages[i].err && messages[i].err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                    err = messages[i].err;
                refused += messages[i].err != 0;
            }
            if (err)
                break;
            left = refused;
            wait_for_room(f);
        }
    }
    free(messages);
    return err;
}

rd_kafka_resp_err_t kp_floor_send(kp_floor *f, void *value, size_t size, int64_t n, int batch, int msgflags) {
    return batch ? send_in_batches(f, value, size, n, batch, msgflags) : send_singly(f, value, size, n, msgflags);
}

int kp_floor_wait(kp_floor *f, int64_t n, int timeout_ms) {
    struct timespec deadline;
    int expired = 0, incomplete;
    deadline_in(&deadline, timeout_ms);
    pthread_mutex_lock(&f->lock);
    while (f->delivered + f->failed < n && !expired)
        expired = pthread_cond_timedwait(&f->counted, &f->lock, &deadline) == ETIMEDOUT;
    incomplete = f->delivered + f->failed < n;
    pthread_mutex_unlock(&f->lock);
    return incomplete ? -1 : 0;
}

rd_kafka_resp_err_t kp_floor_round_trips(kp_floor *f, void *value, size_t size, int n, double *seconds) {
    int64_t before = f->delivered + f->failed;
    int i;
    for (i = 0; i < n; i++) {
        struct timespec start, end;
        rd_kafka_resp_err_t err;
        clock_gettime(CLOCK_MONOTONIC, &start);
        err = send_singly(f, value, size, 1, 0);
        if (err)
            return err;
        if (kp_floor_wait(f, before + i + 1, 60000))
            return RD_KAFKA_RESP_ERR__TIMED_OUT;
        clock_gettime(CLOCK_MONOTONIC, &end);
        seconds[i] = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void kp_floor_purge(kp_floor *f) {
    rd_kafka_purge(f->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
}

int64_t kp_floor_end_offset(kp_floor *f, const char *topic, int32_t partition, int timeout_ms) {
    int64_t low = -1, high = -1;
    if (rd_kafka_query_watermark_offsets(f->rk, topic, partition, &low, &high, timeout_ms))
        return -1;
    return high;
}

void kp_floor_close(kp_floor *f) {
    int i;
    pthread_mutex_lock(&f->lock);
    f->stop = 1;
    pthread_mutex_unlock(&f->lock);
    rd_kafka_queue_yield(f->queue);
    pthread_join(f->drainer, NULL);
    for (i = 0; i < f->topic_cnt; i++)
        rd_kafka_topic_destroy(f->topics[i]);
    free(f->topics);
    rd_kafka_queue_destroy(f->queue);
    rd_kafka_destroy(f->rk);
    pthread_cond_destroy(&f->counted);
    pthread_mutex_destroy(&f->lock);
    memset(f, 0, sizeof(*f));
}
