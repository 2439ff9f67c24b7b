/* Batches: enqueues many records from columns of memory in one call; their reports fill columns of outcomes.
 *
 * Knows librdkafka and the states of deliveries, not where a column's memory comes from.
 */
#ifndef KAFKAPP_BATCH_H
#define KAFKAPP_BATCH_H

#include <string.h>

#include "delivery.h"

typedef struct {
    const char *data; /* NULL: null */
    int64_t size;
} kp_span;

/* Where the i-th value or key is. */
typedef enum {
    KP_NULLS,     /* all are null */
    KP_ONE,       /* one for all records */
    KP_SPANS,     /* spans[i] */
    KP_OFFSETS32, /* from offsets[i] to offsets[i + 1] of data: Arrow's layout */
    KP_OFFSETS64,
    KP_FIXED, /* width bytes each */
    KP_VIEWS, /* Arrow's views: each holds a short value, or the place of a long one in the buffers */
} kp_column_kind;

typedef struct {
    kp_column_kind kind;
    const char *data;
    int64_t size; /* of data */
    const kp_span *spans;
    const void *offsets; /* or views */
    int64_t width;
    const void **buffers; /* of views */
    const int64_t *buffer_sizes;
    int64_t buffer_count;
    const uint8_t *valid; /* Arrow's validity bitmap, or NULL: no item is null */
    int64_t valid_offset; /* the bit of the first item */
} kp_column;

typedef struct {
    int64_t start, end;
} kp_range;

typedef struct kp_headers kp_headers; /* headers.h */

typedef struct {
    kp_column values;
    kp_column keys;
    const void *partitions; /* int32, or NULL: partition */
    const void *timestamps; /* int64, or NULL: timestamp */
    int64_t timestamp;         /* milliseconds since the epoch, 0: now */
    const kp_headers *headers; /* NULL: none */
    int32_t partition;
    int flags; /* RD_KAFKA_MSG_F_COPY or 0 */
} kp_records;

/* The i-th number of a user's buffer, which need not be aligned. */
static inline int32_t kp_int32_at(const void *numbers, int64_t i) {
    int32_t number;
    memcpy(&number, (const char *)numbers + i * 4, sizeof(number));
    return number;
}

static inline int64_t kp_int64_at(const void *numbers, int64_t i) {
    int64_t number;
    memcpy(&number, (const char *)numbers + i * 8, sizeof(number));
    return number;
}

static inline int64_t kp_offset_at(const void *offsets, kp_column_kind kind, int64_t i) {
    return kind == KP_OFFSETS32 ? kp_int32_at(offsets, i) : kp_int64_at(offsets, i);
}

static inline int kp_is_null(const kp_column *c, int64_t i) {
    return c->valid && !(c->valid[(i + c->valid_offset) >> 3] >> ((i + c->valid_offset) & 7) & 1);
}

/* The index of the first offset (or view) that is out of order or of its buffer's bounds, or -1. */
int64_t kp_column_check(const kp_column *column, int64_t count);

/* Find the i-th item; *data is NULL for a null one. Returns 0 when it is out of bounds. */
int kp_column_item(const kp_column *column, int64_t i, const void **data, size_t *size);

/* May be called without the GIL. The caller must set the epoch. */
kp_batch *kp_batch_new(int64_t count);
void kp_batch_free(kp_batch *batch);

/* Enqueue the records from `from` on, in order. Returns the index of the first that found the queue full, or the
 * batch's count. Adds the number of accepted records to *accepted; a record that can never be sent is refused alone.
 * May be called without the GIL. */
int64_t kp_batch_send(rd_kafka_t *rk, rd_kafka_topic_t *rkt, kp_deliveries *d, kp_batch *batch,
                      const kp_records *records, int64_t from, int64_t *accepted);

/* The sender enqueues no more, and `refused` records will have no report. Returns 1 when that completes the batch. */
int kp_batch_sent(kp_batch *batch, int64_t refused);

#endif
