/* Consumed columns: copies librdkafka's messages into a block of columns. See consumed_columns.h. */
#include "consumed_block.h"
#include "utf8.h"

#include <stdlib.h>

/* How many messages are taken at a time: more fall out of the cache between being taken and being destroyed. */
#define CHUNK 256

/* What is not in the cache when it is needed takes longer than all that is done with it. So what a copy needs soon is
 * fetched: the value of the message AHEAD of it; where values will be copied to, COPIED_AHEAD bytes on; and the memory where
 * the same message of the next chunk is likely to be, since librdkafka allocates those of a response one after another. */
#define FETCH(at) __builtin_prefetch((const void *)(at))
enum { AHEAD = 8, COPIED_AHEAD = 1024, LINE = 64, BEFORE_MESSAGE = 120, OF_MESSAGE = 320 };

/* Of a topic's name: librdkafka accepts no longer ones. */
#define MAX_NAME 512

/* librdkafka 2.0.2 has no leader epochs. */
int32_t rd_kafka_message_leader_epoch(const rd_kafka_message_t *message);
#pragma weak rd_kafka_message_leader_epoch

/* -- topics and partitions ------------------------------------------------------------------------ */

/* The topics of the messages that were taken last: their rd_kafka_topic_t live as long as those. */
typedef struct {
    rd_kafka_topic_t *rkt[16];
    int32_t index[16];
    unsigned known; /* so many of the latest of these */
    /* Of the rows from `first` on, whose end is `last_end`. rkt NULL: it is not known. */
    rd_kafka_topic_t *last_rkt;
    int32_t last_topic, last_partition;
    size_t first;
} topic_cache;

static int find_topic(kp_consumed *block, topic_cache *cache, rd_kafka_topic_t *rkt, int32_t *index) {
    const char *name;
    size_t size, i;
    for (i = 0; i < 16 && i < cache->known; i++)
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
            size_t room = kp_more(block->name_room, 0);
            if (kp_resize_rows(&block->names, room))
                return ENOMEM;
            block->name_room = room;
        }
        if (kp_append(&block->names, i, block->name_room, name, size))
            return ENOMEM;
        block->name_count++;
    }
    cache->rkt[cache->known % 16] = rkt;
    cache->index[cache->known++ % 16] = *index = (int32_t)i;
    return 0;
}

