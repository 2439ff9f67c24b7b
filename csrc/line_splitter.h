/* Line splitter: finds the records of a delimited text, without a copy. Knows memory only. */
#ifndef KAFKAPP_LINES_H
#define KAFKAPP_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "batch.h"

typedef struct {
    const char *data;
    const char *end;
    const char *delimiter; /* ends a record and is no part of it; at least one byte */
    size_t delimiter_size;
    const char *key_delimiter; /* ends a key; NULL: there are no keys */
    size_t key_delimiter_size;
    int final;      /* nothing follows: the last record needs no delimiter */
    int null_empty; /* an empty key or value is null */
} kp_text;

/* Find up to `max_lines` records from text->data on and advance text->data past them. Returns their number. keys may
 * be NULL where the text has none. */
int64_t kp_split_lines(kp_text *text, kp_span *values, kp_span *keys, int64_t max_lines);

/* The number of records, or `max_lines` where there are more. */
int64_t kp_count_lines(const kp_text *text, int64_t max_lines);

/* Handle SIGBUS for reads of a mapped file that has been truncated: the process exits with this status and the text
 * on standard error. It cannot go on, since the reader may be a thread of librdkafka's. The text must stay where it is.
 * Returns 0, or an errno. */
int kp_exit_when_truncated(const char *text, int status);

#endif
