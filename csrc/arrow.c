/* Arrow arrays: reads a column of an array, every field checked. See arrow.h. */
#include "arrow.h"

#include <stddef.h>
#include <string.h>

/* The number N of a format "w:N"; -1 if it is not a number. */
static int64_t width_of(const char *text) {
    int64_t width = 0;
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || width > INT32_MAX)
            return -1;
        width = 10 * width + (*text - '0');
    }
    return width;
}

int kp_arrow_kind(kp_column *c, const struct ArrowSchema *schema) {
    const char *format = schema->format;
    if (schema->dictionary || schema->n_children)
        return 0;
    if (!strcmp(format, "n"))
        c->kind = KP_NULLS;
    else if (!strcmp(format, "z") || !strcmp(format, "u"))
        c->kind = KP_OFFSETS32;
    else if (!strcmp(format, "Z") || !strcmp(format, "U"))
        c->kind = KP_OFFSETS64;
    else if (!strcmp(format, "vz") || !strcmp(format, "vu"))
        c->kind = KP_VIEWS;
    else if (!strncmp(format, "w:", 2) && (c->width = width_of(format + 2)) >= 0)
        c->kind = KP_FIXED;
    else
        return 0;
    return 1;
}

static const char *offsets_column(kp_column *c, const struct ArrowArray *a) {
    int64_t first;
    if (!a->buffers[1])
        return "it has no offsets";
    c->offsets = (const char *)a->buffers[1] + a->offset * (c->kind == KP_OFFSETS32 ? 4 : 8);
    c->data = a->buffers[2];
    first = kp_offset_at(c->offsets, c->kind, 0);
    /* An array does not give the size of its data: that is the last offset. */
    c->size = kp_offset_at(c->offsets, c->kind, a->length);
    return !c->data && c->size != first ? "it has offsets and no data" : NULL;
}

static const char *views_column(kp_column *c, const struct ArrowArray *a) {
    int64_t i;
    if (!a->buffers[1])
        return "it has no views";
    c->offsets = (const char *)a->buffers[1] + a->offset * 16;
    c->buffers = a->buffers + 2;
    c->buffer_count = a->n_buffers - 3;
    c->buffer_sizes = a->buffers[a->n_buffers - 1];
    if (c->buffer_count && !c->buffer_sizes)
        return "it does not say how large its buffers are";
    for (i = 0; i < c->buffer_count; i++) {
        if (c->buffer_sizes[i] < 0)
            return "the size of a buffer is negative";
        if (c->buffer_sizes[i] && !c->buffers[i])
            return "a buffer that has a size is missing";
    }
    return NULL;
}

/* What is wrong with the numbers of an array, whatever is in its buffers; NULL: nothing. `item`: the bytes of one. */
static const char *malformed(const struct ArrowArray *a, int64_t item, int64_t children) {
    if (a->length < 0)
        return "its length is negative";
    if (a->offset < 0)
        return "its offset is negative";
    if (a->offset > INT64_MAX / item - 1 - a->length || a->length > INT64_MAX / item - 1)
        return "its offset and length are more than memory can have";
    if (a->null_count < -1 || a->null_count > a->length)
        return "its null_count is neither -1 nor from 0 to its length";
    return a->n_children != children ? "it has another number of children than its format" : NULL;
}

static int has_buffers_of_its_format(const kp_column *c, const struct ArrowArray *a) {
    if (c->kind == KP_VIEWS)
        return a->n_buffers >= 3 && a->n_buffers <= (int64_t)INT32_MAX + 3;
    return a->n_buffers == (c->kind == KP_FIXED ? 2 : 3);
}

static const char *fixed_column(kp_column *c, const struct ArrowArray *a) {
    c->size = a->length * c->width;
    if (c->size && !a->buffers[1])
        return "it has no data";
    c->data = a->buffers[1] ? (const char *)a->buffers[1] + a->offset * c->width : NULL;
    return NULL;
}

const char *kp_arrow_column(kp_column *c, const struct ArrowArray *a) {
    const char *problem = malformed(a, c->kind == KP_VIEWS ? 16 : c->kind == KP_FIXED && c->width > 8 ? c->width : 8, 0);
    if (!problem && a->dictionary)
        problem = "it has a dictionary, and its format has none";
    if (problem || c->kind == KP_NULLS)
        return problem;
    if (!has_buffers_of_its_format(c, a))
        return "it has another number of buffers than its format";
    if (!a->buffers)
        return "it has no buffers";
    if (a->length == 0) { /* its buffers may be missing */
        c->kind = KP_NULLS;
        return NULL;
    }
    if (a->null_count > 0 && !a->buffers[0])
        return "it has nulls, and no bitmap that says where";
    if (a->null_count != 0) {
        c->valid = a->buffers[0];
        c->valid_offset = a->offset;
    }
    if (c->kind == KP_VIEWS)
        return views_column(c, a);
    return c->kind == KP_FIXED ? fixed_column(c, a) : offsets_column(c, a);
}

/* The bytes of an index of this format; 0 for what is no integer. */
static int index_width(const char *format) {
    static const char letters[] = "cCsSiIlL";
    const char *place = *format && !format[1] ? strchr(letters, *format) : NULL;
    return place ? 1 << (place - letters) / 2 : 0;
}

/* An index; what an unsigned one of 8 bytes cannot be is negative, and so outside of every dictionary. */
static int64_t index_at(const void *indices, int width, int is_signed, int64_t i) {
    uint64_t bits = 0;
    int shift = 64 - 8 * width;
    memcpy(&bits, (const char *)indices + i * width, (size_t)width); /* need not be aligned */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits >>= shift;
#endif
    return is_signed ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
}

