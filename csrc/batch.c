/* Batches: enqueues many records in one call, and reads their outcomes. See batch.h. */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "headers.h"
#include "produce.h"

#define MAX_RECORDS_PER_CALL 512 /* of rd_kafka_produce_batch(): few enough for the stack and the first-level cache */

/* A view: a length, then either up to 12 bytes, or a prefix of 4 bytes, the index of a buffer and an offset in it. */
static int view_item(const kp_column *c, int64_t i, const void **data, size_t *size) {
    const char *place = (const char *)c->offsets + 16 * i;
    int32_t view[4];
    memcpy(view, place, sizeof(view)); /* need not be aligned */
    if (view[0] < 0)
        return 0;
    *size = (size_t)view[0];
    if (view[0] <= 12) {
        *data = place + 4;
        return 1;
    }
    if (view[2] < 0 || view[2] >= c->buffer_count || view[3] < 0 ||
        (int64_t)view[3] + view[0] > c->buffer_sizes[view[2]])
        return 0;
    *data = (const char *)c->buffers[view[2]] + view[3];
    return 1;
}

int64_t kp_column_check(const kp_column *c, int64_t count) {
    int64_t i, last = 0;
    if (c->kind == KP_VIEWS) {
        const void *data;
        size_t size;
        for (i = 0; i < count; i++)
            if (!kp_is_null(c, i) && !view_item(c, i, &data, &size))
                return i;
        return -1;
    }
    if (c->kind != KP_OFFSETS32 && c->kind != KP_OFFSETS64)
        return -1;
    for (i = 0; i <= count; i++) {
        int64_t offset = kp_offset_at(c->offsets, c->kind, i);
        if (offset < last || offset > c->size)
            return i;
        last = offset;
    }
    return -1;
}

/* Find the i-th item. Returns 0 when it is out of bounds: the offsets were changed after they were checked. `kind` is
 * the column's; a constant makes a loop faster. */
static inline __attribute__((always_inline)) int item_at(const kp_column *c, kp_column_kind kind, int64_t i,
                                                     const void **data, size_t *size) {
    int64_t start, end;
    switch (kind) {
    case KP_SPANS:
        *data = c->spans[i].data;
        *size = (size_t)c->spans[i].size;
        return 1;
    case KP_OFFSETS32:
    case KP_OFFSETS64:
        start = kp_offset_at(c->offsets, kind, i);
        end = kp_offset_at(c->offsets, kind, i + 1);
        break;
    case KP_VIEWS:
        return view_item(c, i, data, size);
    case KP_FIXED:
        start = i * c->width;
        end = start + c->width;
        break;
    case KP_ONE:
        start = 0;
        end = c->size;
        break;
    default:
        *data = NULL;
        *size = 0;
        return 1;
    }
    if (start < 0 || end < start || end > c->size)
        return 0;
    *data = c->data ? c->data + start : ""; /* an empty item is not null, also where there is no memory */
    *size = (size_t)(end - start);
    return 1;
}

int kp_column_item(const kp_column *c, int64_t i, const void **data, size_t *size) {
    return item_at(c, kp_is_null(c, i) ? KP_NULLS : c->kind, i, data, size);
}

/* Fill in up to n values from the i-th on. Returns their number: fewer where the next one is out of bounds. */
static int fill_values(rd_kafka_message_t *m, int n, const kp_column *c, int64_t i) {
    int k;
#define FILL(GET)                                                                                                      \
    for (k = 0; k < n; k++) {                                                                                          \
        const void *data;                                                                                              \
        if (!(GET))                                                                                                    \
            break;                                                                                                     \
        m[k].payload = (void *)data;                                                                                   \
    }
    if (!c->valid && c->kind == KP_SPANS)
        FILL(item_at(c, KP_SPANS, i + k, &data, &m[k].len))
    else if (!c->valid && c->kind == KP_OFFSETS32)
        FILL(item_at(c, KP_OFFSETS32, i + k, &data, &m[k].len))
    else if (!c->valid && c->kind == KP_OFFSETS64)
        FILL(item_at(c, KP_OFFSETS64, i + k, &data, &m[k].len))
    else
        FILL(kp_column_item(c, i + k, &data, &m[k].len))
#undef FILL
    return k;
}

