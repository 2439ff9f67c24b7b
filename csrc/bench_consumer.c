/* C consumer loop of the benchmarks: per record it does the least that any program over librdkafka must. */
#include "bench_consumer.h"

#include <sys/types.h>
#include <time.h>

#define CHUNK 1000

int64_t kp_bench_take(rd_kafka_t *rk, int64_t records, int timeout_ms, int64_t *bytes) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_message_t *messages[CHUNK];
    int64_t taken = 0;
    *bytes = 0;
    while (taken < records) {
        /* One first, for which it waits: librdkafka waits for all that are asked for. */
        ssize_t count = rd_kafka_consume_batch_queue(queue, timeout_ms, messages, 1), i;
        int64_t left = records - taken - 1;
        if (count < 1)
            break;
        if (left) {
            ssize_t more = rd_kafka_consume_batch_queue(queue, 0, messages + 1, left < CHUNK - 1 ? (size_t)left : CHUNK - 1);
            count += more < 0 ? 0 : more;
        }
        for (i = 0; i < count; i++) {
            if (!messages[i]->err) {
                taken++;
                *bytes += (int64_t)messages[i]->len;
            }
            rd_kafka_message_destroy(messages[i]);
        }
    }
    rd_kafka_queue_destroy(queue);
    return taken;
}

static int64_t arrived;

/* librdkafka calls it with its queue locked, before it wakes the waiting thread. */
static void note_arrival(rd_kafka_t *rk, void *opaque) {
    struct timespec now;
    (void)rk, (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    __atomic_store_n(&arrived, now.tv_sec * (int64_t)1000000000 + now.tv_nsec, __ATOMIC_RELAXED);
}

void kp_bench_watch(rd_kafka_t *rk) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_queue_cb_event_enable(queue, note_arrival, NULL);
    rd_kafka_queue_destroy(queue);
}

int64_t kp_bench_arrived(void) {
    return __atomic_exchange_n(&arrived, 0, __ATOMIC_RELAXED);
}
