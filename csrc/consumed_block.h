/* The memory of consumed columns, for what fills them; see consumed_columns.h. Functions return 0, or an errno. */
#ifndef KAFKAPP_CONSUMED_BLOCK_H
#define KAFKAPP_CONSUMED_BLOCK_H

#include "consumed_columns.h"

#include <errno.h>
#include <string.h>

/* Reallocate what the pointer at `place` points to. */
int kp_resize(void *place, size_t bytes);

/* How much room to have next: at least so much. */
size_t kp_more(size_t room, size_t least);

/* Have room for this many rows. A bitmap then says that those which it has not had are valid. */
int kp_resize_validity(uint8_t **validity, size_t *room, size_t rows);
int kp_resize_rows(kp_bytes_column *column, size_t rows);
int kp_resize_block(kp_consumed *block, size_t rows);

/* All that it has room for, in bytes; and to have no rows, with the same room. */
size_t kp_block_room(const kp_consumed *block);
void kp_empty_block(kp_consumed *block);

/* Free a block that nobody owns. */
void kp_free_block(kp_consumed *block);

/* More than this is not kept: bytes. */
#define KP_SPARE_BYTES ((size_t)8 << 20)

/* The block that is kept there, which the caller owns then; NULL: none. */
kp_consumed *kp_spare_take(kp_spare *spare);

/* Have a block come back there when its last owner goes; to keep an empty block there, or
 * that which is kept already, whichever is larger; the other is freed. */
void kp_spare_lend(kp_spare *spare, kp_consumed *block);
void kp_spare_keep(kp_spare *spare, kp_consumed *block);

/* What becomes of a lent block that nobody owns. From any thread. */
void kp_spare_give_back(kp_consumed *block);

/* Have room for so many bytes behind the first `begin`; EFBIG: more than 32-bit offsets can say. */
int kp_make_room(kp_bytes_column *column, size_t begin, size_t size);

/* Have the next row be null: row `row`, of those that there is room for. */
static inline int kp_mark_null(uint8_t **validity, size_t *validity_room, int64_t *nulls, size_t row, size_t room) {
    if (!*validity && kp_resize_validity(validity, validity_room, room))
        return ENOMEM;
    (*validity)[row / 8] &= (uint8_t) ~(1u << row % 8);
    ++*nulls;
    return 0;
}

/* Set row `row`, the next one, of those that there is room for. Unless it returns 0 nothing is changed but `nulls`. */
static inline int kp_append(kp_bytes_column *column, size_t row, size_t room, const void *data, size_t size) {
    size_t begin = (size_t)column->offsets[row];
    int failure = size > column->room - begin ? kp_make_room(column, begin, size) : 0;
    if (failure)
        return failure;
    if (__builtin_expect(size != 0, 1))
        memcpy(column->data + begin, data, size);
    else if (!data && kp_mark_null(&column->validity, &column->validity_room, &column->nulls, row, room))
        return ENOMEM;
    column->offsets[row + 1] = (int32_t)(begin + size);
    return 0;
}

/* -- kept messages: what fills a block does with them ---------------------------------------------- */

/* Whether the next row may keep this message; then there is room for it. */
int kp_consumed_may_keep(kp_consumed *block, const rd_kafka_message_t *message);

/* Have the next row keep it, after kp_consumed_may_keep(): it is the block's from now on. */
void kp_consumed_keep(kp_consumed *block, rd_kafka_message_t *message);

/* Count what the block holds, now that it is filled. */
void kp_consumed_count_kept(kp_consumed *block);

/* Destroy what was kept. */
void kp_free_kept_messages(kp_kept_messages *kept);

#endif
