/* Arrow arrays: the C data interface, and the column of an array. Every field is checked before use. */
#ifndef KAFKAPP_ARROW_H
#define KAFKAPP_ARROW_H

#include "batch.h"

/* The interface is an ABI: every user declares its structs. */
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *); /* NULL: moved or released */
    void *private_data;
};

/* Set the kind of column for arrays of this schema. Returns 0 for a type other than bytes, text or null. */
int kp_arrow_kind(kp_column *column, const struct ArrowSchema *schema);

/* Set the rest of the column. Returns NULL, or the text of what is wrong with the array. */
const char *kp_arrow_column(kp_column *column, const struct ArrowArray *array);

#endif
