/* Kept messages, and the pins that count them. See consumed_kept.h. */
#include "consumed_block.h"
#include "forks.h"

#include <stdlib.h>

/* Of what librdkafka allocates for a message (a queue's operation, with malloc's own), and of what frames a record in a
 * response, at most, where records are small. */
enum { MESSAGE_BYTES = 320, FRAME_BYTES = 80 };

struct kp_pins {
    int64_t owners, bytes; /* atomic */
};

kp_pins *kp_pins_new(void) {
    kp_pins *pins = calloc(1, sizeof(*pins));
    if (pins)
        pins->owners = 1;
    return pins;
}

kp_pins *kp_pins_share(kp_pins *pins) {
    __atomic_fetch_add(&pins->owners, 1, __ATOMIC_RELAXED);
    return pins;
}

void kp_pins_release(kp_pins *pins) {
    if (!__atomic_sub_fetch(&pins->owners, 1, __ATOMIC_ACQ_REL))
        free(pins);
}

int64_t kp_pinned_bytes(const kp_pins *pins) {
    return __atomic_load_n(&pins->bytes, __ATOMIC_SEQ_CST);
}

void kp_consumed_keep_from(kp_consumed *block, kp_pins *pins, const kp_keeping *keeping) {
    block->kept.pins = kp_pins_share(pins);
    block->kept.keeping = *keeping;
    block->kept.forks = kp_forks;
}

static void count(kp_kept_messages *kept, int64_t bytes) {
    if (bytes != kept->counted)
        __atomic_fetch_add(&kept->pins->bytes, bytes - kept->counted, __ATOMIC_SEQ_CST);
    kept->counted = bytes;
}

int kp_consumed_may_keep(kp_consumed *block, const rd_kafka_message_t *message) {
    kp_kept_messages *kept = &block->kept;
    int64_t rows = (int64_t)block->count + 1, messages = (int64_t)kept->count + 1, bytes;
    if (!kept->pins || message->len > INT32_MAX - kept->bytes - (size_t)block->values.offsets[block->count])
        return 0;
    bytes = kept->keeping.around + (int64_t)(kp_consumed_bytes(block) + message->len + message->key_len) +
            rows * FRAME_BYTES + messages * MESSAGE_BYTES;
    if (kp_pinned_bytes(kept->pins) - kept->counted > kept->keeping.limit - bytes)
        return 0;
    if (block->count >= kept->room) {
        size_t room = kp_more(kept->room, block->room);
        if (kp_resize(&kept->messages, room * sizeof(*kept->messages)))
            return 0;
        memset(kept->messages + kept->room, 0, (room - kept->room) * sizeof(*kept->messages));
        kept->room = room;
    }
    kept->asked = bytes;
    return 1;
}

void kp_consumed_keep(kp_consumed *block, rd_kafka_message_t *message) {
    kp_kept_messages *kept = &block->kept;
    rd_kafka_headers_t *headers;
    /* They are copied, and would be memory of their own as long as the message lives. */
    if (block->with_headers && !rd_kafka_message_detach_headers(message, &headers))
        rd_kafka_headers_destroy(headers);
    kept->messages[block->count] = message;
    kept->rows = block->count + 1;
    kept->bytes += message->len;
    kept->count++;
    kept->held = kept->asked;
}

void kp_consumed_count_kept(kp_consumed *block) {
    if (block->kept.pins)
        count(&block->kept, block->kept.held);
}

/* -- the values as one column --------------------------------------------------------------------- */

static void free_whole(kp_bytes_column *whole) {
    free(whole->offsets);
    free(whole->data);
    free(whole);
}

static kp_bytes_column *new_whole(const kp_consumed *block) {
    const kp_bytes_column *values = &block->values;
    kp_bytes_column *whole = calloc(1, sizeof(*whole));
    size_t bytes = (size_t)values->offsets[block->count] + block->kept.bytes, row, at = 0;
    if (!whole || kp_resize(&whole->offsets, (block->count + 1) * sizeof(*whole->offsets)) ||
        kp_resize(&whole->data, bytes)) {
        if (whole)
            free_whole(whole);
        return NULL;
    }
    whole->validity = values->validity; /* the block's */
    whole->nulls = values->nulls;
    for (row = 0; row < block->count; row++) {
        const rd_kafka_message_t *message = kp_consumed_kept(block, row);
        size_t size = message ? message->len : (size_t)(values->offsets[row + 1] - values->offsets[row]);
        whole->offsets[row] = (int32_t)at;
        if (size)
            memcpy(whole->data + at, message ? message->payload : values->data + values->offsets[row], size);
        at += size;
    }
    whole->offsets[block->count] = (int32_t)at;
    return whole;
}

const kp_bytes_column *kp_consumed_values(kp_consumed *block) {
    void *none = NULL;
    kp_bytes_column *whole;
    if (!block->kept.count)
        return &block->values;
    if ((whole = __atomic_load_n(&block->kept.whole, __ATOMIC_ACQUIRE)) || !(whole = new_whole(block)))
        return whole;
    /* Another thread may have made it meanwhile. */
    if (!__atomic_compare_exchange_n(&block->kept.whole, &none, whole, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        free_whole(whole);
        return none;
    }
    return whole;
}

/* -- the end -------------------------------------------------------------------------------------- */

void kp_free_kept_messages(kp_kept_messages *kept) {
    size_t row;
    /* In a forked child librdkafka's locks and threads are not there: its memory is leaked. */
    for (row = 0; row < kept->rows && kept->forks == kp_forks; row++)
        if (kept->messages[row])
            rd_kafka_message_destroy(kept->messages[row]);
    free(kept->messages);
    if (kept->whole)
        free_whole(kept->whole);
    if (kept->pins) {
        count(kept, 0); /* after they are gone */
        kp_pins_release(kept->pins);
    }
    memset(kept, 0, sizeof(*kept));
    kept->keeping.least = SIZE_MAX;
}
