/* Arrow arrays: the column of an array of the C data interface. Every field is checked before use. */
#ifndef KAFKAPP_ARROW_H
#define KAFKAPP_ARROW_H

#include "arrow_structs.h"
#include "batch.h"

/* Set the kind of column for arrays of this schema. Returns 0 for a type other than bytes, text or null. */
int kp_arrow_kind(kp_column *column, const struct ArrowSchema *schema);

/* Set the rest of the column. Returns NULL, or the text of what is wrong with the array. */
const char *kp_arrow_column(kp_column *column, const struct ArrowArray *array);

/* Find the items of a dictionary-encoded array: `format` is that of its indices, `values` its dictionary of `count`
 * items. Returns as kp_arrow_column(). */
const char *kp_arrow_decode(const kp_column *values, int64_t count, const char *format, const struct ArrowArray *array,
                            kp_span *spans);

/* Of an array of lists (`large`: with offsets of 8 bytes) or maps, which are lists of pairs: find where the pairs of each
 * row are in both of their parts, of which only what the rows have is left. The parts are the array's memory; they are
 * empty if there is no pair. Returns as kp_arrow_column(); *bad is set if it is about one row. */
const char *kp_arrow_entries(const struct ArrowArray *array, int large, kp_range *ranges, struct ArrowArray *first,
                             struct ArrowArray *second, int64_t *bad);

/* Find the items of a column. Returns the index of one that is out of bounds, or -1. */
int64_t kp_column_spans(const kp_column *column, int64_t count, kp_span *spans);

#endif
