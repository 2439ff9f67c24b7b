/* Consumed columns: copies librdkafka's messages into a block of columns. See consumed_columns.h. */
#include "consumed_columns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many messages are taken at a time: more fall out of the cache between being taken and being destroyed. */
#define CHUNK 1000

/* Of a topic's name: librdkafka accepts no longer ones. */
#define MAX_NAME 512

/* librdkafka 2.0.2 has no leader epochs. */
int32_t rd_kafka_message_leader_epoch(const rd_kafka_message_t *message);
#pragma weak rd_kafka_message_leader_epoch

/* -- memory ------------------------------------------------------------------------------------- */

static int resize(void *place, size_t bytes) {
    void *old, *grown;
    memcpy(&old, place, sizeof(old));
    grown = realloc(old, bytes ? bytes : 1);
    if (!grown)
        return ENOMEM;
    memcpy(place, &grown, sizeof(grown));
    return 0;
}

/* Room for rows, of arrays whose elements need not be set. */
static size_t more(size_t room, size_t least) {
    size_t wanted = room ? 2 * room : 64;
    return wanted < least ? least : wanted;
}

static int resize_rows(kp_bytes_column *column, size_t rows) {
    int is_new = !column->offsets;
    if (resize(&column->offsets, (rows + 1) * sizeof(*column->offsets)))
        return ENOMEM;
    if (is_new)
        column->offsets[0] = 0;
    return 0;
}

/* Say in a bitmap, which is made for the first null, whether row `row` is valid. */
static int mark(uint8_t **validity, size_t *room, int64_t *nulls, size_t row, int valid) {
    size_t bytes = row / 8 + 1;
    if (!*validity && valid)
        return 0;
    if (bytes > *room || !*validity) {
        size_t wanted = more(*room, bytes);
        if (resize(validity, wanted))
            return ENOMEM;
        memset(*validity + *room, 0xff, wanted - *room); /* the rows before the first null are valid */
        *room = wanted;
    }
    if (valid) {
        (*validity)[row / 8] |= (uint8_t)(1u << row % 8);
    } else {
        (*validity)[row / 8] &= (uint8_t) ~(1u << row % 8);
        ++*nulls;
    }
    return 0;
}

/* Set row `row`, the next one. Nothing is changed that a second attempt, or none, would mind, unless it returns 0. */
static int append(kp_bytes_column *column, size_t row, const void *data, size_t size) {
    size_t begin = (size_t)column->offsets[row], end = begin + size;
    if (size > INT32_MAX || end > INT32_MAX)
        return EFBIG;
    if (end > column->room) {
        size_t wanted = more(column->room, end);
        if (resize(&column->data, wanted))
            return ENOMEM;
        column->room = wanted;
    }
    if (mark(&column->validity, &column->validity_room, &column->nulls, row, data != NULL))
        return ENOMEM;
    if (size)
        memcpy(column->data + begin, data, size);
    column->offsets[row + 1] = (int32_t)end;
    return 0;
}

static void free_bytes(kp_bytes_column *column) {
    free(column->offsets);
    free(column->data);
    free(column->validity);
}

