/* csrc/ under ThreadSanitizer: senders, batches, a serving thread and flushes against each other, without Python.
 *
 * Layer: fault tests; tests/sanitize.py builds and runs it. A mutex stands for the GIL, so that what the GIL guards is
 * guarded here too, and all that runs without it is seen. Ends with 0 when the books balance.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "produce.h"

#define SENDERS 4
#define ROUNDS 300
#define ITEMS 50

static pthread_mutex_t gil = PTHREAD_MUTEX_INITIALIZER;
static kp_deliveries d;
static rd_kafka_t *rk;
static rd_kafka_topic_t *rkt;
static PyObject owner = {.ob_refcnt = 1}, target = {.ob_refcnt = 1};
static int64_t settled, batches;

static void *serve(void *unused) {
    while (kp_serve_background(&d, 1000)) {
        size_t i;
        pthread_mutex_lock(&gil);
        for (i = 0; i < d.report_count; i++) {
            kp_delivery *delivery = d.reports[i].delivery;
            if (delivery) {
                int64_t *done = &d.done[delivery->epoch];
                kp_delivery_back(&d, delivery);
                KP_ADD(*done, 1);
                settled++;
            } else {
                kp_batch *batch = d.reports[i].batch;
                kp_slot_back(&d, batch);
                KP_ADD(d.done[batch->epoch], 1);
                KP_ADD(d.tokens, -1);
                kp_batch_free(batch);
                batches++;
            }
        }
        pthread_mutex_unlock(&gil);
        kp_round_end(&d);
    }
    return unused;
}

static void send_record(void) {
    kp_record record = {.value = "value", .size = 5, .partition = RD_KAFKA_PARTITION_UA};
    kp_delivery *delivery;
    int slot;
    pthread_mutex_lock(&gil);
    kp_enter(&d);
    slot = d.epoch & (KP_EPOCHS - 1);
    delivery = kp_delivery_new(&d);
    delivery->epoch = slot;
    delivery->target = &target;
    KP_ADD(d.sent[slot], 1);
    if (kp_produce(rk, rkt, &record, delivery)) {
        KP_ADD(d.sent[slot], -1);
        kp_delivery_back(&d, delivery);
    }
    kp_leave(&d);
    pthread_mutex_unlock(&gil);
}

static void send_batch(void) {
    kp_records records;
    kp_batch *batch;
    int64_t accepted = 0, index;
    memset(&records, 0, sizeof(records));
    records.values.kind = KP_ONE;
    records.values.data = "value";
    records.values.size = 5;
    records.partition = RD_KAFKA_PARTITION_UA;
    pthread_mutex_lock(&gil);
    batch = kp_batch_new(ITEMS);
    batch->epoch = (uint8_t)(d.epoch & (KP_EPOCHS - 1));
    kp_slot_take(&d, batch, &owner);
    kp_enter(&d);
    KP_ADD(d.sent[batch->epoch], 1);
    KP_ADD(d.tokens, 1);
    pthread_mutex_unlock(&gil);
    index = kp_batch_send(rk, rkt, &d, batch, &records, 0, &accepted);
    (void)index;
    pthread_mutex_lock(&gil);
    if (kp_batch_sent(batch, ITEMS - accepted)) {
        if (accepted) {
            kp_finish(&d, batch);
        } else {
            kp_slot_back(&d, batch);
            KP_ADD(d.sent[batch->epoch], -1);
            KP_ADD(d.tokens, -1);
            kp_batch_free(batch);
        }
    }
    kp_leave(&d);
    pthread_mutex_unlock(&gil);
}

static void flush(void) {
    int64_t epoch, seen;
    pthread_mutex_lock(&gil);
    kp_enter(&d);
    epoch = kp_epoch_close(&d);
    pthread_mutex_unlock(&gil);
    while (!kp_epoch_done(&d, epoch)) {
        seen = kp_rounds(&d);
        rd_kafka_flush(rk, 10);
        if (!kp_epoch_done(&d, epoch))
            kp_wait_round(&d, seen, 10);
    }
    pthread_mutex_lock(&gil);
    kp_leave(&d);
    pthread_mutex_unlock(&gil);
}

static void *run(void *number) {
    unsigned seed = (unsigned)(uintptr_t)number;
    int i;
    for (i = 0; i < ROUNDS; i++) {
        int what = rand_r(&seed) % 10;
        if (what < 6)
            send_record();
        else if (what < 8)
            send_batch();
        else if (what < 9)
            flush();
        else if (rand_r(&seed) % 10 == 0)
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
    return NULL;
}

/* A round ends after its result was found missing and before the wait for it begins: the wait must not begin. Without
 * `seen` it would last its whole second, as the thread that serves, which is made up, ends no other. */
static int wakes(void) {
    struct timespec from, to;
    int64_t reported = 0, seen = kp_rounds(&d);
    d.serving = 1;
    kp_wake(&d);
    clock_gettime(CLOCK_MONOTONIC, &from);
    kp_serve(&d, seen, 1000, 1000, &reported);
    d.serving = 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 500;
}

int main(void) {
    char text[512];
    pthread_t server, senders[SENDERS];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int i;
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text));
    rd_kafka_conf_set(conf, "linger.ms", "1", text, sizeof(text));
    rd_kafka_conf_set(conf, "queue.buffering.max.messages", "500", text, sizeof(text));
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (!rk || kp_deliveries_init(&d))
        return 2;
    d.queue = rd_kafka_queue_get_main(rk);
    if (!wakes())
        _exit(3); /* librdkafka's threads still run */
    rkt = rd_kafka_topic_new(rk, "t", NULL);
    pthread_create(&server, NULL, serve, NULL);
    for (i = 0; i < SENDERS; i++)
        pthread_create(&senders[i], NULL, run, (void *)(uintptr_t)(i + 1));
    for (i = 0; i < SENDERS; i++)
        pthread_join(senders[i], NULL);
    flush();
    kp_stop(&d);
    pthread_join(server, NULL);
    printf("%lld records, %lld batches settled; outstanding %lld, states %lld\n", (long long)settled, (long long)batches,
           (long long)kp_outstanding(&d), (long long)(d.made - d.pooled));
    i = kp_outstanding(&d) != 0 || d.made != d.pooled || d.tokens != 0;
    rd_kafka_topic_destroy(rkt);
    rd_kafka_queue_destroy(d.queue);
    rd_kafka_destroy(rk);
    kp_deliveries_free(&d);
    return i;
}
