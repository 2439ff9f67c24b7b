/* Consumed columns: records of a consumer's queue, copied once into columns; a block of them is shared by count.
 *
 * One thread fills a block with kp_consume(), without the GIL. From then on it is constant, and any thread may read it,
 * share it and release it: an Arrow array of it holds it too, and is released without the GIL. Nothing of librdkafka's is
 * held by it, but messages of large values where it may keep them: see consumed_kept.h. */
#ifndef KAFKAPP_CONSUMED_COLUMNS_H
#define KAFKAPP_CONSUMED_COLUMNS_H

#include "consumed_kept.h"

/* Bytes, or none, for each row. offsets[0] is 0; NULL: there is no room for a row yet. */
typedef struct {
    int32_t *offsets;
    uint8_t *data;
    uint8_t *validity; /* Arrow's bitmap; NULL: no row is null */
    int64_t nulls;
    size_t room;          /* of data */
    size_t validity_room; /* in bytes */
} kp_bytes_column;

/* A partition, and an offset that is said of it. */
typedef struct {
    int32_t topic, partition; /* topic: index into the block's names */
    int64_t offset;
} kp_place;

typedef struct {
    kp_place *places;
    size_t count, room;
} kp_places;

/* What librdkafka has reported in place of a record. */
typedef struct {
    rd_kafka_resp_err_t code;
    int32_t topic, partition; /* -1: it is about none */
    int64_t offset;           /* RD_KAFKA_OFFSET_INVALID: it may be of a whole topic, whose partition is 0 then */
    char *text;
} kp_consume_error;

#define KP_OF_CLIENT (-2) /* topic of an error that is no outcome of a poll: it goes where the client's errors go */

/* Where the memory of a consumer's blocks waits for the next one: that of one block, of at most 8 MiB. It lives as long
 * as its consumer or one of these blocks. */
typedef struct kp_spare kp_spare;

typedef struct {
    int64_t owners;  /* atomic */
    kp_spare *spare; /* where its memory goes; NULL: it is freed */
    size_t had_room; /* in bytes, of the memory that it has from there; 0: it has fresh memory */
    int unneeded;    /* how many blocks in succession have needed much less */
    /* -- a row for each record */
    size_t count, room;
    int32_t *topics, *partitions, *leader_epochs; /* leader epoch -1: unknown */
    int64_t *offsets, *timestamps;                /* milliseconds; -1: there is none */
    int8_t *timestamp_types;                      /* rd_kafka_timestamp_type_t */
    uint8_t *timestamp_validity;                  /* as that of kp_bytes_column */
    size_t timestamp_validity_room;
    int64_t timestamp_nulls;
    kp_bytes_column keys, values; /* without the values of kept messages: see kp_consumed_values() */
    kp_kept_messages kept;
    /* -- headers: those of row i are header_offsets[i] to header_offsets[i + 1] */
    int with_headers;
    int32_t *header_offsets; /* NULL: without headers */
    size_t header_count, header_room;
    kp_bytes_column header_names, header_values;
    /* -- for the whole block */
    kp_bytes_column names; /* of topics, each once */
    size_t name_count, name_room;
    kp_places ends;      /* the next offset of each partition that has records here */
    int32_t *end_slots;  /* hash of topic and partition to an index in `ends`, -1: none; its size is a power of two */
    size_t end_slot_count, last_end;
    kp_places eofs;      /* partitions whose end was reached after their last record here */
    kp_consume_error *errors;
    size_t error_count, error_room;
    /* Records that were taken from the queue and not copied: where each partition has to be read again. NULL: none. */
    rd_kafka_topic_partition_list_t *refused;
    int discarded; /* set by a rebalance, in the thread that fills: what was taken must not be returned */
} kp_consumed;

/* How much room a block is to have at first. */
typedef struct {
    size_t rows, key_bytes, value_bytes;
} kp_consumed_size;

kp_spare *kp_spare_new(void); /* the caller owns it; NULL: no memory */
void kp_spare_close(kp_spare *spare); /* no memory waits there any more; from any thread */
void kp_spare_release(kp_spare *spare); /* close it; the caller's no longer */

/* A new, empty block that the caller owns; NULL: no memory. `guess`: as the last one had; NULL: none. `spare`: whose memory
 * it has and will leave there; NULL: none. */
