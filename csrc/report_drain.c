/* Report drain: reads delivery reports from librdkafka's queue, in rounds, without the GIL. See delivery.h. */
#include "delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATENCY_STRIDE 16        /* records between two whose latency is asked for */
#define LATENCY_TOLERANCE_US 200 /* how far a latency may be from the exact one */

/* Make room for `extra` more elements of a growing array; 0 without memory. */
static int grow(void **array, size_t count, size_t *room, size_t extra, size_t size) {
    size_t want;
    void *grown;
    if (count + extra <= *room)
        return 1;
    want = *room ? *room * 2 : 64;
    while (want < count + extra)
        want *= 2;
    grown = realloc(*array, want * size);
    if (!grown)
        return 0;
    *array = grown;
    *room = want;
    return 1;
}

/* librdkafka takes no event back, so a drain without memory waits until there is some. */
static void wait_for_memory(void) {
    struct timespec pause = {0, 10000000L};
    nanosleep(&pause, NULL);
}

static void reserve_reports(kp_deliveries *d, size_t count) {
    while (!grow((void **)&d->reports, d->report_count, &d->report_room, count, sizeof(*d->reports)))
        wait_for_memory();
}

static void report_batch(kp_deliveries *d, kp_batch *batch) {
    kp_report *report = &d->reports[d->report_count++];
    report->delivery = NULL;
    report->batch = batch;
}

/* `count` items of a batch are reported. */
static void count_items(kp_deliveries *d, kp_batch *batch, int64_t count) {
    if (!count)
        return;
    kp_reported(batch->epoch, count);
    if (__atomic_sub_fetch(&batch->remaining, count, __ATOMIC_SEQ_CST) == 0)
        report_batch(d, batch);
}

static int32_t latency_of(const kp_report *report) {
    int64_t latency = rd_kafka_message_latency(report->message);
    return latency > INT32_MAX ? INT32_MAX : (int32_t)latency;
}

/* The latencies of consecutive records of one event. librdkafka reads the clock for each latency that it is asked for,
 * which is a tenth of what a record costs altogether. The records were sent in this order and acknowledged at once, so
 * a record between two others has a latency between theirs: where these are close, it is interpolated. */
static void read_run(kp_report *reports, size_t count) {
    size_t i = 0, k;
    reports[0].latency = latency_of(&reports[0]);
    while (i + 1 < count) {
        size_t next = i + LATENCY_STRIDE < count ? i + LATENCY_STRIDE : count - 1;
        int32_t from = reports[i].latency, to = latency_of(&reports[next]);
        int near = to >= 0 && from >= to && from - to <= LATENCY_TOLERANCE_US;
        for (k = i + 1; k < next; k++)
            reports[k].latency =
                near ? from - (from - to) * (int32_t)(k - i) / (int32_t)(next - i) : latency_of(&reports[k]);
        reports[next].latency = to;
        i = next;
    }
}

/* The same for all reports from `first` on; those of batches among them have no latency. */
static void read_latencies(kp_deliveries *d, size_t first) {
    while (first < d->report_count) {
        size_t end = first;
        while (end < d->report_count && d->reports[end].delivery)
            end++;
        if (end > first)
            read_run(&d->reports[first], end - first);
        first = end + 1;
    }
}

/* An offset that the broker assigned, or RD_KAFKA_OFFSET_INVALID. librdkafka (all releases up to 2.15.1) counts up from
 * the first record's offset in the response, even from what is no offset: -1 of a refusal or a duplicate, -1001 without
 * a response. `unknown` says that this is so for the event, which has the records of one request, in order. */
static inline int64_t offset_of(const rd_kafka_message_t *message, int unknown) {
    return message->err | unknown ? RD_KAFKA_OFFSET_INVALID : message->offset;
}

/* Read the delivery reports of one event. Plain records are only counted, and cost nothing more.
 *
 * Long because it is one loop over three kinds of messages, in which each kind counts a run of its own. */
static int64_t read_event(kp_deliveries *d, rd_kafka_event_t *event) {
    size_t count = rd_kafka_event_message_count(event);
    int64_t items = 0, plain = 0;
    const rd_kafka_message_t *message;
    kp_batch *batch = NULL;
    kp_epoch *epoch = NULL; /* of the plain ones */
    rd_kafka_topic_t *rkt = NULL;
    void *topic = NULL;
    size_t first = d->report_count;
    int needs_latency = 0, unknown;
    reserve_reports(d, count); /* each message completes one batch at most, so it makes one report at most */
    message = rd_kafka_event_message_next(event);
    unknown = message && message->offset < 0;
    for (; message; message = rd_kafka_event_message_next(event)) {
        kp_report *report;
        rd_kafka_timestamp_type_t type;
        if (KP_IS_PLAIN(message->_private)) {
            if (KP_PLAIN_EPOCH(message->_private) != epoch) {
                if (plain)
                    kp_reported(epoch, plain);
                epoch = KP_PLAIN_EPOCH(message->_private);
                plain = 0;
            }
            plain++;
            continue;
        }
        if (KP_IS_ITEM(message->_private)) {
            uint32_t index = KP_ITEM_INDEX(message->_private);
            kp_batch *of = *kp_slot_at(d, KP_ITEM_SLOT(message->_private));
            if (of != batch) {
                count_items(d, batch, items);
                batch = of;
                items = 0;
            }
            /* Atomic: Batch.failures() may read it meanwhile. */
            __atomic_store_n(&batch->errors[index], message->err, __ATOMIC_RELAXED);
            batch->partitions[index] = message->partition;
            batch->offsets[index] = offset_of(message, unknown);
            items++;
            continue;
        }
        report = &d->reports[d->report_count++];
        report->delivery = message->_private;
        report->message = message;
        report->err = message->err;
        /* The pool hands states out in no order: fetch this one's cache line while the report is read. */
        __builtin_prefetch(report->delivery);
        if (!report->delivery->target)
            continue;
        if (message->rkt != rkt) {
            rkt = message->rkt;
            topic = rkt ? rd_kafka_topic_opaque(rkt) : NULL;
        }
        report->topic = topic;
        report->partition = message->partition;
        report->offset = offset_of(message, unknown);
        report->key_size = (uint32_t)message->key_len;
        report->value_size = (uint32_t)message->len;
        report->timestamp = rd_kafka_message_timestamp(message, &type);
        report->timestamp_type = (int8_t)type;
        report->status = (int8_t)rd_kafka_message_status(message);
        needs_latency = 1;
    }
    if (needs_latency)
        read_latencies(d, first);
    count_items(d, batch, items);
    if (plain)
        kp_reported(epoch, plain);
    return (int64_t)count;
}

