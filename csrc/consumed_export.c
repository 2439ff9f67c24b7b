/* Export of consumed columns by the Arrow C data interface. See consumed_columns.h.
 *
 * Each array of the tree is a node of its own, that holds the block: a reader may move a child out and release the rest.
 * Its buffers are the block's memory. */
#include "arrow_structs.h"
#include "consumed_columns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHILDREN = 8, MAX_BUFFERS = 3 };

static const int64_t nothing_here[1]; /* what a buffer of no bytes points to */

/* What an array points to; its private_data. */
typedef struct {
    kp_consumed *block;
    const void *buffers[MAX_BUFFERS];
    struct ArrowArray *children[MAX_CHILDREN];
} node;

static void release_array(struct ArrowArray *array) {
    node *own = array->private_data;
    int64_t i;
    for (i = 0; i < array->n_children; i++) {
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    if (array->dictionary) {
        if (array->dictionary->release)
            array->dictionary->release(array->dictionary);
        free(array->dictionary);
    }
    kp_consumed_release(own->block);
    free(own);
    array->release = NULL;
}

/* Make an array without children or dictionary. Returns an errno, or 0. */
static int make_array(struct ArrowArray *array, kp_consumed *block, size_t length, int64_t nulls, const void *validity,
                      const void *first, const void *second) {
    node *own = calloc(1, sizeof(*own));
    memset(array, 0, sizeof(*array));
    if (!own)
        return ENOMEM;
    own->block = kp_consumed_share(block);
    own->buffers[0] = nulls ? validity : NULL;
    own->buffers[1] = first ? first : nothing_here;
    own->buffers[2] = second ? second : nothing_here;
    array->length = (int64_t)length;
    array->null_count = nulls;
    array->n_buffers = 2;
    array->buffers = own->buffers;
    array->children = own->children;
    array->private_data = own;
    array->release = release_array;
    return 0;
}

/* The next child of an array, to be made; NULL: no memory. While it is not made, its release is NULL. */
static struct ArrowArray *add_child(struct ArrowArray *array) {
    struct ArrowArray *child = calloc(1, sizeof(*child));
    if (child)
        array->children[array->n_children++] = child;
    return child;
}

static int add_column(struct ArrowArray *array, kp_consumed *block, size_t length, const void *values) {
    struct ArrowArray *child = add_child(array);
    return child ? make_array(child, block, length, 0, NULL, values, NULL) : ENOMEM;
}

static int make_bytes(struct ArrowArray *array, kp_consumed *block, size_t length, const kp_bytes_column *column) {
    int failure = make_array(array, block, length, column->nulls, column->validity, column->offsets, column->data);
    array->n_buffers = failure ? 0 : 3;
    return failure;
}

static int add_bytes(struct ArrowArray *array, kp_consumed *block, size_t length, const kp_bytes_column *column) {
    struct ArrowArray *child = add_child(array);
    return child ? make_bytes(child, block, length, column) : ENOMEM;
}

static int add_topics(struct ArrowArray *array, kp_consumed *block) {
    struct ArrowArray *child;
    if (add_column(array, block, block->count, block->topics))
        return ENOMEM;
    child = array->children[array->n_children - 1];
    child->dictionary = calloc(1, sizeof(*child->dictionary));
    return child->dictionary ? make_bytes(child->dictionary, block, block->name_count, &block->names) : ENOMEM;
}

static int add_timestamps(struct ArrowArray *array, kp_consumed *block) {
    struct ArrowArray *child = add_child(array);
    return child ? make_array(child, block, block->count, block->timestamp_nulls, block->timestamp_validity,
                              block->timestamps, NULL)
                 : ENOMEM;
}

static int make_struct(struct ArrowArray *array, kp_consumed *block, size_t length) {
    int failure = make_array(array, block, length, 0, NULL, NULL, NULL);
    array->n_buffers = failure ? 0 : 1;
    return failure;
}

/* list<struct<name, value>> */
static int add_headers(struct ArrowArray *array, kp_consumed *block) {
    struct ArrowArray *list = add_child(array), *pairs;
    if (!list || make_array(list, block, block->count, 0, NULL, block->header_offsets, NULL) || !(pairs = add_child(list)) ||
        make_struct(pairs, block, block->header_count) ||
        add_bytes(pairs, block, block->header_count, &block->header_names) ||
        add_bytes(pairs, block, block->header_count, &block->header_values))
        return ENOMEM;
    return 0;
}

static int export_array(kp_consumed *block, struct ArrowArray *array) {
    int failure = make_struct(array, block, block->count);
    if (failure)
        return failure;
    if (add_topics(array, block) || add_column(array, block, block->count, block->partitions) ||
        add_column(array, block, block->count, block->offsets) || add_timestamps(array, block) ||
        add_column(array, block, block->count, block->timestamp_types) ||
        add_bytes(array, block, block->count, &block->keys) || add_bytes(array, block, block->count, &block->values) ||
        (block->with_headers && add_headers(array, block))) {
        array->release(array);
        return ENOMEM;
    }
    return 0;
}

/* -- schema --------------------------------------------------------------------------------------- */

static void release_schema(struct ArrowSchema *schema) {
    int64_t i;
    for (i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release)
            schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    if (schema->dictionary) {
        if (schema->dictionary->release)
            schema->dictionary->release(schema->dictionary);
        free(schema->dictionary);
    }
    free(schema->private_data); /* the array of children */
    schema->release = NULL;
}

static int make_schema(struct ArrowSchema *schema, const char *format, const char *name, int nullable) {
    memset(schema, 0, sizeof(*schema));
    schema->children = schema->private_data = calloc(MAX_CHILDREN, sizeof(*schema->children));
    if (!schema->private_data)
        return ENOMEM;
    schema->format = format;
    schema->name = name;
    schema->flags = nullable ? 2 : 0; /* ARROW_FLAG_NULLABLE */
    schema->release = release_schema;
    return 0;
}

static struct ArrowSchema *add_field(struct ArrowSchema *schema, const char *format, const char *name, int nullable) {
    struct ArrowSchema *child = calloc(1, sizeof(*child));
    if (!child)
        return NULL;
    schema->children[schema->n_children++] = child;
    return make_schema(child, format, name, nullable) ? NULL : child;
}

static int export_schema(const kp_consumed *block, struct ArrowSchema *schema) {
    struct ArrowSchema *topics, *list, *pairs;
    if (make_schema(schema, "+s", "", 0))
        return ENOMEM;
    if (!(topics = add_field(schema, "i", "topic", 0)) ||
        !(topics->dictionary = calloc(1, sizeof(*topics->dictionary))) || make_schema(topics->dictionary, "u", "", 0) ||
        !add_field(schema, "i", "partition", 0) || !add_field(schema, "l", "offset", 0) ||
        !add_field(schema, "tsm:UTC", "timestamp", 1) || !add_field(schema, "c", "timestamp_type", 0) ||
        !add_field(schema, "z", "key", 1) || !add_field(schema, "z", "value", 1) ||
        (block->with_headers &&
         (!(list = add_field(schema, "+l", "headers", 0)) || !(pairs = add_field(list, "+s", "item", 0)) ||
          !add_field(pairs, "u", "name", 0) || !add_field(pairs, "z", "value", 1)))) {
        schema->release(schema);
        return ENOMEM;
    }
    return 0;
}

int kp_consumed_export(kp_consumed *block, struct ArrowSchema *schema, struct ArrowArray *array) {
    int failure = schema ? export_schema(block, schema) : 0;
    if (!failure && array && (failure = export_array(block, array)) && schema)
        schema->release(schema);
    return failure;
}
