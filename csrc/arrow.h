/* Arrow's arrays: the C data interface, and a column of what one of them holds. Every field is looked at before use. */
#ifndef KAFKAPP_ARROW_H
#define KAFKAPP_ARROW_H

#include "batch.h"

/* An ABI, whose structs every user declares for itself. */
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
    void (*release)(struct ArrowArray *); /* NULL: moved, or released */
    void *private_data;
};

/* Set what kind of column an array of this schema is. Returns 0 for a type that is none of bytes or text. */
int kp_arrow_kind(kp_column *column, const struct ArrowSchema *schema);

/* Set the rest of the column. Returns NULL, or what is wrong with the array. */
const char *kp_arrow_column(kp_column *column, const struct ArrowArray *array);

#endif
