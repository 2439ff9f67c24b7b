/* csrc/consumed_columns.c over a made-up librdkafka: memory that ends, columns that are full; nothing is lost or leaked.
 *
 * tests/native/test_consumed_columns.py compiles it, with the address sanitizer. Each round fills a block while one
 * allocation fails, or columns hold little, and checks that every record is in the block or in what is to be read again.
 * In a third of the rounds values of 200 bytes and more stay in their messages. With an argument threads hold the blocks
 * and release them in any order, while the next ones are filled: for the thread sanitizer.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_BYTES 60000
#undef INT32_MAX
#define INT32_MAX COLUMN_BYTES
#include "../../csrc/consumed_block.c"
#include "../../csrc/consumed_spare.c"
#include "../../csrc/consumed_columns.c"
#include "../../csrc/consumed_errors.c"
#include "../../csrc/consumed_kept.c"
#include "../../csrc/forks.c"
#undef INT32_MAX
#define INT32_MAX 2147483647

#define RECORDS 2500
#define CHECK(good) ((good) ? (void)0 : (printf("round %d, line %d: %s\n", round_number, __LINE__, #good), exit(1)))

static int round_number, allocations, failing;
static int next_record, alive, detached;
static kp_pins *pins; /* NULL: no message is kept */
static int turn = 7, partitions = 5;
static char topics[2][8] = {"first", "second"};
static char payload[300];

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size) {
    return __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) == failing ? NULL : __real_realloc(old, size);
}

/* -- librdkafka: records by turns, mostly of seven, in the partitions of two topics; every 400th is an error, or an end ------- */

static int kind(int number) {
    return number % 400 == 399 ? RD_KAFKA_RESP_ERR__PARTITION_EOF
                               : number % 400 == 199 ? RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET : RD_KAFKA_RESP_ERR_NO_ERROR;
}

static int partition_of(int number) {
    return number / turn % partitions;
}

static rd_kafka_timestamp_type_t type_of(int number) {
    return number % 11 == 0 ? RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
                            : number % 2 ? RD_KAFKA_TIMESTAMP_CREATE_TIME : RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
}

ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *queue, int timeout_ms, rd_kafka_message_t **messages, size_t size) {
    size_t taken;
    (void)queue, (void)timeout_ms;
    for (taken = 0; taken < size && next_record < RECORDS; taken++, next_record++) {
        rd_kafka_message_t *message = calloc(1, sizeof(*message));
        message->err = kind(next_record);
        message->rkt = (rd_kafka_topic_t *)topics[next_record / 7 % 2];
        message->partition = partition_of(next_record);
        message->offset = next_record;
        message->payload = next_record % 3 ? payload : NULL;
        message->len = next_record % 3 ? (size_t)(next_record % 300) : 0;
        message->key = next_record % 2 ? payload : NULL;
        message->key_len = next_record % 2 ? 3 : 0;
        __atomic_fetch_add(&alive, 1, __ATOMIC_RELAXED);
        messages[taken] = message;
    }
    return (ssize_t)taken;
}

void rd_kafka_message_destroy(rd_kafka_message_t *message) {
    __atomic_fetch_sub(&alive, 1, __ATOMIC_RELAXED);
    free(message);
}

const char *rd_kafka_topic_name(const rd_kafka_topic_t *rkt) {
    return (const char *)rkt;
}

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *message, rd_kafka_timestamp_type_t *type) {
    *type = type_of((int)message->offset);
    return message->offset % 11 ? message->offset : -1;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *message, rd_kafka_headers_t **headers) {
    *headers = (rd_kafka_headers_t *)(uintptr_t)(message->offset % 4);
    return *headers ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__NOENT;
}

size_t rd_kafka_header_cnt(const rd_kafka_headers_t *headers) {
    return (size_t)(uintptr_t)headers;
}

rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *headers, size_t at, const char **name,
                                            const void **value, size_t *size) {
    (void)headers;
    *name = at == 2 ? "\xC3\xA9\xFF\xED\xA0" : "name"; /* two whole bytes, three that are no UTF-8 */
    *value = at ? NULL : "x";
    *size = at ? 0 : 1;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t rd_kafka_message_detach_headers(rd_kafka_message_t *message, rd_kafka_headers_t **headers) {
    rd_kafka_resp_err_t err = rd_kafka_message_headers(message, headers);
    detached += !err;
    return err;
}

void rd_kafka_headers_destroy(rd_kafka_headers_t *headers) {
    (void)headers;
    detached--;
}

const char *rd_kafka_message_errstr(const rd_kafka_message_t *message) {
    (void)message;
    return "what is wrong";
}

rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int size) {
    rd_kafka_topic_partition_list_t *list = calloc(1, sizeof(*list));
    (void)size;
    list->elems = calloc(2 * RECORDS, sizeof(*list->elems));
    return list;
}

void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *list) {
    free(list->elems);
    free(list);
}

rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_find(const rd_kafka_topic_partition_list_t *list,
                                                               const char *topic, int32_t partition) {
    int i;
    for (i = 0; i < list->cnt; i++)
        if (!strcmp(list->elems[i].topic, topic) && list->elems[i].partition == partition)
            return &list->elems[i];
    return NULL;
}

rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *list, const char *topic,
                                                              int32_t partition) {
    rd_kafka_topic_partition_t *added = &list->elems[list->cnt++];
    added->topic = topics[!strcmp(topic, topics[1])];
    added->partition = partition;
    return added;
}

/* -- the rounds ------------------------------------------------------------------------------------------------------ */

static int is_valid(const uint8_t *validity, size_t row) {
    return !validity || validity[row / 8] >> row % 8 & 1;
}

static void check_record(const kp_consumed *block, size_t row) {
    const rd_kafka_message_t *kept = kp_consumed_kept(block, row);
    int number = (int)block->offsets[row], size = kept ? (int)kept->len : block->values.offsets[row + 1] - block->values.offsets[row];
    const char *name = topics[number / 7 % 2];
    size_t begin = (size_t)block->names.offsets[block->topics[row]];
    CHECK(!memcmp(block->names.data + begin, name, strlen(name)));
    CHECK(block->partitions[row] == partition_of(number) && block->leader_epochs[row] == -1);
    CHECK(size == (number % 3 ? number % 300 : 0) && is_valid(block->values.validity, row) == (number % 3 != 0));
    CHECK(is_valid(block->keys.validity, row) == (number % 2 != 0));
    CHECK(is_valid(block->timestamp_validity, row) == (number % 11 != 0) && block->timestamp_types[row] == (int8_t)type_of(number));
    if (block->with_headers) {
        int32_t first = block->header_offsets[row], count = block->header_offsets[row + 1] - first, at;
        CHECK(count == number % 4);
        for (at = 0; at < count; at++) {
            const char *wanted = at == 2 ? "\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" : "name";
            size_t begin = (size_t)block->header_names.offsets[first + at], end = (size_t)block->header_names.offsets[first + at + 1];
            CHECK(end - begin == strlen(wanted) && !memcmp(block->header_names.data + begin, wanted, end - begin));
        }
    }
}

/* The values as one column, as if each had been copied. */
static void check_whole(kp_consumed *block) {
    const kp_bytes_column *whole = kp_consumed_values(block);
    size_t row;
    if (!whole && failing) /* this allocation has failed; the next one does not */
        whole = kp_consumed_values(block);
    CHECK(whole && whole == kp_consumed_values(block) && (pins || whole == &block->values));
    CHECK(whole->nulls == block->values.nulls && whole->validity == block->values.validity);
    for (row = 0; row < block->count; row++) {
        int number = (int)block->offsets[row], size = number % 3 ? number % 300 : 0;
        CHECK(whole->offsets[row + 1] - whole->offsets[row] == size);
        CHECK(!size || !memcmp(whole->data + whole->offsets[row], payload, (size_t)size));
    }
}

/* Whether a record that is not in the block is in what has to be read again. */
static int is_refused(const kp_consumed *block, int number) {
    const rd_kafka_topic_partition_t *found =
        block->refused ? rd_kafka_topic_partition_list_find(block->refused, topics[number / 7 % 2], partition_of(number))
                       : NULL;
    return found && found->offset <= number;
}

