/* The memory of consumed columns. See consumed_block.h. */
#include "consumed_block.h"

#include <stdlib.h>

int kp_resize(void *place, size_t bytes) {
    void *old, *grown;
    memcpy(&old, place, sizeof(old));
    grown = realloc(old, bytes ? bytes : 1);
    if (!grown)
        return ENOMEM;
    memcpy(place, &grown, sizeof(grown));
    return 0;
}

size_t kp_more(size_t room, size_t least) {
    size_t wanted = room ? 2 * room : 64;
    return wanted < least ? least : wanted;
}

int kp_resize_validity(uint8_t **validity, size_t *room, size_t rows) {
    size_t bytes = rows / 8 + 1;
    if (kp_resize(validity, bytes))
        return ENOMEM;
    if (bytes > *room)
        memset(*validity + *room, 0xff, bytes - *room);
    *room = bytes;
    return 0;
}

int kp_resize_rows(kp_bytes_column *column, size_t rows) {
    int is_new = !column->offsets;
    if (kp_resize(&column->offsets, (rows + 1) * sizeof(*column->offsets)) ||
        (column->validity && kp_resize_validity(&column->validity, &column->validity_room, rows)))
        return ENOMEM;
    if (is_new)
        column->offsets[0] = 0;
    return 0;
}

int kp_make_room(kp_bytes_column *column, size_t begin, size_t size) {
    size_t wanted = size > INT32_MAX || begin + size > INT32_MAX ? 0 : kp_more(column->room, begin + size);
    if (!wanted)
        return EFBIG;
    if (wanted > INT32_MAX)
        wanted = INT32_MAX;
    if (kp_resize(&column->data, wanted))
        return ENOMEM;
    column->room = wanted;
    return 0;
}

static void free_bytes(kp_bytes_column *column) {
    free(column->offsets);
    free(column->data);
    free(column->validity);
}

int kp_resize_block(kp_consumed *block, size_t rows) {
    if (kp_resize(&block->topics, rows * sizeof(*block->topics)) ||
        kp_resize(&block->partitions, rows * sizeof(*block->partitions)) ||
        kp_resize(&block->leader_epochs, rows * sizeof(*block->leader_epochs)) ||
        kp_resize(&block->offsets, rows * sizeof(*block->offsets)) ||
        kp_resize(&block->timestamps, rows * sizeof(*block->timestamps)) ||
        kp_resize(&block->timestamp_types, rows * sizeof(*block->timestamp_types)) || kp_resize_rows(&block->keys, rows) ||
        kp_resize_rows(&block->values, rows) ||
        (block->with_headers && kp_resize(&block->header_offsets, (rows + 1) * sizeof(*block->header_offsets))))
        return ENOMEM;
    if (block->timestamp_validity && kp_resize_validity(&block->timestamp_validity, &block->timestamp_validity_room, rows))
        return ENOMEM;
    block->room = rows;
    return 0;
}

/* Have room for so many bytes, where there is memory: it is a guess. */
static void reserve(kp_bytes_column *column, size_t bytes) {
    if (bytes && bytes <= INT32_MAX && !kp_resize(&column->data, bytes))
        column->room = bytes;
}

kp_consumed *kp_consumed_new(int with_headers, const kp_consumed_size *guess) {
    kp_consumed *block = calloc(1, sizeof(*block));
    if (!block)
        return NULL;
    block->owners = 1;
    block->with_headers = with_headers;
    if (kp_resize_rows(&block->keys, 0) || kp_resize_rows(&block->values, 0) || kp_resize_rows(&block->names, 0) ||
        (with_headers && (kp_resize_rows(&block->header_names, 0) || kp_resize_rows(&block->header_values, 0) ||
                          !(block->header_offsets = calloc(1, sizeof(*block->header_offsets)))))) {
        kp_consumed_release(block);
        return NULL;
    }
    if (guess && guess->rows && !kp_resize_block(block, guess->rows)) {
        reserve(&block->keys, guess->key_bytes);
        reserve(&block->values, guess->value_bytes);
    }
    return block;
}

kp_consumed *kp_consumed_share(kp_consumed *block) {
    __atomic_fetch_add(&block->owners, 1, __ATOMIC_RELAXED);
    return block;
}

void kp_consumed_release(kp_consumed *block) {
    if (__atomic_sub_fetch(&block->owners, 1, __ATOMIC_ACQ_REL))
        return;
    free(block->topics);
    free(block->partitions);
    free(block->leader_epochs);
    free(block->offsets);
    free(block->timestamps);
    free(block->timestamp_types);
    free(block->timestamp_validity);
    free_bytes(&block->keys);
    free_bytes(&block->values);
    free(block->header_offsets);
    free_bytes(&block->header_names);
    free_bytes(&block->header_values);
    free_bytes(&block->names);
    free(block->ends.places);
    free(block->end_slots);
    free(block->eofs.places);
    kp_consumed_drop_errors(block);
    free(block->errors);
    if (block->refused)
        rd_kafka_topic_partition_list_destroy(block->refused);
    free(block);
}

static size_t used(const kp_bytes_column *column, size_t rows) {
    return (size_t)column->offsets[rows];
}

size_t kp_consumed_bytes(const kp_consumed *block) {
    size_t bytes = used(&block->keys, block->count) + used(&block->values, block->count);
    if (block->with_headers)
        bytes += used(&block->header_names, block->header_count) + used(&block->header_values, block->header_count);
    return bytes;
}

static void trim_bytes(kp_bytes_column *column, size_t rows) {
    if (column->room > used(column, rows) && !kp_resize(&column->data, used(column, rows)))
        column->room = used(column, rows);
}

void kp_consumed_trim(kp_consumed *block, kp_consumed_size *size) {
    size_t rows = block->count, keys = used(&block->keys, rows), values = used(&block->values, rows);
    *size = (kp_consumed_size){rows + rows / 16, keys + keys / 16, values + values / 16};
    if (block->room > block->count)
        kp_resize_block(block, block->count);
    trim_bytes(&block->keys, block->count);
    trim_bytes(&block->values, block->count);
    if (block->with_headers) {
        kp_resize_rows(&block->header_names, block->header_count);
        kp_resize_rows(&block->header_values, block->header_count);
        trim_bytes(&block->header_names, block->header_count);
        trim_bytes(&block->header_values, block->header_count);
    }
}
