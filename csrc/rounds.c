/* See delivery.h: rounds of delivery reports, drained from librdkafka's queue without the GIL. */
#include "delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATENCY_STRIDE 16
#define LATENCY_PLAY 200 /* microseconds: how exact a latency is */

/* Room for one more element of a growing array; 0 when there is no memory. */
static int make_room(void **array, size_t count, size_t *room, size_t extra, size_t size) {
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

static void reports_room(kp_deliveries *d, size_t count) {
    while (!make_room((void **)&d->reports, d->report_count, &d->report_room, count, sizeof(*d->reports))) {
        /* No memory, and a report cannot be given back: wait for some. */
        struct timespec pause = {0, 10000000L};
        nanosleep(&pause, NULL);
    }
}

static void end_batch(kp_deliveries *d, kp_batch *batch) {
    kp_report *report = &d->reports[d->report_count++];
    report->delivery = NULL;
    report->batch = batch;
}

static void count_done(kp_epoch *epoch, int64_t count) {
    __atomic_store_n(&epoch->done, epoch->done + count, __ATOMIC_SEQ_CST);
}

/* `count` items of a batch have been read. */
static void count_items(kp_deliveries *d, kp_batch *batch, int64_t count) {
    if (!count)
        return;
    count_done(batch->epoch, count);
    if (__atomic_sub_fetch(&batch->remaining, count, __ATOMIC_SEQ_CST) == 0)
        end_batch(d, batch);
}

static int32_t latency_of(const kp_report *report) {
    int64_t latency = rd_kafka_message_latency(report->message);
    return latency > INT32_MAX ? INT32_MAX : (int32_t)latency;
}

/* The latencies of a run of one event's records. librdkafka reads the clock for each that it is asked for, which is a
 * tenth of what a record costs altogether. Its records were sent in this order and acknowledged at once, so what lies
 * between two of them has a latency between theirs: where these are close, it is told by its place. */
static void read_run(kp_report *reports, size_t count) {
    size_t i = 0, k;
    reports[0].latency = latency_of(&reports[0]);
    while (i + 1 < count) {
        size_t next = i + LATENCY_STRIDE < count ? i + LATENCY_STRIDE : count - 1;
        int32_t from = reports[i].latency, to = latency_of(&reports[next]);
        int near = to >= 0 && from >= to && from - to <= LATENCY_PLAY;
        for (k = i + 1; k < next; k++)
            reports[k].latency =
                near ? from - (from - to) * (int32_t)(k - i) / (int32_t)(next - i) : latency_of(&reports[k]);
        reports[next].latency = to;
        i = next;
    }
}

/* The same for all reports from `first` on; the ends of batches among them have none. */
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

/* An offset as the broker gave it, or RD_KAFKA_OFFSET_INVALID. librdkafka (all releases up to 2.15.1) counts on from what
 * stands in the answer for the request's first record, also where that is no offset: -1 of a refusal or of a duplicate,
 * -1001 where there is no answer. `unknown`: so it is for this event, which has the records of one request, in order. */
static inline int64_t offset_of(const rd_kafka_message_t *message, int unknown) {
    return message->err | unknown ? RD_KAFKA_OFFSET_INVALID : message->offset;
}

/* Read the reports of one event. Records that leave nothing to settle are counted here and cost nothing more. */
static int64_t read_event(kp_deliveries *d, rd_kafka_event_t *event) {
    size_t count = rd_kafka_event_message_count(event);
    int64_t items = 0, plain = 0;
    const rd_kafka_message_t *message;
    kp_batch *batch = NULL;
    kp_epoch *epoch = NULL; /* of the plain ones */
    rd_kafka_topic_t *rkt = NULL;
    void *topic = NULL;
    size_t first = d->report_count;
    int told = 0, unknown;
    reports_room(d, count); /* each message ends one batch at most: the one that it is an item of */
    message = rd_kafka_event_message_next(event);
    unknown = message && message->offset < 0;
    for (; message; message = rd_kafka_event_message_next(event)) {
        kp_report *report;
        rd_kafka_timestamp_type_t type;
        if (KP_IS_PLAIN(message->_private)) {
            if (KP_PLAIN_EPOCH(message->_private) != epoch) {
                if (plain)
                    count_done(epoch, plain);
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
            /* Atomic: Batch.failures() may look meanwhile. */
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
        /* The next state's line is fetched while this report is read: the pool hands them out in no order. */
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
        told = 1;
    }
    if (told)
        read_latencies(d, first);
    count_items(d, batch, items);
    if (plain)
        count_done(epoch, plain);
    return (int64_t)count;
}

static void read_finished(kp_deliveries *d) {
    kp_batch *batch;
    pthread_mutex_lock(&d->lock);
    batch = d->finished;
    __atomic_store_n(&d->finished, NULL, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&d->lock);
    for (; batch; batch = batch->next) {
        reports_room(d, 1);
        end_batch(d, batch);
    }
}

/* The next event of a round: first what was kept for the calls that serve. Each poll takes the wake-up of a kp_finish for
 * itself, also one that does not wait, and one of the thread that keeps: what was finished is looked for before and after
 * each of them, and before its event is read, so that a batch ends before what was sent after it. */
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

/* Wait up to timeout_ms for the first event, then take what is there, until `most` records are read. Taking all of it
 * matters: while a Python thread is busy each hand-over of the GIL costs its switch interval, 5 ms, so what has come
 * meanwhile must be settled under the next one. Returns how many records are reported. The caller serves. */
static int64_t round_drain(kp_deliveries *d, int timeout_ms, size_t most) {
    int64_t read = 0;
    size_t told = 0;
    rd_kafka_event_t *event = next_event(d, timeout_ms);
    while (event) {
        rd_kafka_event_t ***list;
        size_t *count, *room;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            size_t before = d->report_count;
            read += read_event(d, event);
            if (d->report_count == before) {
                /* Nothing that points into its messages: they make room in the queue now. */
                rd_kafka_event_destroy(event);
                if (read >= (int64_t)most)
                    break;
                event = next_event(d, 0);
                continue;
            }
            list = &d->events, count = &d->event_count, room = &d->event_room;
        } else if (d->has_event_thread) {
            /* Not under the round: a log handler may hold a lock that another thread has while it sends. */
            kp_keep(d, event);
            if (++told >= most)
                break;
            event = next_event(d, 0);
            continue;
        } else {
            list = &d->other_events, count = &d->other_event_count, room = &d->other_event_room;
        }
        while (!make_room((void **)list, *count, room, 1, sizeof(**list))) {
            struct timespec pause = {0, 10000000L};
            nanosleep(&pause, NULL);
        }
        (*list)[(*count)++] = event;
        if (d->report_count >= most || d->event_count + d->other_event_count >= most)
            break;
        event = next_event(d, 0);
    }
    return read;
}

/* Give the round's messages back to librdkafka, which makes room in its queue, and let another thread serve. */
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

/* After a fatal error librdkafka sends nothing any more, yet may leave what is queued to its message.timeout.ms. It is
 * told of at once; what is in flight may be acknowledged yet, or comes back to the queue. */
static void give_up_if_fatal(kp_deliveries *d) {
    if (rd_kafka_fatal_error(d->rk, NULL, 0) && kp_outstanding(d))
        rd_kafka_purge(d->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Serve one round. Returns 1 when Python has to settle it: the caller then ends it; 0 when that was all, also when
 * another thread serves. `seen`: kp_rounds before what is waited for was found missing. Adds the number of records
 * reported to *reported. */
int kp_drain_round(kp_deliveries *d, int64_t seen, int timeout_ms, size_t most, int64_t *reported) {
    if (!kp_round_begin(d, seen, timeout_ms))
        return 0;
    give_up_if_fatal(d);
    *reported += round_drain(d, timeout_ms, most);
    if (d->report_count || d->other_event_count)
        return 1;
    kp_round_end(d);
    return 0;
}

/* The background thread: the same, again and again until there is something to settle, or kp_stop. */
int kp_drain_rounds(kp_deliveries *d, size_t most) {
    int64_t reported = 0;
    while (!KP_READ(d->stopping))
        if (kp_drain_round(d, kp_rounds(d), 1000, most, &reported))
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

/* Name this thread, for ps and top, after the client: rd_kafka_name() is the client.id, "#" and more. Needs no memory. */
void kp_name_thread(const char *client) {
    char text[16]; /* as long as a name may be */
    const char *end = strrchr(client, '#');
    snprintf(text, sizeof(text), "kafkapp %.*s", end ? (int)(end - client) : 7, client);
#ifdef __APPLE__
    pthread_setname_np(text);
#else
    pthread_setname_np(pthread_self(), text);
#endif
}
