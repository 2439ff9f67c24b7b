/* Timestamps of many records: converted to milliseconds. */
#ifndef KAFKAPP_TIMESTAMPS_H
#define KAFKAPP_TIMESTAMPS_H

#include "batch.h"

/* Convert a column of int64, of which `per_second` are a second, to milliseconds, rounded down. A null becomes 0, that
 * is now; so does the least int64 if `not_a_time`. Returns the index of one that has no milliseconds from 1 to
 * INT64_MAX, or -1. May be called without the GIL. */
int64_t kp_to_ms(const kp_column *numbers, int64_t count, int64_t per_second, int not_a_time, int64_t *ms);

#endif
