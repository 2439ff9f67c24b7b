/* The hand-over of one record to librdkafka. Knows librdkafka's C API and nothing of Python. */
#ifndef KAFKAPP_PRODUCE_H
#define KAFKAPP_PRODUCE_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const void *value; /* NULL: null */
    size_t size;
    const void *key; /* NULL: null; librdkafka always copies it */
    size_t key_size;
    rd_kafka_headers_t *headers; /* NULL: none; librdkafka's once the record is accepted, the caller's before */
    int64_t timestamp;           /* milliseconds since the epoch, 0: now */
    int32_t partition;           /* RD_KAFKA_PARTITION_UA: the partitioner chooses */
    int flags;                   /* RD_KAFKA_MSG_F_COPY or 0; never F_FREE (the memory is Python's), never F_BLOCK */
} kp_record;

/* Returns RD_KAFKA_RESP_ERR_NO_ERROR when librdkafka has accepted the record: from then on `opaque` and, without
 * F_COPY, the value's memory are its own until the report. Otherwise nothing has changed hands. */
rd_kafka_resp_err_t kp_produce(rd_kafka_t *rk, rd_kafka_topic_t *rkt, const kp_record *record, void *opaque);

/* How many bytes the names and values of headers are; 0 for NULL. */
int64_t kp_headers_size(const rd_kafka_headers_t *headers);

#endif
