/* Enqueues one record in librdkafka. See produce.h. */
#include "produce.h"

#include <string.h>

/* For a record with headers or a timestamp. Headers go as one rd_kafka_headers_t, since librdkafka before 2.12 crashes
 * on single headers when the partition is unknown; the caller still owns it when the call fails. */
static rd_kafka_resp_err_t produce_va(rd_kafka_t *rk, rd_kafka_topic_t *rkt, const kp_record *r, void *opaque) {
    rd_kafka_vu_t vu[8];
    size_t n = 0;
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t err;

    vu[n].vtype = RD_KAFKA_VTYPE_RKT;
    vu[n++].u.rkt = rkt;
    vu[n].vtype = RD_KAFKA_VTYPE_PARTITION;
    vu[n++].u.i32 = r->partition;
    vu[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    vu[n++].u.i = r->flags;
    vu[n].vtype = RD_KAFKA_VTYPE_VALUE;
    vu[n].u.mem.ptr = (void *)r->value;
    vu[n++].u.mem.size = r->size;
    vu[n].vtype = RD_KAFKA_VTYPE_KEY;
    vu[n].u.mem.ptr = (void *)r->key;
    vu[n++].u.mem.size = r->key_size;
    vu[n].vtype = RD_KAFKA_VTYPE_OPAQUE;
    vu[n++].u.ptr = opaque;
    if (r->timestamp) {
        vu[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        vu[n++].u.i64 = r->timestamp;
    }
    if (r->headers) {
        vu[n].vtype = RD_KAFKA_VTYPE_HEADERS;
        vu[n++].u.headers = r->headers;
    }
    error = rd_kafka_produceva(rk, vu, n);
    if (!error)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    err = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return err;
}

rd_kafka_resp_err_t kp_produce(rd_kafka_t *rk, rd_kafka_topic_t *rkt, const kp_record *r, void *opaque) {
    if (r->headers || r->timestamp)
        return produce_va(rk, rkt, r, opaque);
    if (rd_kafka_produce(rkt, r->partition, r->flags, (void *)r->value, r->size, r->key, r->key_size, opaque) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return rd_kafka_last_error();
}

int64_t kp_headers_size(const rd_kafka_headers_t *headers) {
    const char *name;
    const void *value;
    size_t i, size, total = 0;
    for (i = 0; headers && !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
        total += strlen(name) + size;
    return (int64_t)total;
}