static int fill_keys(rd_kafka_message_t *m, int n, const kp_column *c, int64_t i) {
    int k;
    for (k = 0; k < n; k++) {
        const void *data = NULL;
        if (c->kind == KP_NULLS)
            m[k].key_len = 0;
        else if (!kp_column_item(c, i + k, &data, &m[k].key_len))
            break;
        m[k].key = (void *)data;
    }
    return k;
}

kp_batch *kp_batch_new(int64_t count) {
    kp_batch *batch = calloc(1, sizeof(*batch));
    int64_t i;
    if (!batch)
        return NULL;
    batch->offsets = malloc((size_t)(count ? count : 1) * (sizeof(*batch->offsets) + 2 * sizeof(int32_t)));
    if (!batch->offsets) {
        free(batch);
        return NULL;
    }
    batch->errors = (int32_t *)(batch->offsets + count);
    batch->partitions = batch->errors + count;
    for (i = 0; i < count; i++) {
        batch->offsets[i] = RD_KAFKA_OFFSET_INVALID;
        batch->errors[i] = RD_KAFKA_RESP_ERR__IN_PROGRESS;
        batch->partitions[i] = RD_KAFKA_PARTITION_UA;
    }
    batch->count = count;
    batch->remaining = count + 1; /* one for the sender, see kp_batch_sent() */
    return batch;
}

void kp_batch_free(kp_batch *batch) {
    if (!batch)
        return;
    free(batch->offsets);
    free(batch->too_large);
    free(batch);
}

int kp_batch_sent(kp_batch *batch, int64_t refused) {
    return __atomic_sub_fetch(&batch->remaining, refused + 1, __ATOMIC_SEQ_CST) == 0;
}

/* An error of librdkafka's, but a value larger than the whole queue is too large: waiting for room would never end. */
static rd_kafka_resp_err_t final_error(const kp_deliveries *d, rd_kafka_resp_err_t err, size_t value_size) {
    return err == RD_KAFKA_RESP_ERR__QUEUE_FULL && value_size > d->max_value ? RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                                                                             : err;
}