/* Find an item's memory, or set that of a null. Returns 0 when it is out of bounds. */
static int set_span(kp_span *span, const kp_column *c, int64_t i) {
    const void *data;
    size_t size;
    if (!kp_column_item(c, i, &data, &size))
        return 0;
    *span = (kp_span){data, (int64_t)size};
    return 1;
}

const char *kp_arrow_decode(const kp_column *values, int64_t count, const char *format, const struct ArrowArray *a,
                            kp_span *spans) {
    int width = index_width(format);
    const char *problem = malformed(a, 8, 0);
    int64_t i, index;
    kp_column nulls = {.kind = KP_NULLS};
    if (problem)
        return problem;
    if (!width)
        return "the indices of its dictionary are no integers";
    if (a->length == 0)
        return NULL;
    if (a->n_buffers != 2 || !a->buffers || !a->buffers[1])
        return "it has no indices";
    if (a->null_count > 0 && !a->buffers[0])
        return "it has nulls, and no bitmap that says where";
    nulls.valid = a->null_count ? a->buffers[0] : NULL;
    nulls.valid_offset = a->offset;
    for (i = 0; i < a->length; i++) {
        spans[i] = (kp_span){NULL, 0};
        if (kp_is_null(&nulls, i))
            continue;
        index = index_at(a->buffers[1], width, *format >= 'a', a->offset + i);
        if (index < 0 || index >= count || !set_span(&spans[i], values, index))
            return "an index is outside of its dictionary";
    }
    return NULL;
}

int64_t kp_column_spans(const kp_column *c, int64_t count, kp_span *spans) {
    int64_t i;
    for (i = 0; i < count; i++)
        if (!set_span(&spans[i], c, i))
            return i;
    return -1;
}

/* Find where the pairs of each row are, counted from the first of all. */
static const char *ranges_of(const struct ArrowArray *a, kp_column_kind kind, kp_range *ranges, kp_range *all) {
    kp_column rows = {.kind = kind};
    const char *problem = malformed(a, 8, 1);
    int64_t i, start, end;
    *all = (kp_range){0, 0};
    if (!problem && a->dictionary)
        problem = "it has a dictionary, and its format has none";
    if (problem || a->length == 0)
        return problem;
    if (a->n_buffers != 2 || !a->buffers || !a->buffers[1])
        return "it has no offsets";
    if (a->null_count > 0 && !a->buffers[0])
        return "it has nulls, and no bitmap that says where";
    rows.offsets = (const char *)a->buffers[1] + a->offset * (kind == KP_OFFSETS32 ? 4 : 8);
    rows.valid = a->null_count ? a->buffers[0] : NULL;
    rows.valid_offset = a->offset;
    all->start = start = kp_offset_at(rows.offsets, kind, 0);
    for (i = 0; i < a->length; i++, start = end) {
        end = kp_offset_at(rows.offsets, kind, i + 1);
        if (start < 0 || end < start)
            return "its offsets are not in order";
        ranges[i] = kp_is_null(&rows, i) ? (kp_range){0, 0} : (kp_range){start - all->start, end - all->start};
    }
    all->end = start;
    return NULL;
}

/* The part of the pairs' names or values that the rows have. */
static const char *part_of(const struct ArrowArray *pairs, const struct ArrowArray *child, kp_range all,
                           struct ArrowArray *part) {
    const char *problem;
    if (!child)
        return "a child of its pairs is missing";
    if ((problem = malformed(child, 16, 0)))
        return problem;
    if (child->length < pairs->offset + all.end)
        return "a child of its pairs is shorter than they are";
    *part = *child;
    part->release = NULL; /* it stays the array's */
    part->offset += pairs->offset + all.start;
    part->length = all.end - all.start;
    if (part->null_count > part->length)
        part->null_count = part->length;
    return NULL;
}

/* The index of a row with a pair that is null, or -1. */
static int64_t row_with_null(const struct ArrowArray *pairs, const kp_range *ranges, int64_t count, int64_t start) {
    kp_column valid = {.kind = KP_NULLS, .valid_offset = pairs->offset + start};
    int64_t i, j;
    if (!pairs->null_count || pairs->n_buffers < 1 || !pairs->buffers || !(valid.valid = pairs->buffers[0]))
        return -1;
    for (i = 0; i < count; i++)
        for (j = ranges[i].start; j < ranges[i].end; j++)
            if (kp_is_null(&valid, j))
                return i;
    return -1;
}

const char *kp_arrow_entries(const struct ArrowArray *a, int large, kp_range *ranges, struct ArrowArray *first,
                             struct ArrowArray *second, int64_t *bad) {
    kp_range all;
    const struct ArrowArray *pairs;
    const char *problem = ranges_of(a, large ? KP_OFFSETS64 : KP_OFFSETS32, ranges, &all);
    if (problem || all.end == all.start)
        return problem;
    pairs = a->children ? a->children[0] : NULL;
    if (!pairs)
        return "its child is missing";
    if ((problem = malformed(pairs, 8, 2)))
        return problem;
    if (pairs->dictionary || !pairs->children)
        return "its pairs have a dictionary, or no children";
    if (pairs->null_count > 0 && (pairs->n_buffers < 1 || !pairs->buffers || !pairs->buffers[0]))
        return "its pairs have nulls, and no bitmap that says where";
    if (all.end > pairs->length)
        return "its offsets are beyond its pairs";
    if ((*bad = row_with_null(pairs, ranges, a->length, all.start)) >= 0)
        return "a pair is null";
    problem = part_of(pairs, pairs->children[0], all, first);
    return problem ? problem : part_of(pairs, pairs->children[1], all, second);
}
