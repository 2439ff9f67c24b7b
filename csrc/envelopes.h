/* Envelopes: consumed records as lines of JSON. Knows no Python. */
#ifndef KAFKAPP_ENVELOPES_H
#define KAFKAPP_ENVELOPES_H

#include "consumed_columns.h"

/* A growing text. The caller frees `data`. */
typedef struct {
    char *data;
    size_t size, room;
} kp_lines;

/* Append a line with the envelope of a row: where the record stands, its headers if it has some, its key and its value. What
 * is not UTF-8 stands in base64. `values`: of kp_consumed_values(). Returns 0 or ENOMEM. */
int kp_append_envelope(kp_lines *lines, const kp_consumed *block, const kp_bytes_column *values, size_t row);

#endif