kp_consumed *kp_consumed_new(int with_headers) {
    kp_consumed *block = calloc(1, sizeof(*block));
    if (!block)
        return NULL;
    block->owners = 1;
    block->with_headers = with_headers;
    if (resize_rows(&block->keys, 0) || resize_rows(&block->values, 0) || resize_rows(&block->names, 0) ||
        (with_headers && (resize_rows(&block->header_names, 0) || resize_rows(&block->header_values, 0) ||
                          !(block->header_offsets = calloc(1, sizeof(*block->header_offsets)))))) {
        kp_consumed_release(block);
        return NULL;
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

static int resize_block(kp_consumed *block, size_t rows) {
    if (resize(&block->topics, rows * sizeof(*block->topics)) ||
        resize(&block->partitions, rows * sizeof(*block->partitions)) ||
        resize(&block->leader_epochs, rows * sizeof(*block->leader_epochs)) ||
        resize(&block->offsets, rows * sizeof(*block->offsets)) ||
        resize(&block->timestamps, rows * sizeof(*block->timestamps)) ||
        resize(&block->timestamp_types, rows * sizeof(*block->timestamp_types)) || resize_rows(&block->keys, rows) ||
        resize_rows(&block->values, rows) ||
        (block->with_headers && resize(&block->header_offsets, (rows + 1) * sizeof(*block->header_offsets))))
        return ENOMEM;
    block->room = rows;
    return 0;
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
    if (column->data && !resize(&column->data, used(column, rows)))
        column->room = used(column, rows);
    if (column->validity && !resize(&column->validity, rows / 8 + 1))
        column->validity_room = rows / 8 + 1;
}

void kp_consumed_trim(kp_consumed *block) {
    if (block->count)
        resize_block(block, block->count);
    trim_bytes(&block->keys, block->count);
    trim_bytes(&block->values, block->count);
    if (block->with_headers) {
        trim_bytes(&block->header_names, block->header_count);
        trim_bytes(&block->header_values, block->header_count);
    }
}

/* -- topics and partitions ------------------------------------------------------------------------ */

/* The topics of the messages that were taken last: their rd_kafka_topic_t live as long as those. */
typedef struct {
    rd_kafka_topic_t *rkt[16];
    int32_t index[16];
    unsigned next;
} topic_cache;

static int find_topic(kp_consumed *block, topic_cache *cache, rd_kafka_topic_t *rkt, int32_t *index) {
    const char *name;
    size_t size, i;
    for (i = 0; i < 16 && cache->rkt[i]; i++)
        if (cache->rkt[i] == rkt) {
            *index = cache->index[i];
            return 0;
        }
    name = rd_kafka_topic_name(rkt);
    size = strlen(name);
    for (i = 0; i < block->name_count; i++) {
        size_t begin = (size_t)block->names.offsets[i];
        if ((size_t)block->names.offsets[i + 1] - begin == size && !memcmp(block->names.data + begin, name, size))
            break;
    }
    if (i == block->name_count) {
        if (i == block->name_room) {
            size_t room = more(block->name_room, 0);
            if (resize_rows(&block->names, room))
                return ENOMEM;
            block->name_room = room;
        }
        if (append(&block->names, i, name, size))
            return ENOMEM;
        block->name_count++;
    }
    cache->rkt[cache->next % 16] = rkt;
    cache->index[cache->next++ % 16] = *index = (int32_t)i;
    return 0;
}

static int add_place(kp_places *places, int32_t topic, int32_t partition, int64_t offset) {
    if (places->count == places->room) {
        size_t room = more(places->room, 0);
        if (resize(&places->places, room * sizeof(*places->places)))
            return ENOMEM;
        places->room = room;
    }
    places->places[places->count++] = (kp_place){topic, partition, offset};
    return 0;
}

static size_t slot_of(const kp_consumed *block, int32_t topic, int32_t partition) {
    uint64_t key = ((uint64_t)(uint32_t)topic << 32 | (uint32_t)partition) * 0x9E3779B97F4A7C15u;
    size_t mask = block->end_slot_count - 1, slot = (size_t)(key >> 32) & mask;
    while (block->end_slots[slot] >= 0) {
        const kp_place *end = &block->ends.places[block->end_slots[slot]];
        if (end->topic == topic && end->partition == partition)
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

/* Have twice as many slots as there may be ends. */
static int grow_slots(kp_consumed *block) {
    size_t count = block->end_slot_count ? 2 * block->end_slot_count : 32, i;
    if (2 * (block->ends.count + 1) <= block->end_slot_count)
        return 0;
    if (resize(&block->end_slots, count * sizeof(*block->end_slots)))
        return ENOMEM;
    block->end_slot_count = count;
    memset(block->end_slots, 0xff, count * sizeof(*block->end_slots));
    for (i = 0; i < block->ends.count; i++)
        block->end_slots[slot_of(block, block->ends.places[i].topic, block->ends.places[i].partition)] = (int32_t)i;
    return 0;
}

/* Find or add the end of a partition; its index is `last_end`, as the next record's is likely the same. */
static int find_end(kp_consumed *block, int32_t topic, int32_t partition) {
    const kp_place *last = block->ends.count ? &block->ends.places[block->last_end] : NULL;
    size_t slot;
    if (last && last->topic == topic && last->partition == partition)
        return 0;
    if (grow_slots(block))
        return ENOMEM;
    slot = slot_of(block, topic, partition);
    if (block->end_slots[slot] < 0) {
        if (add_place(&block->ends, topic, partition, RD_KAFKA_OFFSET_INVALID))
            return ENOMEM;
        block->end_slots[slot] = (int32_t)(block->ends.count - 1);
    }
    block->last_end = (size_t)block->end_slots[slot];
    return 0;
}

/* -- records -------------------------------------------------------------------------------------- */

/* Add the headers of a message. Damaged ones are none: librdkafka says no more than that. */
static int append_headers(kp_consumed *block, const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers;
    size_t count = block->header_count, i;
    if (!rd_kafka_message_headers(message, &headers)) {
        size_t extra = rd_kafka_header_cnt(headers);
        if (count + extra > INT32_MAX)
            return EFBIG;
        if (count + extra > block->header_room) {
            size_t room = more(block->header_room, count + extra);
            if (resize_rows(&block->header_names, room) || resize_rows(&block->header_values, room))
                return ENOMEM;
            block->header_room = room;
        }
        for (i = 0; i < extra; i++, count++) {
            const char *name;
            const void *value;
            size_t size;
            int failure;
            if (rd_kafka_header_get_all(headers, i, &name, &value, &size))
                break;
            if ((failure = append(&block->header_names, count, name, strlen(name))) ||
                (failure = append(&block->header_values, count, value, size)))
                return failure;
        }
    }
    block->header_offsets[block->count + 1] = (int32_t)count;
    return 0;
}

/* Copy a message into the next row. Until the row is counted it is not there. */
static int copy(kp_consumed *block, topic_cache *cache, const rd_kafka_message_t *message) {
    size_t row = block->count;
    int64_t key_nulls = block->keys.nulls, value_nulls = block->values.nulls, header_nulls = block->header_values.nulls;
    rd_kafka_timestamp_type_t type;
    int failure;
    if (row == block->room && resize_block(block, more(block->room, 0)))
        return ENOMEM;
    if ((failure = find_topic(block, cache, message->rkt, &block->topics[row])) ||
        (failure = find_end(block, block->topics[row], message->partition)))
        return failure;
    block->timestamps[row] = rd_kafka_message_timestamp(message, &type);
    block->timestamp_types[row] = (int8_t)type;
    block->partitions[row] = message->partition;
    block->offsets[row] = message->offset;
    block->leader_epochs[row] = rd_kafka_message_leader_epoch ? rd_kafka_message_leader_epoch(message) : -1;
    if ((failure = append(&block->keys, row, message->key, message->key_len)) ||
        (failure = append(&block->values, row, message->payload, message->len)) ||
        (block->with_headers && (failure = append_headers(block, message))) ||
        (failure = mark(&block->timestamp_validity, &block->timestamp_validity_room, &block->timestamp_nulls, row,
                        block->timestamps[row] >= 0))) {
        block->keys.nulls = key_nulls;
        block->values.nulls = value_nulls;
        block->header_values.nulls = header_nulls;
        return failure;
    }
    if (block->with_headers)
        block->header_count = (size_t)block->header_offsets[row + 1];
    block->ends.places[block->last_end].offset = message->offset + 1;
    block->count++;
    return 0;
}

/* Add what librdkafka says in place of a record. */
static int append_error(kp_consumed *block, topic_cache *cache, const rd_kafka_message_t *message) {
    int32_t topic = -1;
    if (message->rkt && find_topic(block, cache, message->rkt, &topic))
        return ENOMEM;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return add_place(&block->eofs, topic, message->partition, message->offset);
    return kp_consumed_add_error(block, message->err, topic, message->partition, rd_kafka_message_errstr(message));
}

/* Remember that a partition has to be read again from this offset, or a smaller one. */
static void refuse_from(kp_consumed *block, const char *name, int32_t partition, int64_t offset) {
    rd_kafka_topic_partition_t *found;
    if (!block->refused)
        block->refused = rd_kafka_topic_partition_list_new(1);
    found = rd_kafka_topic_partition_list_find(block->refused, name, partition);
    if (!found)
        rd_kafka_topic_partition_list_add(block->refused, name, partition)->offset = offset;
    else if (offset < found->offset)
        found->offset = offset;
}

/* Remember that a message, and those after it in its partition, have to be read again. An error is lost. */
static void refuse(kp_consumed *block, const rd_kafka_message_t *message) {
    if (!message->err && message->rkt)
        refuse_from(block, rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

static void refuse_place(kp_consumed *block, int32_t topic, int32_t partition, int64_t offset) {
    char name[MAX_NAME + 1];
    size_t begin = (size_t)block->names.offsets[topic], size = (size_t)block->names.offsets[topic + 1] - begin;
    memcpy(name, block->names.data + begin, size);
    name[size] = 0;
    refuse_from(block, name, partition, offset);
}

void kp_consumed_refuse(kp_consumed *block) {
    size_t i;
    for (i = 0; i < block->count; i++)
        if (!i || block->topics[i] != block->topics[i - 1] || block->partitions[i] != block->partitions[i - 1])
            refuse_place(block, block->topics[i], block->partitions[i], block->offsets[i]);
    for (i = 0; i < block->eofs.count; i++)
        refuse_place(block, block->eofs.places[i].topic, block->eofs.places[i].partition, block->eofs.places[i].offset);
}

/* How many messages to take at a time: as many as fit, of the mean size so far, but few until that is known well. */
static size_t chunk_size(const kp_consumed *block, size_t max_records, size_t max_bytes) {
    size_t left = max_records - block->count, bytes = kp_consumed_bytes(block), chunk = 16 + 4 * block->count;
    if (bytes >= max_bytes)
        return 0;
    if (chunk > CHUNK)
        chunk = CHUNK;
    if (bytes) {
        double fit = (double)(max_bytes - bytes) / ((double)bytes / (double)block->count);
        if (fit < chunk)
            chunk = fit < 1 ? 1 : (size_t)fit;
    }
    return chunk < left ? chunk : left;
}

int kp_consume(rd_kafka_queue_t *queue, kp_consumed *block, size_t max_records, size_t max_bytes, int timeout_ms) {
    rd_kafka_message_t *messages[CHUNK];
    size_t chunk = 1;
    int failure = 0;
    kp_consumed_filled(block);
    /* librdkafka waits until it has all that it is asked for: so one is asked for, and then what there is. */
    while (chunk && !failure) {
        ssize_t taken = rd_kafka_consume_batch_queue(queue, timeout_ms, messages, chunk), i;
        topic_cache cache = {{NULL}, {0}, 0};
        size_t asked = chunk;
        for (i = 0; i < taken; i++) {
            if (!failure)
                failure = messages[i]->err ? append_error(block, &cache, messages[i]) : copy(block, &cache, messages[i]);
            if (failure)
                refuse(block, messages[i]);
            rd_kafka_message_destroy(messages[i]);
        }
        if (taken < (ssize_t)asked)
            break;
        timeout_ms = 0;
        chunk = chunk_size(block, max_records, max_bytes);
    }
    kp_consumed_filled(NULL);
    return failure;
}
