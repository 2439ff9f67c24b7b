/* Kept messages: of large values a block holds librdkafka's message in place of a copy, and destroys it with itself.
 *
 * librdkafka frees what it has fetched by whole responses, of which one record is enough to hold all. kp_pins counts what
 * the blocks of one consumer hold so, at most; it outlives the consumer. Included by consumed_columns.h. */
#ifndef KAFKAPP_CONSUMED_KEPT_H
#define KAFKAPP_CONSUMED_KEPT_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

typedef struct kp_pins kp_pins;

/* New pins that the caller owns; NULL: no memory. */
kp_pins *kp_pins_new(void);
kp_pins *kp_pins_share(kp_pins *pins);
void kp_pins_release(kp_pins *pins);

/* What the blocks hold now; 0: not one of them has a message. */
int64_t kp_pinned_bytes(const kp_pins *pins);

/* What a block may keep. */
typedef struct {
    size_t least;    /* values of so many bytes, at least 1; SIZE_MAX: none */
    int64_t limit;   /* while all blocks together hold no more bytes than this */
    int64_t around;  /* bytes of the responses at both its ends, which other blocks, or the queue, hold too */
} kp_keeping;

/* The part of a block that is about its messages. */
typedef struct {
    kp_pins *pins; /* owned share; NULL: it may keep none */
    kp_keeping keeping;
    rd_kafka_message_t **messages; /* by row; NULL: copied */
    size_t rows, room;             /* `rows`: up to the last one with a message */
    size_t bytes;                  /* of their values */
    size_t count;
    int64_t held, asked;           /* what it holds at most: rows behind the last message lie in that one's response, which is
                                    * counted, or are not held; and what it would with the message that was asked about */
    int64_t counted;               /* in the pins */
    int forks;                     /* of the process that took them */
    void *whole;                   /* atomic: the values as one column, once somebody has asked for it */
} kp_kept_messages;

#endif
