/* Headers of the records of a batch: the same for all, those of each, or Arrow's columns of names and values.
 *
 * librdkafka's headers are copies: a column's memory is needed until the records are enqueued only.
 */
#ifndef KAFKAPP_HEADERS_H
#define KAFKAPP_HEADERS_H

#include "batch.h"

struct kp_headers { /* one of the first three is set */
    rd_kafka_headers_t *all;   /* of all records; copied for each */
    rd_kafka_headers_t **rows; /* of each record, NULL: none; owned until the record has accepted them, then NULL */
    const kp_range *ranges;    /* where those of each record are in `names` and `values` */
    kp_column names;
    kp_column values;
};

/* Take the headers of the i-th record; NULL: none. Returns 0 when the memory of a column was changed meanwhile. */
int kp_headers_take(const kp_headers *h, int64_t i, rd_kafka_headers_t **headers);

/* Take back what the i-th record has not accepted. */
void kp_headers_return(const kp_headers *h, int64_t i, rd_kafka_headers_t *headers);

/* Check the columns of names and values. Returns NULL, or the text of what is wrong with the headers of record *bad. */
const char *kp_headers_check(const kp_headers *h, int64_t count, int64_t *bad);

#endif