kp_consumed *kp_consumed_new(int with_headers, const kp_consumed_size *guess, kp_spare *spare);
kp_consumed *kp_consumed_share(kp_consumed *block);
void kp_consumed_release(kp_consumed *block);

/* Have an empty block keep the messages of large values, within limits. */
void kp_consumed_keep_from(kp_consumed *block, kp_pins *pins, const kp_keeping *keeping);

/* The message that has the value of a row; NULL: the column `values` has it. */
static inline const rd_kafka_message_t *kp_consumed_kept(const kp_consumed *block, size_t row) {
    return row < block->kept.rows ? block->kept.messages[row] : NULL;
}

/* The bytes of a row of a column, in the block's memory; NULL: null. */
static inline const void *kp_bytes_of(const kp_bytes_column *column, size_t row, ssize_t *size) {
    if (column->validity && !(column->validity[row / 8] >> row % 8 & 1)) {
        *size = 0;
        return NULL;
    }
    *size = column->offsets[row + 1] - column->offsets[row];
    return column->data ? column->data + column->offsets[row] : (const void *)"";
}

/* The values as one column, which lives as long as the block: it is made when first asked for, by any thread, if there are
 * kept messages. NULL: no memory. */
const kp_bytes_column *kp_consumed_values(kp_consumed *block);

/* Bytes of keys, values and headers. */
size_t kp_consumed_bytes(const kp_consumed *block);

/* Take records until there are max_records, or max_bytes of data, or the queue is empty. Blocks for at most timeout_ms
 * until there is something, never for more. It may exceed max_bytes by what is taken at a time: that is so much that, by
 * the mean size so far, max_bytes would not be exceeded, and it was in librdkafka's queue. Returns 0, or an errno:
 * ENOMEM, EFBIG for more data than 32-bit offsets can say, or EBADMSG after an error behind which librdkafka has lost its
 * place. The block then has what came before; `refused` says what has to be read again. */
int kp_consume(rd_kafka_queue_t *queue, kp_consumed *block, size_t max_records, size_t max_bytes, int timeout_ms);

/* Add to `refused` what the block has, records and ends of partitions: it will not be returned. */
void kp_consumed_refuse(kp_consumed *block);

/* Whether librdkafka goes on behind what it could not read, or anywhere, after this error of a partition. */
int kp_loses_place(rd_kafka_resp_err_t err);

/* An error, whose text is copied. Returns 0 or ENOMEM. */
int kp_consumed_add_error(kp_consumed *block, kp_consume_error error, const char *text);
void kp_consumed_drop_errors(kp_consumed *block);

/* librdkafka's error_cb: adds to the block that kp_consumed_filled() has named last in the same thread, NULL: none. That
 * returns the one before, to be named again: in a rebalance another consumer may poll. */
void kp_client_error(rd_kafka_t *rk, int code, const char *text, void *opaque);
kp_consumed *kp_consumed_filled(kp_consumed *block);

/* Give memory back that it has room for and does not use, but for 1.5 bytes a row and 2 KiB. `size`: what it has, with a
 * little more. */
void kp_consumed_trim(kp_consumed *block, kp_consumed_size *size);

struct ArrowArray;
struct ArrowSchema;

/* How a column of bytes is exported; the texts only where all of it is UTF-8. */
typedef enum { KP_BINARY, KP_LARGE_BINARY, KP_BINARY_VIEW, KP_TEXT, KP_LARGE_TEXT, KP_TEXT_VIEW } kp_bytes_format;

typedef struct {
    kp_bytes_format key, value, header_value;
} kp_consumed_formats;

/* The formats that a schema asks for, of those that there are; KP_BINARY for all others. */
kp_consumed_formats kp_consumed_requested(const struct ArrowSchema *requested);

/* The first row that is not UTF-8; -1: there is none. */
int64_t kp_consumed_not_utf8(const kp_bytes_column *column, size_t rows);

/* Export it by the Arrow C data interface: a struct array. Returns an errno, or 0; `schema` or `array` may be NULL. Each
 * child holds the block, and may be moved out; release() may run on any thread. */
int kp_consumed_export(kp_consumed *block, kp_consumed_formats formats, struct ArrowSchema *schema, struct ArrowArray *array);

#endif
