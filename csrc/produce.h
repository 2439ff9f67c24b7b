/* Enqueues one record in librdkafka. Knows librdkafka's C API, no Python. */
#ifndef KAFKAPP_PRODUCE_H
#define KAFKAPP_PRODUCE_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

/* The GIL is released for a record of which librdkafka copies at least so many bytes. Enqueueing a smaller one takes
 * less time than passing the GIL on: the locks of librdkafka that it takes are held only briefly, and never by a thread
 * that wants the GIL. */
#define KP_RELEASE_GIL_BYTES ((size_t)16384)

typedef struct {
    const void *value; /* NULL: null */
    size_t size;
    const void *key; /* NULL: null; librdkafka always copies it */
    size_t key_size;
    rd_kafka_headers_t *headers; /* NULL: none; the caller's until the record is accepted, then librdkafka's */
    int64_t timestamp;           /* milliseconds since the epoch, 0: now */
    int32_t partition;           /* RD_KAFKA_PARTITION_UA: the partitioner chooses */
    int flags;                   /* RD_KAFKA_MSG_F_COPY or 0; never F_FREE (the memory is Python's), never F_BLOCK */
} kp_record;

/* Returns RD_KAFKA_RESP_ERR_NO_ERROR when librdkafka has accepted the record: it then owns `opaque` and, without
 * F_COPY, the value's memory until the delivery report. Otherwise the caller still owns everything. */
rd_kafka_resp_err_t kp_produce(rd_kafka_t *rk, rd_kafka_topic_t *rkt, const kp_record *record, void *opaque);

/* The sum of the sizes of the headers' names and values, in bytes; 0 for NULL. */
int64_t kp_headers_size(const rd_kafka_headers_t *headers);

#endif
