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
    if (rows < block->room)
        block->room = rows; /* first: where there is no memory, the columns differ */
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

static kp_consumed *new_block(int with_headers, const kp_consumed_size *guess) {
    kp_consumed *block = calloc(1, sizeof(*block));
    if (!block)
        return NULL;
    block->kept.keeping.least = SIZE_MAX;
    block->with_headers = with_headers;
    if (kp_resize_rows(&block->keys, 0) || kp_resize_rows(&block->values, 0) || kp_resize_rows(&block->names, 0) ||
        (with_headers && (kp_resize_rows(&block->header_names, 0) || kp_resize_rows(&block->header_values, 0) ||
                          !(block->header_offsets = calloc(1, sizeof(*block->header_offsets)))))) {
        kp_free_block(block);
        return NULL;
    }
    if (guess && guess->rows && !kp_resize_block(block, guess->rows)) {
        reserve(&block->keys, guess->key_bytes);
        reserve(&block->values, guess->value_bytes);
    }
    return block;
}

kp_consumed *kp_consumed_new(int with_headers, const kp_consumed_size *guess, kp_spare *spare) {
    kp_consumed *block = spare ? kp_spare_take(spare) : NULL;
    if (block && block->with_headers != with_headers) {
        kp_free_block(block);
        block = NULL;
    }
    if (block)
        block->had_room = kp_block_room(block);
    else if (!(block = new_block(with_headers, guess)))
        return NULL;
    block->owners = 1;
    if (spare)
        kp_spare_lend(spare, block);
    return block;
}

kp_consumed *kp_consumed_share(kp_consumed *block) {
    __atomic_fetch_add(&block->owners, 1, __ATOMIC_RELAXED);
    return block;
}

void kp_consumed_release(kp_consumed *block) {
    if (__atomic_sub_fetch(&block->owners, 1, __ATOMIC_ACQ_REL))
        return;
    kp_free_kept_messages(&block->kept);
    if (block->spare)
        kp_spare_give_back(block);
    else
        kp_free_block(block);
}

static void drop_refused(kp_consumed *block) {
    if (block->refused)
        rd_kafka_topic_partition_list_destroy(block->refused);
    block->refused = NULL;
}

void kp_free_block(kp_consumed *block) {
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
    drop_refused(block);
    free(block);
}

/* All rows are valid until one is null: a bitmap of other rows is of no use. */
static void drop_validity(uint8_t **validity, size_t *room, int64_t *nulls) {
    free(*validity);
    *validity = NULL;
    *room = 0;
    *nulls = 0;
}

static void empty_bytes(kp_bytes_column *column) {
    drop_validity(&column->validity, &column->validity_room, &column->nulls);
}

void kp_empty_block(kp_consumed *block) {
    block->count = block->header_count = block->name_count = block->ends.count = block->eofs.count = 0;
    block->discarded = 0;
    drop_validity(&block->timestamp_validity, &block->timestamp_validity_room, &block->timestamp_nulls);
    empty_bytes(&block->keys);
    empty_bytes(&block->values);
    empty_bytes(&block->header_names);
    empty_bytes(&block->header_values);
    if (block->end_slots)
        memset(block->end_slots, 0xff, block->end_slot_count * sizeof(*block->end_slots));
    kp_consumed_drop_errors(block);
    drop_refused(block);
}

static size_t used(const kp_bytes_column *column, size_t rows) {
    return (size_t)column->offsets[rows];
}

size_t kp_consumed_bytes(const kp_consumed *block) {
    size_t bytes = used(&block->keys, block->count) + used(&block->values, block->count) + block->kept.bytes;
    if (block->with_headers)
        bytes += used(&block->header_names, block->header_count) + used(&block->header_values, block->header_count);
    return bytes;
}

/* Of a row, but for what columns of bytes have as data. */
static size_t row_bytes(const kp_consumed *block) {
    size_t indices = 2 + (block->with_headers != 0); /* where its key, value and headers begin */
    return sizeof(*block->topics) + sizeof(*block->partitions) + sizeof(*block->leader_epochs) + sizeof(*block->offsets) +
           sizeof(*block->timestamps) + sizeof(*block->timestamp_types) + indices * sizeof(int32_t);
}

size_t kp_block_room(const kp_consumed *block) {
    return block->room * row_bytes(block) + block->keys.room + block->values.room + block->header_names.room +
           block->header_values.room + block->header_room * 2 * sizeof(int32_t);
}