static void read_finished(kp_deliveries *d) {
    kp_batch *batch;
    pthread_mutex_lock(&d->lock);
    batch = d->finished;
    __atomic_store_n(&d->finished, NULL, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&d->lock);
    for (; batch; batch = batch->next) {
        reserve_reports(d, 1);
        report_batch(d, batch);
    }
}

/* The next event of a round; kept events come first. Any poll of the queue may consume the wake-up of kp_finish(), also
 * one that does not wait, and one of the keeper thread. So finished batches are looked for before and after each poll,
 * and before its event is read: a batch completes before records that were sent after it. */
static rd_kafka_event_t *next_event(kp_deliveries *d, int timeout_ms) {
    rd_kafka_event_t *event = NULL;
    if (KP_READ(d->kept) && !d->has_event_thread)
        event = kp_kept_next(d);
    if (!event)
        event = rd_kafka_queue_poll(d->queue, KP_READ(d->finished) ? 0 : timeout_ms);
    if (KP_READ(d->finished))
        read_finished(d);
    return event;
}

/* Wait up to timeout_ms for the first event, then take what the queue has, until max_reports records are read. Taking
 * all of it matters: while a Python thread is busy, acquiring the GIL costs its switch interval, 5 ms, so one
 * acquisition must complete all that has come meanwhile. Returns how many records are reported. The caller must own the
 * round. */
static int64_t drain_queue(kp_deliveries *d, int timeout_ms, size_t max_reports) {
    int64_t read = 0;
    size_t kept = 0;
    rd_kafka_event_t *event = next_event(d, timeout_ms);
    while (event) {
        rd_kafka_event_t ***list;
        size_t *count, *room;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            size_t before = d->report_count;
            read += read_event(d, event);
            if (d->report_count == before) {
                /* No report refers to its messages: destroying it makes room in librdkafka's queue now. */
                rd_kafka_event_destroy(event);
                if (read >= (int64_t)max_reports)
                    break;
                event = next_event(d, 0);
                continue;
            }
            list = &d->events, count = &d->event_count, room = &d->event_room;
        } else if (d->has_event_thread) {
            /* Not dispatched within a round: a log handler may want a lock that a thread holds while it sends. */
            kp_keep(d, event);
            if (++kept >= max_reports)
                break;
            event = next_event(d, 0);
            continue;
        } else {
            list = &d->other_events, count = &d->other_event_count, room = &d->other_event_room;
        }
        while (!grow((void **)list, *count, room, 1, sizeof(**list)))
            wait_for_memory();
        (*list)[(*count)++] = event;
        if (d->report_count >= max_reports || d->event_count + d->other_event_count >= max_reports)
            break;
        event = next_event(d, 0);
    }
    return read;
}

/* Release the round's messages, which makes room in librdkafka's queue, and let another thread own the next round. */
void kp_round_end(kp_deliveries *d) {
    size_t i;
    for (i = 0; i < d->event_count; i++)
        rd_kafka_event_destroy(d->events[i]);
    for (i = 0; i < d->other_event_count; i++)
        rd_kafka_event_destroy(d->other_events[i]);
    d->event_count = d->other_event_count = d->report_count = 0;
    pthread_mutex_lock(&d->lock);
    d->round_open = 0;
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->round_ended);
    pthread_mutex_unlock(&d->lock);
}

/* After a fatal error librdkafka sends nothing any more, but may leave queued records to their message.timeout.ms. They
 * are purged, and so reported, at once. Records in flight may still be acknowledged, or come back to the queue. */
static void purge_after_fatal_error(kp_deliveries *d) {
    if (rd_kafka_fatal_error(d->rk, NULL, 0) && kp_outstanding(d))
        rd_kafka_purge(d->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Drain one round. Returns 1 when Python has something to complete: the caller must do so, and end the round. Returns 0
 * when there is nothing, also when another thread owns the round. `seen`: kp_rounds() as the caller read it before it
 * found that what it waits for is missing. Adds the number of reported records to *reported. */
int kp_drain_round(kp_deliveries *d, int64_t seen, int timeout_ms, size_t max_reports, int64_t *reported) {
    if (!kp_round_begin(d, seen, timeout_ms))
        return 0;
    purge_after_fatal_error(d);
    *reported += drain_queue(d, timeout_ms, max_reports);
    if (d->report_count || d->other_event_count)
        return 1;
    kp_round_end(d);
    return 0;
}

/* The dispatcher thread's wait: drains rounds until one has something to complete (1), or kp_stop() (0). */
int kp_drain_rounds(kp_deliveries *d, size_t max_reports) {
    int64_t reported = 0;
    while (!KP_READ(d->stopping))
        if (kp_drain_round(d, kp_rounds(d), 1000, max_reports, &reported))
            return 1;
    return 0;
}

void kp_stop(kp_deliveries *d) {
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
