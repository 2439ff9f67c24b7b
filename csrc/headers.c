/* Headers of the records of a batch. See headers.h. */
#include "headers.h"

#include "utf8.h"

#include <string.h>

#define MAX_BYTES 1000000000 /* of a record's: the upper limit of message.max.bytes; librdkafka aborts without memory */

/* What is wrong with the name of a header; NULL: nothing. */
static const char *bad_name(const void *name, size_t size) {
    if (size && memchr(name, 0, size))
        return "a name contains a NUL character";
    return kp_utf8_prefix(name, size) == size ? NULL : "a name is not UTF-8";
}

/* Check the headers of the i-th record, and add them unless `headers` is NULL. Returns what is wrong with them. */
static const char *add_row(const kp_headers *h, int64_t i, rd_kafka_headers_t *headers) {
    size_t total = 0;
    int64_t j;
    for (j = h->ranges[i].start; j < h->ranges[i].end; j++) {
        const void *name, *value;
        size_t name_size, size;
        const char *problem;
        if (!kp_column_item(&h->names, j, &name, &name_size) || !kp_column_item(&h->values, j, &value, &size))
            return "their memory was changed meanwhile";
        if (!name)
            return "a name is null";
        if ((problem = bad_name(name, name_size)))
            return problem;
        if (name_size > MAX_BYTES - total || size > MAX_BYTES - total - name_size)
            return "they have more than 1000000000 bytes";
        total += name_size + size;
        if (headers)
            rd_kafka_header_add(headers, name, (ssize_t)name_size, value, (ssize_t)size);
    }
    return NULL;
}

const char *kp_headers_check(const kp_headers *h, int64_t count, int64_t *bad) {
    const char *problem = NULL;
    for (*bad = 0; *bad < count; ++*bad)
        if ((problem = add_row(h, *bad, NULL)))
            break;
    return problem;
}

int kp_headers_take(const kp_headers *h, int64_t i, rd_kafka_headers_t **headers) {
    *headers = NULL;
    if (h->all) {
        *headers = rd_kafka_headers_copy(h->all);
    } else if (h->rows) {
        *headers = h->rows[i];
        h->rows[i] = NULL;
    } else if (h->ranges[i].end > h->ranges[i].start) {
        *headers = rd_kafka_headers_new((size_t)(h->ranges[i].end - h->ranges[i].start));
        if (add_row(h, i, *headers)) {
            rd_kafka_headers_destroy(*headers);
            *headers = NULL;
            return 0;
        }
    }
    return 1;
}

void kp_headers_return(const kp_headers *h, int64_t i, rd_kafka_headers_t *headers) {
    if (h->rows)
        h->rows[i] = headers;
    else if (headers)
        rd_kafka_headers_destroy(headers);
}
