/* Report drain: reads the delivery reports of a round's events, without the GIL. See delivery.h. */
#include "delivery.h"

#define LATENCY_STRIDE 16        /* records between two whose latency is asked for */
#define LATENCY_TOLERANCE_US 200 /* how far a latency may be from the exact one */

static void reserve_reports(kp_deliveries *d, size_t count) {
    kp_reserve((void **)&d->reports, d->report_count, &d->report_room, count, sizeof(*d->reports));
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

void kp_losses_begin(kp_deliveries *d) {
    KP_SET(d->counts_losses, 1);
}

void kp_losses_end(kp_deliveries *d) {
    KP_SET(d->counts_losses, 0);
    pthread_mutex_lock(&d->lock);
    d->loss_count = 0;
    d->other_losses = 0;
    pthread_mutex_unlock(&d->lock);
}

/* Makes room for one more topic. Returns 0 without memory: nothing waits for memory with the lock. */
static int grow_losses(kp_deliveries *d) {
    size_t room = d->loss_room ? d->loss_room * 2 : 64;
    kp_loss *grown;
    if (d->loss_count < d->loss_room)
        return 1;
    grown = realloc(d->losses, room * sizeof(*grown));
    if (!grown)
        return 0;
    d->losses = grown;
    d->loss_room = room;
    return 1;
}

void kp_loss_add(kp_deliveries *d, void *topic, int64_t count) {
    size_t i = 0;
    if (!count || !KP_READ(d->counts_losses))
        return;
    pthread_mutex_lock(&d->lock);
    while (i < d->loss_count && d->losses[i].topic != topic)
        i++;
    if (!topic || (i == d->loss_count && !grow_losses(d))) {
        d->other_losses += count;
    } else {
        if (i == d->loss_count)
            d->losses[d->loss_count++] = (kp_loss){topic, 0};
        d->losses[i].count += count;
    }
    pthread_mutex_unlock(&d->lock);
}

int kp_loss_at(kp_deliveries *d, size_t i, kp_loss *loss) {
    int found;
    pthread_mutex_lock(&d->lock);
    found = i < d->loss_count || (i == d->loss_count && d->other_losses);
    if (found)
        *loss = i < d->loss_count ? d->losses[i] : (kp_loss){NULL, d->other_losses};
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* Read the delivery reports of one event. Plain records are only counted, and cost nothing more.
 *
 * Long because it is one loop over three kinds of messages, in which each kind counts a run of its own. `losses` is a
 * constant: counting them costs nothing where they are not counted. */
static inline __attribute__((always_inline)) int64_t read_messages(kp_deliveries *d, rd_kafka_event_t *event,
                                                                   int losses) {
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
        if (losses && message->err)
            kp_loss_add(d, message->rkt ? rd_kafka_topic_opaque(message->rkt) : NULL, 1);
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

static int64_t read_reports(void *data, rd_kafka_event_t *event) {
    kp_deliveries *d = data;
    int64_t count = KP_READ(d->counts_losses) ? read_messages(d, event, 1) : read_messages(d, event, 0);
    d->dispatcher->pending = d->report_count;
    return count;
}

/* Report the batches of kp_finish(). A batch completes before records that were sent after it. */
static void collect_finished(void *data) {
    kp_deliveries *d = data;
    kp_batch *batch;
    pthread_mutex_lock(&d->lock);
    batch = d->finished;
    d->finished = NULL;
    pthread_mutex_unlock(&d->lock);
    for (; batch; batch = batch->next) {
        reserve_reports(d, 1);
        report_batch(d, batch);
    }
    d->dispatcher->pending = d->report_count;
}

/* After a fatal error librdkafka sends nothing any more, but may leave queued records to their message.timeout.ms. They
 * are purged, and so reported, at once. Records in flight may still be acknowledged, or come back to the queue. */
static void purge_after_fatal_error(void *data) {
    kp_deliveries *d = data;
    rd_kafka_t *rk = d->dispatcher->rk;
    if (rd_kafka_fatal_error(rk, NULL, 0) && kp_outstanding(d))
        rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

static void forget_reports(void *data) {
    ((kp_deliveries *)data)->report_count = 0;
}

static const kp_service reports_service = {
    .event = RD_KAFKA_EVENT_DR,
    .begin = purge_after_fatal_error,
    .read = read_reports,
    .collect = collect_finished,
    .end = forget_reports,
};

void kp_deliveries_attach(kp_deliveries *d, kp_dispatcher *dispatcher) {
    d->dispatcher = dispatcher;
    dispatcher->service = &reports_service;
    dispatcher->service_data = d;
}