static void refuse(kp_batch *batch, int64_t i, rd_kafka_resp_err_t err, size_t key_size, size_t value_size,
                   int64_t headers_size) {
    batch->errors[i] = err;
    if (err != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return;
    if (batch->too_large_count == batch->too_large_room) {
        int64_t room = batch->too_large_room ? 2 * batch->too_large_room : 8;
        kp_too_large *grown = realloc(batch->too_large, (size_t)room * sizeof(*grown));
        if (!grown)
            return; /* refused without its sizes */
        batch->too_large = grown;
        batch->too_large_room = room;
    }
    batch->too_large[batch->too_large_count++] = (kp_too_large){i, (int64_t)key_size, (int64_t)value_size,
                                                                     headers_size};
}

/* Enqueue one record that has a timestamp or headers, which rd_kafka_produce_batch() does not take. Returns 0 when the
 * queue is full. */
static int send_one(rd_kafka_t *rk, rd_kafka_topic_t *rkt, kp_deliveries *d, kp_batch *batch, const kp_records *r,
                    int64_t i, int64_t *accepted) {
    kp_record record = {0};
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__INVALID_ARG;
    int64_t headers_size = 0;
    if (kp_column_item(&r->values, i, &record.value, &record.size) &&
        kp_column_item(&r->keys, i, &record.key, &record.key_size) &&
        (!r->headers || kp_headers_take(r->headers, i, &record.headers))) {
        record.partition = r->partitions ? kp_int32_at(r->partitions, i) : r->partition;
        record.timestamp = r->timestamps ? kp_int64_at(r->timestamps, i) : r->timestamp;
        record.flags = r->flags;
        /* Counted first: the report may come before the call returns. */
        kp_items_begin(batch, 1);
        err = final_error(d, kp_produce(rk, rkt, &record, KP_ITEM(batch->slot, i)), record.size);
        if (!err) {
            ++*accepted;
            return 1;
        }
        kp_items_abandon(batch, 1);
        if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            headers_size = kp_headers_size(record.headers);
        if (r->headers)
            kp_headers_return(r->headers, i, record.headers);
    }
    if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return 0;
    refuse(batch, i, err, record.key_size, record.size, headers_size);
    return 1;
}

/* Fill in the messages of a run of one partition from the i-th record on: given one in each message, librdkafka 2.15
 * leaks messages of unknown partitions. Returns their number; 0 when the i-th record is out of bounds. */
static int fill_run(rd_kafka_message_t *messages, const kp_batch *batch, const kp_records *r, int64_t i) {
    int n = batch->count - i < MAX_RECORDS_PER_CALL ? (int)(batch->count - i) : MAX_RECORDS_PER_CALL, k;
    for (k = 1; r->partitions && k < n; k++)
        if (kp_int32_at(r->partitions, i + k) != kp_int32_at(r->partitions, i))
            n = k;
    n = fill_keys(messages, fill_values(messages, n, &r->values, i), &r->keys, i);
    for (k = 0; k < n; k++) {
        messages[k]._private = KP_ITEM(batch->slot, i + k);
        messages[k].err = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    return n;
}

/* Refuse what librdkafka has refused for good of a run. It stops at the first message that finds no room, and does not
 * try those behind it. Returns how many of the run are accepted or refused; *full: the next one may not be tried now. */
static int refuse_of_run(kp_deliveries *d, kp_batch *batch, const rd_kafka_message_t *messages, int n, int64_t i,
                         int *full) {
    int k, skipped = 0;
    for (k = 0; k < n; k++) {
        rd_kafka_resp_err_t err = final_error(d, messages[k].err, messages[k].len);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            break;
        skipped |= err != messages[k].err;
        if (err)
            refuse(batch, i + k, err, messages[k].key_len, messages[k].len, 0);
    }
    *full = k < n && !skipped;
    return k;
}

/* Enqueue the records from the i-th on in one call. Returns how many are accepted or refused. */
static int send_run(rd_kafka_topic_t *rkt, kp_deliveries *d, kp_batch *batch, const kp_records *r, int64_t i,
                    int64_t *accepted, int *full) {
    rd_kafka_message_t messages[MAX_RECORDS_PER_CALL];
    int n = fill_run(messages, batch, r, i), good;
    if (n == 0) {
        refuse(batch, i, RD_KAFKA_RESP_ERR__INVALID_ARG, 0, 0, 0);
        return 1;
    }
    /* Counted first: a report may come before the call returns. */
    kp_items_begin(batch, n);
    good = rd_kafka_produce_batch(rkt, r->partitions ? kp_int32_at(r->partitions, i) : r->partition, r->flags, messages,
                                  n);
    *accepted += good;
    if (good == n)
        return n;
    kp_items_abandon(batch, n - good);
    return refuse_of_run(d, batch, messages, n, i, full);
}

int64_t kp_batch_send(rd_kafka_t *rk, rd_kafka_topic_t *rkt, kp_deliveries *d, kp_batch *batch, const kp_records *r,
                      int64_t from, int64_t *accepted) {
    int one_by_one = r->headers || r->timestamps || r->timestamp, full = 0;
    int64_t i = from;
    while (i < batch->count && !full) {
        if (!one_by_one)
            i += send_run(rkt, d, batch, r, i, accepted, &full);
        else if (send_one(rk, rkt, d, batch, r, i, accepted))
            i++;
        else
            full = 1;
    }
    return i;
}