static int add_place(kp_places *places, int32_t topic, int32_t partition, int64_t offset) {
    if (places->count == places->room) {
        size_t room = kp_more(places->room, 0);
        if (kp_resize(&places->places, room * sizeof(*places->places)))
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
    if (kp_resize(&block->end_slots, count * sizeof(*block->end_slots)))
        return ENOMEM;
    block->end_slot_count = count;
    memset(block->end_slots, 0xff, count * sizeof(*block->end_slots));
    for (i = 0; i < block->ends.count; i++)
        block->end_slots[slot_of(block, block->ends.places[i].topic, block->ends.places[i].partition)] = (int32_t)i;
    return 0;
}

/* Find or add the end of a partition; its index is `last_end`. */
static int find_end(kp_consumed *block, int32_t topic, int32_t partition) {
    size_t slot;
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

/* Add the name of a header; what is not UTF-8 in it becomes U+FFFD: readers of Arrow's strings rely on that. */
static int append_name(kp_consumed *block, size_t row, const char *name) {
    size_t size = strlen(name), whole = kp_utf8_prefix(name, size), made = 0;
    char *mended;
    int failure;
    if (whole == size)
        return kp_append(&block->header_names, row, block->header_room, name, size);
    if (size > INT32_MAX / 3)
        return EFBIG;
    if (!(mended = malloc(3 * size)))
        return ENOMEM;
    for (; whole < size; whole = kp_utf8_prefix(name, size)) {
        memcpy(mended + made, name, whole);
        memcpy(mended + made + whole, "\xEF\xBF\xBD", 3);
        made += whole + 3;
        name += whole + 1;
        size -= whole + 1;
    }
    memcpy(mended + made, name, size);
    failure = kp_append(&block->header_names, row, block->header_room, mended, made + size);
    free(mended);
    return failure;
}

/* Add the headers of a message, last of its fields. Damaged ones are none: librdkafka says no more than that. */
static int append_headers(kp_consumed *block, const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers;
    size_t count = block->header_count, i;
    if (!rd_kafka_message_headers(message, &headers)) {
        size_t extra = rd_kafka_header_cnt(headers);
        if (count + extra > INT32_MAX)
            return EFBIG;
        if (count + extra > block->header_room) {
            size_t room = kp_more(block->header_room, count + extra);
            if (kp_resize_rows(&block->header_names, room) || kp_resize_rows(&block->header_values, room))
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
            if ((failure = append_name(block, count, name)) ||
                (failure = kp_append(&block->header_values, count, block->header_room, value, size)))
                return failure;
        }
    }
    block->header_offsets[block->count + 1] = (int32_t)count;
    block->header_count = count;
    return 0;
}

/* Write what the rows that are of the same partition have in common. */
static void end_run(kp_consumed *block, topic_cache *cache) {
    int32_t topic = cache->last_topic, partition = cache->last_partition;
    size_t row;
    for (row = cache->first; row < block->count; row++) {
        block->topics[row] = topic;
        block->partitions[row] = partition;
    }
    if (row > cache->first)
        block->ends.places[block->last_end].offset = block->offsets[row - 1] + 1;
    cache->first = row;
}

static __attribute__((noinline)) int find_place(kp_consumed *block, topic_cache *cache, const rd_kafka_message_t *message) {
    int failure;
    end_run(block, cache);
    failure = find_topic(block, cache, message->rkt, &cache->last_topic);
    cache->last_rkt = NULL;
    if (failure || (failure = find_end(block, cache->last_topic, message->partition)))
        return failure;
    cache->last_rkt = message->rkt;
    cache->last_partition = message->partition;
    return 0;
}

static int64_t count_nulls(const uint8_t *validity, size_t rows) {
    int64_t nulls = 0;
    size_t row;
    for (row = 0; validity && row < rows; row++)
        nulls += !(validity[row / 8] >> row % 8 & 1);
    return nulls;
}

/* A record has failed, and nothing comes after it: an end that was added for it, the last one, is none, and what is null
 * of it does not count. */
static __attribute__((noinline)) int without_row(kp_consumed *block, topic_cache *cache, int failure) {
    end_run(block, cache);
    if (block->ends.places[block->last_end].offset == RD_KAFKA_OFFSET_INVALID)
        block->ends.count--;
    block->keys.nulls = count_nulls(block->keys.validity, block->count);
    block->values.nulls = count_nulls(block->values.validity, block->count);
    block->timestamp_nulls = count_nulls(block->timestamp_validity, block->count);
    block->header_values.nulls = count_nulls(block->header_values.validity, block->header_count);
    return failure;
}

/* How much of a value is copied: nothing where its message is to be kept. */
static inline size_t copied_size(kp_consumed *block, const rd_kafka_message_t *message) {
    return message->len >= block->kept.keeping.least && kp_consumed_may_keep(block, message) ? 0 : message->len;
}

/* Copy a message into the next row, for which there is room, or have it kept. Until the row is counted it is not there. */
static inline int copy(kp_consumed *block, topic_cache *cache, rd_kafka_message_t *message) {
    size_t row = block->count, copied;
    int64_t timestamp;
    rd_kafka_timestamp_type_t type;
    int failure;
    /* Most records are of the same partition as the one before. */
    if (__builtin_expect(message->rkt != cache->last_rkt || message->partition != cache->last_partition, 0) &&
        (failure = find_place(block, cache, message)))
        return failure;
    if (block->kept.count && (size_t)block->values.offsets[row] + block->kept.bytes + message->len > INT32_MAX)
        return without_row(block, cache, EFBIG); /* more than the whole column could hold */
    copied = copied_size(block, message);
    block->offsets[row] = message->offset;
    block->timestamps[row] = timestamp = rd_kafka_message_timestamp(message, &type);
    block->timestamp_types[row] = (int8_t)type;
    block->leader_epochs[row] = rd_kafka_message_leader_epoch ? rd_kafka_message_leader_epoch(message) : -1;
    FETCH((uintptr_t)block->values.data + (size_t)block->values.offsets[row] + COPIED_AHEAD);
    if ((failure = kp_append(&block->keys, row, block->room, message->key, message->key_len)) ||
        (failure = kp_append(&block->values, row, block->room, message->payload, copied)) ||
        (timestamp < 0 && (failure = kp_mark_null(&block->timestamp_validity, &block->timestamp_validity_room,
                                                  &block->timestamp_nulls, row, block->room))) ||
        (block->with_headers && (failure = append_headers(block, message))))
        return without_row(block, cache, failure);
    if (__builtin_expect(copied < message->len, 0))
        kp_consumed_keep(block, message);
    else
        rd_kafka_message_destroy(message);
    block->count = row + 1;
    return 0;
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

int kp_loses_place(rd_kafka_resp_err_t err) {
    return err == RD_KAFKA_RESP_ERR__BAD_MSG || err == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
           err == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED || err == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
}

/* Add what librdkafka says in place of a record. EBADMSG: nothing after it may be taken, its partition is read again. */
static int append_error(kp_consumed *block, topic_cache *cache, const rd_kafka_message_t *message) {
    int32_t topic = -1;
    int lost = message->rkt && kp_loses_place(message->err), failure;
    if (message->rkt && find_topic(block, cache, message->rkt, &topic))
        return ENOMEM;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return add_place(&block->eofs, topic, message->partition, message->offset);
    if (lost)
        refuse_from(block, rd_kafka_topic_name(message->rkt), message->partition, message->offset);
    failure = kp_consumed_add_error(block, (kp_consume_error){message->err, topic, message->partition, message->offset, NULL},
                                    rd_kafka_message_errstr(message));
    return failure || !lost ? failure : EBADMSG;
}

/* Remember that a message, and those after it in its partition, have to be read again, as is its end; of an error what it
 * says: librdkafka may say it once. */
static void refuse(kp_consumed *block, topic_cache *cache, const rd_kafka_message_t *message) {
    if (message->err && message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        append_error(block, cache, message);
    else if (message->rkt)
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

/* How far behind each message of a whole chunk that of the next one is then; 0: they do not lie one after another. */
static inline uintptr_t next_chunk(rd_kafka_message_t *const *messages) {
    uintptr_t first_to_last = (uintptr_t)messages[CHUNK - 1] - (uintptr_t)messages[0];
    return first_to_last < 2 * CHUNK * OF_MESSAGE ? first_to_last + first_to_last / (CHUNK - 1) : 0;
}

/* Copy a chunk, and destroy what is not kept of it. When this fails, the rest is refused. There is room for AHEAD more. */
static int copy_chunk(kp_consumed *block, rd_kafka_message_t **messages, size_t taken) {
    rd_kafka_message_t **message = messages, **end = messages + taken;
    uintptr_t behind = (taken == CHUNK ? next_chunk(messages) : 0) - BEFORE_MESSAGE;
    topic_cache cache;
    int failure = 0;
    cache.known = 0;
    cache.last_rkt = NULL;
    cache.first = block->count;
    for (message = end; message < end + AHEAD; message++)
        *message = end[-1];
    if (block->count + taken > block->room)
        failure = kp_resize_block(block, kp_more(block->room, block->count + taken));
    for (message = messages; message < end && !failure; message++) {
        uintptr_t next = (uintptr_t)*message + behind;
        FETCH(message[AHEAD]->payload);
        FETCH((uintptr_t)message[AHEAD]->payload + LINE);
        FETCH(next);
        FETCH(next + LINE);
        FETCH(next + 2 * LINE);
        FETCH(next + 3 * LINE);
        FETCH(next + 4 * LINE);
        if (!(*message)->err)
            failure = copy(block, &cache, *message);
        else if (!(failure = append_error(block, &cache, *message)))
            rd_kafka_message_destroy(*message);
        if (failure)
            break;
    }
    end_run(block, &cache);
    if (failure == EBADMSG) /* it has been taken */
        rd_kafka_message_destroy(*message++);
    for (; message < end; message++) {
        refuse(block, &cache, *message);
        rd_kafka_message_destroy(*message);
    }
    return failure;
}

int kp_consume(rd_kafka_queue_t *queue, kp_consumed *block, size_t max_records, size_t max_bytes, int timeout_ms) {
    rd_kafka_message_t *messages[CHUNK + AHEAD];
    kp_consumed *before = kp_consumed_filled(block);
    size_t chunk = 1;
    int failure = 0;
    /* librdkafka waits until it has all that it is asked for: so one is asked for, and then what there is. */
    while (chunk && !failure) {
        ssize_t taken = rd_kafka_consume_batch_queue(queue, timeout_ms, messages, chunk);
        size_t asked = chunk;
        if (taken > 0)
            failure = copy_chunk(block, messages, (size_t)taken);
        if (taken < (ssize_t)asked)
            break;
        timeout_ms = 0;
        chunk = chunk_size(block, max_records, max_bytes);
    }
    kp_consumed_filled(before);
    kp_consumed_count_kept(block);
    return failure;
}
