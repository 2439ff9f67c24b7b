/* Lines: where the records of a text are. Knows memory only. */
#ifndef KAFKAPP_LINES_H
#define KAFKAPP_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "batch.h"

typedef struct {
    const char *data;
    const char *end;
    const char *delimiter; /* ends a record, no part of it; at least one byte */
    size_t delimiter_size;
    const char *key_delimiter; /* ends a key; NULL: there are no keys */
    size_t key_delimiter_size;
    int final;      /* nothing follows: the last record needs no delimiter */
    int null_empty; /* an empty key or value is null */
} kp_text;

/* Find at most `most` records from text->data on, which is moved to what follows them. Returns how many there are.
 * keys may be NULL where the text has none. */
int64_t kp_cut(kp_text *text, kp_span *values, kp_span *keys, int64_t most);

/* How many records there can be at most. */
int64_t kp_count(const kp_text *text, int64_t most);

/* A read of a mapped file beyond its end, which has come nearer meanwhile (SIGBUS), ends the process with the text on
 * standard error and this exit status: whichever thread it is, librdkafka's too, it cannot do without the page. Both are
 * kept; the text must stay where it is. Returns 0, or an errno. */
int kp_end_when_truncated(const char *text, int status);

#endif