/* What its rows need of that. */
static size_t used_room(const kp_consumed *block) {
    return block->count * row_bytes(block) + kp_consumed_bytes(block) - block->kept.bytes + block->header_count * 2 * sizeof(int32_t);
}

static void trim_bytes(kp_bytes_column *column, size_t rows) {
    if (column->room > used(column, rows) && !kp_resize(&column->data, used(column, rows)))
        column->room = used(column, rows);
}

static void trim_all(kp_consumed *block) {
    if (block->room > block->count)
        kp_resize_block(block, block->count);
    trim_bytes(&block->keys, block->count);
    trim_bytes(&block->values, block->count);
    if (block->with_headers) {
        block->header_room = block->header_count; /* first: where there is no memory, the columns differ */
        kp_resize_rows(&block->header_names, block->header_count);
        kp_resize_rows(&block->header_values, block->header_count);
        trim_bytes(&block->header_names, block->header_count);
        trim_bytes(&block->header_values, block->header_count);
    }
}

/* So many blocks are moved out of memory that is too large; the next one has it shrunk. */
#define MAX_UNNEEDED 8

#define SWAP(field) \
    do { \
        __typeof__(block->field) moved = block->field; \
        block->field = other->field; \
        other->field = moved; \
    } while (0)

static void swap_rows(kp_consumed *block, kp_consumed *other) {
    SWAP(room);
    SWAP(topics);
    SWAP(partitions);
    SWAP(leader_epochs);
    SWAP(offsets);
    SWAP(timestamps);
    SWAP(timestamp_types);
    SWAP(keys.offsets);
    SWAP(keys.data);
    SWAP(keys.room);
    SWAP(values.offsets);
    SWAP(values.data);
    SWAP(values.room);
}

static void copy_bytes(kp_bytes_column *to, const kp_bytes_column *from, size_t rows) {
    memcpy(to->offsets, from->offsets, (rows + 1) * sizeof(*to->offsets));
    if (used(from, rows))
        memcpy(to->data, from->data, used(from, rows));
}

/* Move the rows, which are few, to memory of their size: what they had waits for the next block. Whether it could. */
static int move_out(kp_consumed *block) {
    size_t rows = block->count, keys = used(&block->keys, rows), values = used(&block->values, rows);
    kp_consumed_size size = {rows ? rows : 1, keys, values};
    kp_consumed *other = new_block(0, &size);
    if (!other)
        return 0;
    if (other->room < rows || other->keys.room < keys || other->values.room < values) {
        kp_free_block(other);
        return 0;
    }
    if (rows) {
        memcpy(other->topics, block->topics, rows * sizeof(*block->topics));
        memcpy(other->partitions, block->partitions, rows * sizeof(*block->partitions));
        memcpy(other->leader_epochs, block->leader_epochs, rows * sizeof(*block->leader_epochs));
        memcpy(other->offsets, block->offsets, rows * sizeof(*block->offsets));
        memcpy(other->timestamps, block->timestamps, rows * sizeof(*block->timestamps));
        memcpy(other->timestamp_types, block->timestamp_types, rows * sizeof(*block->timestamp_types));
    }
    copy_bytes(&other->keys, &block->keys, rows);
    copy_bytes(&other->values, &block->values, rows);
    swap_rows(block, other);
    kp_resize_block(block, rows); /* bitmaps stay with the rows */
    other->unneeded = block->unneeded + (rows != 0);
    block->unneeded = 0;
    kp_spare_keep(block->spare, other);
    return 1;
}

void kp_consumed_trim(kp_consumed *block, kp_consumed_size *size) {
    size_t rows = block->count, keys = used(&block->keys, rows), values = used(&block->values, rows);
    size_t room = kp_block_room(block), needed = used_room(block);
    *size = (kp_consumed_size){rows + rows / 16, keys + keys / 16, values + values / 16};
    if (room <= needed + rows + rows / 2 + 2048) {
        block->unneeded = 0;
        return;
    }
    /* Room that it has made itself was not used before: giving that back loses nothing. */
    if (needed >= block->had_room / 4 * 3 || block->unneeded == MAX_UNNEEDED || block->with_headers || !move_out(block)) {
        block->unneeded = 0;
        trim_all(block);
    }
}
