/* Export of consumed columns by the Arrow C data interface. See consumed_columns.h.
 *
 * Each array of the tree is a node of its own, that holds the block: a reader may move a child out and release the rest.
 * Its buffers are the block's memory, but offsets of 64 bits and views, which are made for it. Its release() needs no
 * interpreter, nor the client: it may run at the end of the process, whose threads go on then. */
#include "arrow_structs.h"
#include "consumed_columns.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHILDREN = 8, MAX_BUFFERS = 4 };

static const int64_t nothing_here[1]; /* what a buffer of no bytes points to */

/* What an array points to; its private_data. */
typedef struct {
    kp_consumed *block;
    const void *buffers[MAX_BUFFERS];
    void *made;          /* owned: a buffer of it; or NULL */
    int64_t data_size[1]; /* of the data of views */
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
    free(own->made);
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

static const char *const FORMATS[] = {"z", "Z", "vz", "u", "U", "vu"}; /* by kp_bytes_format */

static int64_t *new_large_offsets(const kp_bytes_column *column, size_t rows) {
    int64_t *made = malloc((rows + 1) * sizeof(*made));
    size_t row;
    for (row = 0; made && row <= rows; row++)
        made[row] = column->offsets[row];
    return made;
}

/* One of Arrow's views: a short one has its bytes here, a long one the first four and where all of them are. */
typedef struct {
    int32_t size;
    union {
        uint8_t bytes[12];
        struct {
            uint8_t first[4];
            int32_t buffer, offset;
        } at;
    };
} view;

static view *new_views(const kp_bytes_column *column, size_t rows) {
    view *made = calloc(rows ? rows : 1, sizeof(*made));
    size_t row;
    for (row = 0; made && row < rows; row++) {
        int32_t begin = column->offsets[row], size = made[row].size = column->offsets[row + 1] - begin;
        if (!size)
            continue;
        memcpy(made[row].bytes, column->data + begin, size > 12 ? 4 : (size_t)size);
        if (size > 12)
            made[row].at.offset = begin;
    }
    return made;
}

static int make_bytes(struct ArrowArray *array, kp_consumed *block, size_t length, const kp_bytes_column *column,
                      kp_bytes_format format) {
    int failure = make_array(array, block, length, column->nulls, column->validity, column->offsets, column->data);
    kp_bytes_format layout = format % KP_TEXT;
    node *own = array->private_data;
    array->n_buffers = failure ? 0 : 3;
    if (failure || layout == KP_BINARY)
        return failure;
    own->made = layout == KP_LARGE_BINARY ? (void *)new_large_offsets(column, length) : new_views(column, length);
    own->buffers[1] = own->made;
    if (layout == KP_BINARY_VIEW) {
        own->data_size[0] = column->offsets[length];
        own->buffers[3] = own->data_size;
        array->n_buffers = 4;
    }
    return own->made ? 0 : ENOMEM;
}

static int add_bytes(struct ArrowArray *array, kp_consumed *block, size_t length, const kp_bytes_column *column,
                     kp_bytes_format format) {
    struct ArrowArray *child = add_child(array);
    return child ? make_bytes(child, block, length, column, format) : ENOMEM;
}

static int add_topics(struct ArrowArray *array, kp_consumed *block) {
    struct ArrowArray *child;
    if (add_column(array, block, block->count, block->topics))
        return ENOMEM;
    child = array->children[array->n_children - 1];
    child->dictionary = calloc(1, sizeof(*child->dictionary));
    return child->dictionary ? make_bytes(child->dictionary, block, block->name_count, &block->names, KP_TEXT) : ENOMEM;
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
static int add_headers(struct ArrowArray *array, kp_consumed *block, kp_bytes_format format) {
    struct ArrowArray *list = add_child(array), *pairs;
    if (!list || make_array(list, block, block->count, 0, NULL, block->header_offsets, NULL) || !(pairs = add_child(list)) ||
        make_struct(pairs, block, block->header_count) ||
        add_bytes(pairs, block, block->header_count, &block->header_names, KP_TEXT) ||
        add_bytes(pairs, block, block->header_count, &block->header_values, format))
        return ENOMEM;
    return 0;
}

static int export_array(kp_consumed *block, kp_consumed_formats formats, struct ArrowArray *array) {
    int failure = make_struct(array, block, block->count);
    const kp_bytes_column *values = kp_consumed_values(block);
    if (failure)
        return failure;
    if (!values || add_topics(array, block) || add_column(array, block, block->count, block->partitions) ||
        add_column(array, block, block->count, block->offsets) || add_timestamps(array, block) ||
        add_column(array, block, block->count, block->timestamp_types) ||
        add_bytes(array, block, block->count, &block->keys, formats.key) ||
        add_bytes(array, block, block->count, values, formats.value) ||
        (block->with_headers && add_headers(array, block, formats.header_value))) {
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

static int export_schema(const kp_consumed *block, kp_consumed_formats formats, struct ArrowSchema *schema) {
    struct ArrowSchema *topics, *list, *pairs;
    if (make_schema(schema, "+s", "", 0))
        return ENOMEM;
    if (!(topics = add_field(schema, "i", "topic", 0)) ||
        !(topics->dictionary = calloc(1, sizeof(*topics->dictionary))) || make_schema(topics->dictionary, "u", "", 0) ||
        !add_field(schema, "i", "partition", 0) || !add_field(schema, "l", "offset", 0) ||
        !add_field(schema, "tsm:UTC", "timestamp", 1) || !add_field(schema, "c", "timestamp_type", 0) ||
        !add_field(schema, FORMATS[formats.key], "key", 1) || !add_field(schema, FORMATS[formats.value], "value", 1) ||
        (block->with_headers &&
         (!(list = add_field(schema, "+l", "headers", 0)) || !(pairs = add_field(list, "+s", "item", 0)) ||
          !add_field(pairs, "u", "name", 0) || !add_field(pairs, FORMATS[formats.header_value], "value", 1)))) {
        schema->release(schema);
        return ENOMEM;
    }
    return 0;
}

/* -- what a reader asks for ----------------------------------------------------------------------- */

static const struct ArrowSchema *field(const struct ArrowSchema *schema, const char *name) {
    int64_t i;
    for (i = 0; schema && i < schema->n_children; i++)
        if (schema->children[i]->name && !strcmp(schema->children[i]->name, name))
            return schema->children[i];
    return NULL;
}

static kp_bytes_format format_of(const struct ArrowSchema *field) {
    int format;
    for (format = KP_TEXT_VIEW; field && format > KP_BINARY; format--)
        if (!field->dictionary && !strcmp(field->format, FORMATS[format]))
            return format;
    return KP_BINARY;
}

kp_consumed_formats kp_consumed_requested(const struct ArrowSchema *requested) {
    const struct ArrowSchema *headers = field(requested, "headers");
    const struct ArrowSchema *pairs = headers && headers->n_children == 1 ? headers->children[0] : NULL;
    return (kp_consumed_formats){format_of(field(requested, "key")), format_of(field(requested, "value")),
                                 format_of(field(pairs, "value"))};
}

int64_t kp_consumed_not_utf8(const kp_bytes_column *column, size_t rows) {
    size_t row;
    for (row = 0; row < rows; row++) {
        size_t begin = (size_t)column->offsets[row], size = (size_t)column->offsets[row + 1] - begin;
        if (size && kp_utf8_prefix(column->data + begin, size) != size)
            return (int64_t)row;
    }
    return -1;
}

int kp_consumed_export(kp_consumed *block, kp_consumed_formats formats, struct ArrowSchema *schema, struct ArrowArray *array) {
    int failure = schema ? export_schema(block, formats, schema) : 0;
    if (!failure && array && (failure = export_array(block, formats, array)) && schema)
        schema->release(schema);
    return failure;
}