static void check_block(const kp_consumed *block, int first) {
    static char copied[RECORDS];
    int64_t null_keys = 0, null_values = 0;
    size_t row, end;
    int number;
    memset(copied, 0, sizeof(copied));
    CHECK(block->values.offsets[block->count] <= COLUMN_BYTES && block->keys.offsets[block->count] <= COLUMN_BYTES);
    for (row = 0; row < block->count; row++) {
        check_record(block, row);
        copied[block->offsets[row]] = 1;
        null_keys += !is_valid(block->keys.validity, row);
        null_values += !is_valid(block->values.validity, row);
    }
    CHECK(null_keys == block->keys.nulls && null_values == block->values.nulls);
    for (number = first; number < next_record; number++)
        CHECK(kind(number) || copied[number] != is_refused(block, number));
    for (end = 0; end < block->ends.count; end++)
        CHECK(block->ends.places[end].offset > 0 && copied[block->ends.places[end].offset - 1]);
}

/* What a block that is held may have room for, beside what it holds: the contract, and the bitmaps. */
static void check_room(const kp_consumed *block) {
    size_t row = block->with_headers ? 44 : 40;
    if (failing)
        return;
    CHECK(kp_block_room(block) <= kp_consumed_bytes(block) - block->kept.bytes + row * block->count + 8 * block->header_count + 4096);
    CHECK(block->keys.validity_room <= block->room / 8 + 1 && block->values.validity_room <= block->room / 8 + 1);
}

/* Of keys and values, up to the last kept message. */
static size_t bytes_until_kept(const kp_consumed *block) {
    size_t rows = block->kept.rows;
    return (size_t)block->keys.offsets[rows] + (size_t)block->values.offsets[rows] + block->kept.bytes;
}

/* Read all records in blocks, each with the memory of the one before the last, as long as that is free: the last is held
 * over the next, every fourth to the end. Returns how many allocations that took. */
static int read_all(int with_headers, size_t max_records, size_t max_bytes, int64_t limit) {
    kp_consumed_size guess = {0, 0, 0};
    kp_consumed *held[RECORDS] = {NULL};
    kp_spare *spare = kp_spare_new();
    int failed = 0, blocks = 0, at;
    next_record = allocations = 0;
    while (next_record < RECORDS) {
        int first = next_record, failure = ENOMEM, before = alive;
        kp_consumed *block = kp_consumed_new(with_headers, &guess, spare);
        if (block) {
            if (pins)
                kp_consumed_keep_from(block, pins, &(kp_keeping){200, limit, 1000});
            failure = kp_consume(NULL, block, max_records, max_bytes, 0);
            kp_consumed_trim(block, &guess);
            CHECK(alive == before + (int)block->kept.count && !detached && (pins || !alive));
            CHECK(block->count + block->error_count + block->eofs.count <= max_records + max_records / 100 + 1);
            check_block(block, first);
            CHECK(alive == before || kp_pinned_bytes(pins) >= 1000 + (int64_t)bytes_until_kept(block) + 320 * alive);
            CHECK(!pins || kp_pinned_bytes(pins) <= limit);
            if (pins || !failing)
                check_whole(block);
            kp_consumed_refuse(block);
            for (; first < next_record; first++)
                CHECK(kind(first) == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || is_refused(block, first) ||
                      (kind(first) && failure));
            check_room(block);
            CHECK(kp_consumed_share(block) == block);
            kp_consumed_release(block);
            held[blocks] = block;
            if (blocks && (blocks - 1) % 4) {
                kp_consumed_release(held[blocks - 1]);
                held[blocks - 1] = NULL;
            }
            blocks++;
        }
        failed += failure != 0;
        if (failure == EFBIG)
            CHECK(max_bytes > COLUMN_BYTES / 2);
    }
    CHECK(failed <= (failing > 0) || max_bytes > COLUMN_BYTES / 2);
    for (at = 0; at < blocks; at++)
        if (held[at]) {
            size_t row;
            for (row = 0; row < held[at]->count; row++)
                check_record(held[at], row);
            if (at == blocks / 2)
                kp_spare_close(spare);
            kp_consumed_release(held[at]);
        }
    kp_spare_release(spare);
    CHECK(!alive && (!pins || !kp_pinned_bytes(pins)));
    return allocations;
}

