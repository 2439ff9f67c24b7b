/* Errors in place of records: of partitions, which librdkafka gives as messages, and of the client, by a callback. See
 * consumed_columns.h. */
#include "consumed_columns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The block that this thread fills: librdkafka calls back inside rd_kafka_consume_batch_queue(). */
static __thread kp_consumed *filled;

int kp_consumed_add_error(kp_consumed *block, kp_consume_error error, const char *text) {
    if (block->error_count == block->error_room) {
        size_t room = block->error_room ? 2 * block->error_room : 8;
        kp_consume_error *grown = realloc(block->errors, room * sizeof(*grown));
        if (!grown)
            return ENOMEM;
        block->errors = grown;
        block->error_room = room;
    }
    error.text = strdup(text);
    if (!error.text)
        return ENOMEM;
    block->errors[block->error_count++] = error;
    return 0;
}

void kp_consumed_drop_errors(kp_consumed *block) {
    while (block->error_count)
        free(block->errors[--block->error_count].text);
}

kp_consumed *kp_consumed_filled(kp_consumed *block) {
    kp_consumed *before = filled;
    filled = block;
    return before;
}

void kp_client_error(rd_kafka_t *rk, int code, const char *text, void *opaque) {
    (void)rk, (void)opaque;
    if (filled)
        kp_consumed_add_error(filled, (kp_consume_error){(rd_kafka_resp_err_t)code, KP_OF_CLIENT, -1, RD_KAFKA_OFFSET_INVALID, NULL},
                              text);
}