/* -- threads --------------------------------------------------------------------------------------------------------- */

enum { HOLDERS = 3, ROUNDS = 40 };

static kp_consumed *slots[HOLDERS], stop; /* what a holder is to take next */

static void give(kp_consumed **slot, kp_consumed *block) {
    while (__atomic_load_n(slot, __ATOMIC_ACQUIRE))
        sched_yield();
    __atomic_store_n(slot, block, __ATOMIC_RELEASE);
}

static void *hold(void *slot) {
    kp_consumed *block, *before = NULL;
    while ((block = __atomic_exchange_n((kp_consumed **)slot, NULL, __ATOMIC_ACQ_REL)) != &stop) {
        size_t row;
        if (!block) {
            sched_yield();
            continue;
        }
        for (row = 0; row < block->count; row += 7)
            check_record(block, row);
        check_whole(block);
        if (before)
            kp_consumed_release(before);
        before = block;
    }
    if (before)
        kp_consumed_release(before);
    return NULL;
}

/* Read all records as read_all() does, in blocks that the holders have too; some come back when the consumer is closed. */
static void read_for_holders(void) {
    kp_consumed_size guess = {0, 0, 0};
    kp_spare *spare = kp_spare_new();
    int at;
    for (next_record = 0; next_record < RECORDS;) {
        kp_consumed *block = kp_consumed_new(1, &guess, spare);
        kp_consumed_keep_from(block, pins, &(kp_keeping){200, 1 << 20, 1000});
        CHECK(!kp_consume(NULL, block, 100, 20000, 0));
        kp_consumed_trim(block, &guess);
        CHECK(kp_pinned_bytes(pins) <= 1 << 20);
        for (at = 0; at < HOLDERS; at++)
            give(&slots[at], kp_consumed_share(block));
        kp_consumed_release(block);
    }
    kp_spare_close(spare);
    kp_spare_release(spare);
}

static void run_holders(void) {
    pthread_t holders[HOLDERS];
    int at;
    pins = kp_pins_new();
    for (at = 0; at < HOLDERS; at++)
        pthread_create(&holders[at], NULL, hold, &slots[at]);
    for (round_number = 0; round_number < ROUNDS; round_number++)
        read_for_holders();
    for (at = 0; at < HOLDERS; at++)
        give(&slots[at], &stop);
    for (at = 0; at < HOLDERS; at++)
        pthread_join(holders[at], NULL);
    CHECK(!alive && !kp_pinned_bytes(pins));
    kp_pins_release(pins);
}

int main(int argc, char **argv) {
    int round_kind, last;
    (void)argv;
    for (last = 0; last < (int)sizeof(payload); last++)
        payload[last] = (char)last;
    if (argc > 1) {
        run_holders();
        puts("good");
        return 0;
    }
    for (round_kind = 0; round_kind < 3; round_kind++) { /* without headers, with them, with kept messages too */
        int with_headers = round_kind > 0;
        pins = round_kind < 2 ? NULL : kp_pins_new();
        failing = 0;
        last = read_all(with_headers, 700, 20000, 1 << 20);
        for (round_number = failing = 1; failing <= last; round_number = ++failing)
            read_all(with_headers, 700, 20000, 1 << 20);
        failing = 0;
        read_all(with_headers, RECORDS, 1u << 30, INT64_MAX); /* more than the columns can hold */
        read_all(with_headers, RECORDS, 1u << 30, 20000); /* and than may be kept */
        read_all(with_headers, 1, 1, 1 << 20);
        turn = 1, partitions = RECORDS; /* what there is no room for is the first record of its partition */
        read_all(with_headers, RECORDS, 1u << 30, INT64_MAX);
        turn = 7, partitions = 5;
        if (pins)
            kp_pins_release(pins);
    }
    puts("good");
    return 0;
}
