/* Stress of csrc/ under sanitizers, without Python: senders, batches of every kind, dispatcher threads, threads that
 * keep or report the events of an idle client, and flushes against each other.
 *
 * tests/support/sanitize.py builds and runs it: `stress-KIND [seed [rounds]]`. A mutex stands for the GIL, so
 * that what the GIL guards is guarded here too, and all that runs without it is seen; stress_nogil.h takes that away.
 * Ends with 0 when every accepted record and batch had exactly one outcome and nothing is held.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "destroy.h"
#include "headers.h"
#include "produce.h"

#define SENDERS 4
#define POLLERS 2
#define ITEMS 60
#define MANY (KP_SLOTS + 100) /* batches: more than a chunk of slots */

#ifdef Py_GIL_DISABLED
#define GIL_TAKE() ((void)0)
#define GIL_GIVE() ((void)0)
#define COUNT(place, n) __atomic_fetch_add(&(place), (n), __ATOMIC_SEQ_CST)
#else
static pthread_mutex_t gil = PTHREAD_MUTEX_INITIALIZER;
#define GIL_TAKE() pthread_mutex_lock(&gil)
#define GIL_GIVE() pthread_mutex_unlock(&gil)
#define COUNT(place, n) ((place) += (n))
#endif

static kp_dispatcher dispatcher;
static kp_deliveries d;
static rd_kafka_t *rk;
static rd_kafka_topic_t *rkt;
static int rounds = 300, polling;
static enum { SERVES, TELLS, KEEPS } how_served; /* what the client's thread does, see dispatcher.h */
static PyObject target = {.ob_refcnt = 1}, topic = {.ob_refcnt = 1};
static struct { /* with the GIL */
    int64_t accepted, completed, refused, plain, batches, begun, empty, items, others, finished, kept, wrong;
} books;

int ends(unsigned seed, int rounds); /* stress_destroy.c */

/* -- what kafkapp/producer/delivery.pyx does with a round ------------------------------------------------- */

static void complete_batch(kp_batch *batch) {
    int64_t i;
    kp_epoch *epoch = batch->epoch;
    for (i = 0; i < batch->count; i++) {
        COUNT(books.wrong, batch->errors[i] == RD_KAFKA_RESP_ERR__IN_PROGRESS);
        COUNT(books.wrong, batch->errors[i] == 0 && batch->partitions[i] < 0);
    }
    kp_slot_release(&d, batch);
    kp_batch_reported(&d, epoch);
    kp_batch_free(batch);
    COUNT(books.batches, 1);
}

static void complete(void) {
    size_t i;
    GIL_TAKE();
    for (i = 0; i < d.report_count; i++) {
        const kp_report *report = &d.reports[i];
        kp_delivery *delivery = report->delivery;
        if (delivery) {
            kp_epoch *epoch = kp_epoch_at(&d, delivery->epoch);
            COUNT(books.wrong, delivery->target != &target || !delivery->in_use);
            COUNT(books.wrong, report->topic != &topic || report->message->_private != delivery);
            kp_delivery_release(&d, delivery);
            kp_reported(epoch, 1);
            COUNT(books.completed, 1);
        } else {
            complete_batch(report->batch);
        }
    }
    COUNT(books.others, (int64_t)dispatcher.other_event_count);
    GIL_GIVE();
    kp_round_end(&dispatcher);
}

static void *serve(void *unused) {
    while (kp_drain_rounds(&dispatcher, 1000))
        complete();
    return unused;
}

static void *tell(void *unused) {
    rd_kafka_event_t *event;
    int what;
    while ((what = kp_drain_when_idle(&dispatcher, 1000))) {
        if (what == KP_ROUND_DRAINED)
            complete();
        else
            while ((event = kp_kept_next(&dispatcher)))
                rd_kafka_event_destroy(event);
        GIL_TAKE();
        COUNT(books.wrong, kp_dropped_lines(&dispatcher) != 0);
        GIL_GIVE();
    }
    return unused;
}

/* Another that would serve, as a flush of a producer with EventsPollingOption.Manual. Where no thread serves all the time,
 * this one does not either: the client is to be idle. */
static void *poll(void *number) {
    unsigned seed = (unsigned)(uintptr_t)number;
    int64_t reported = 0, seen;
    while (__atomic_load_n(&polling, __ATOMIC_SEQ_CST)) {
        seen = kp_rounds(&dispatcher);
        if (kp_drain_round(&dispatcher, seen, 5, 20, &reported))
            complete();
        else
            kp_wait_round(&dispatcher, seen, 1);
        if (how_served != SERVES && rand_r(&seed) % 8 == 0)
            usleep(10000);
    }
    return NULL;
}

/* A client is idle here after two milliseconds: csrc/kept.c has no other wait. */
void __real_kp_deadline_in(struct timespec *when, int timeout_ms);
void __wrap_kp_deadline_in(struct timespec *when, int timeout_ms) {
    __real_kp_deadline_in(when, timeout_ms > 2 ? 2 : timeout_ms);
}

rd_kafka_event_t *__real_kp_kept_next(kp_dispatcher *of);
rd_kafka_event_t *__wrap_kp_kept_next(kp_dispatcher *of) {
    rd_kafka_event_t *event = __real_kp_kept_next(of);
    if (event)
        __atomic_fetch_add(&books.kept, 1, __ATOMIC_SEQ_CST);
    return event;
}

/* -- senders --------------------------------------------------------------------------------------- */

static rd_kafka_headers_t *some_headers(void) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    rd_kafka_header_add(headers, "name", -1, "value", 5);
    return headers;
}

static int32_t some_partition(unsigned *seed) {
    int n = rand_r(seed) % 20;
    return n == 0 ? 77 : n < 10 ? n % 4 : RD_KAFKA_PARTITION_UA; /* 77: there is none */
}

static void send_record(unsigned *seed) {
    kp_record record = {.value = "value", .size = 5};
    int how = rand_r(seed) % 16, plain = how & 1;
    kp_epoch *epoch;
    kp_delivery *delivery = NULL;
    record.partition = some_partition(seed);
    record.flags = how & 2 ? RD_KAFKA_MSG_F_COPY : 0;
    if (how & 4)
        record.key = "key", record.key_size = 3;
    if (how & 8)
        record.headers = some_headers(), record.timestamp = how & 4 ? 1700000000000 : 0;
    GIL_TAKE();
    kp_enter(&d);
    epoch = kp_record_begin(&d);
    if (!plain) {
        delivery = kp_delivery_new(&d);
        delivery->epoch = epoch->index;
        delivery->target = &target;
    }
    if (kp_produce(rk, rkt, &record, plain ? KP_PLAIN(epoch) : delivery)) {
        kp_record_abandon(epoch);
        if (record.headers)
            rd_kafka_headers_destroy(record.headers);
        if (delivery)
            kp_delivery_release(&d, delivery);
        COUNT(books.refused, 1);
    } else if (plain) {
        COUNT(books.plain, 1);
    } else {
        COUNT(books.accepted, 1);
    }
    kp_leave(&d);
    GIL_GIVE();
}

/* Memory that a column may be made from: for each kind the i-th value is five bytes of `text`. */
static struct {
    char text[ITEMS * 5];
    kp_span spans[ITEMS];
    int32_t offsets32[ITEMS + 1], views[ITEMS * 4];
    int64_t offsets64[ITEMS + 1], sizes[1];
    const void *buffers[1];
    uint8_t valid[ITEMS / 8 + 1];
} columns;

/* A user's numbers need not be aligned: UndefinedBehaviorSanitizer's build says whether they are read rightly. */
static struct __attribute__((packed)) {
    char odd;
    int32_t partitions[ITEMS];
    int64_t timestamps[ITEMS];
} uneven;

static void fill_columns(void) {
    int i;
    memset(columns.text, 'v', sizeof(columns.text));
    memset(columns.valid, 0xAF, sizeof(columns.valid));
    columns.buffers[0] = columns.text;
    columns.sizes[0] = sizeof(columns.text);
    for (i = 0; i < ITEMS; i++) {
        columns.spans[i].data = columns.text + 5 * i;
        columns.spans[i].size = 5;
        columns.views[4 * i] = i % 2 ? 5 : 13; /* short: here; long: in the buffer */
        uneven.partitions[i] = i / 7 % 4;
        uneven.timestamps[i] = 1700000000000 + i;
    }
    for (i = 0; i <= ITEMS; i++)
        columns.offsets32[i] = 5 * i, columns.offsets64[i] = 5 * i;
}

static void some_column(kp_column *column, unsigned *seed) {
    column->kind = (kp_column_kind)(rand_r(seed) % (KP_VIEWS + 1));
    column->data = columns.text;
    column->size = column->kind == KP_ONE ? 5 : (int64_t)sizeof(columns.text);
    column->spans = columns.spans;
    column->offsets = column->kind == KP_VIEWS       ? (const void *)columns.views
                      : column->kind == KP_OFFSETS32 ? (const void *)columns.offsets32
                                                     : columns.offsets64;
    column->width = 5;
    column->buffers = columns.buffers;
    column->buffer_sizes = columns.sizes;
    column->buffer_count = 1;
    column->valid = rand_r(seed) % 3 ? NULL : columns.valid;
    COUNT(books.wrong, kp_column_check(column, ITEMS) != -1);
}

static void end_sending(kp_batch *batch, int64_t accepted) {
    COUNT(books.items, accepted);
    if (!kp_batch_sent(batch, batch->count - accepted))
        return;
    if (accepted) {
        COUNT(books.finished, 1);
        kp_finish(&d, batch);
        return;
    }
    kp_slot_release(&d, batch);
    kp_batch_abandon(&d, batch);
    kp_batch_free(batch);
    COUNT(books.empty, 1);
}

static void send_batch(PyObject *owner, unsigned *seed) {
    kp_records records;
    kp_headers headers = {.all = NULL};
    kp_batch *batch = kp_batch_new(ITEMS);
    int64_t accepted = 0, index = 0, seen, i, failed = 0;
    int tries = rand_r(seed) % 4;
    memset(&records, 0, sizeof(records));
    GIL_TAKE();
    some_column(&records.values, seed);
    some_column(&records.keys, seed);
    records.partition = some_partition(seed);
    records.flags = rand_r(seed) % 2 ? RD_KAFKA_MSG_F_COPY : 0;
    records.partitions = rand_r(seed) % 3 ? NULL : &uneven.partitions;
    records.timestamps = rand_r(seed) % 6 ? NULL : &uneven.timestamps;
    headers.all = rand_r(seed) % 6 ? NULL : some_headers();
    records.headers = headers.all ? &headers : NULL;
    kp_enter(&d);
    kp_batch_begin(&d, batch);
    kp_slot_acquire(&d, batch, owner);
    COUNT(books.begun, 1);
    GIL_GIVE();
    for (;;) {
        seen = kp_rounds(&dispatcher);
        index = kp_batch_send(rk, rkt, &d, batch, &records, index, &accepted);
        if (index == ITEMS || !tries--)
            break;
        kp_wait_round(&dispatcher, seen, 5);
    }
    if (rand_r(seed) % 4 == 0) /* a sender that is held up: its batch's reports are all there before it ends */
        kp_wait_round(&dispatcher, kp_rounds(&dispatcher), 3), usleep(2000);
    GIL_TAKE();
    for (i = 0; i < ITEMS; i++) /* what Batch.failures() reads while reports come in */
        failed += KP_READ(batch->errors[i]) != 0;
    for (i = index; i < ITEMS; i++)
        batch->errors[i] = RD_KAFKA_RESP_ERR__QUEUE_FULL;
    COUNT(books.wrong, failed < ITEMS - index);
    end_sending(batch, accepted);
    kp_leave(&d);
    GIL_GIVE();
    if (headers.all)
        rd_kafka_headers_destroy(headers.all);
}

/* So many batches at once that the slots get another chunk, while the dispatcher thread reads them. */
static void many_batches(PyObject *owner) {
    static kp_batch *batches[SENDERS][MANY];
    kp_batch **mine = batches[owner->ob_refcnt % SENDERS];
    int i;
    GIL_TAKE();
    for (i = 0; i < MANY; i++) {
        mine[i] = kp_batch_new(1);
        kp_slot_acquire(&d, mine[i], owner);
    }
    GIL_GIVE();
    GIL_TAKE();
    for (i = 0; i < MANY; i++) {
        kp_slot_release(&d, mine[i]);
        kp_batch_free(mine[i]);
    }
    GIL_GIVE();
}

/* -- the others ------------------------------------------------------------------------------------ */

static void flush(void) {
    int64_t epoch, seen;
    GIL_TAKE();
    kp_enter(&d);
    epoch = kp_epoch_close(&d);
    GIL_GIVE();
    while (!kp_epoch_done(&d, epoch)) {
        seen = kp_rounds(&dispatcher);
        rd_kafka_flush(rk, 10);
        if (!kp_epoch_done(&d, epoch))
            kp_wait_round(&dispatcher, seen, 10);
    }
    GIL_TAKE();
    kp_leave(&d);
    GIL_GIVE();
}

/* One whose timeout expires at once. */
static void give_up_flush(void) {
    int64_t epoch;
    GIL_TAKE();
    epoch = kp_epoch_close(&d);
    GIL_GIVE();
    kp_epoch_done(&d, epoch);
}

static int count_object(PyObject *object, void *count) {
    (void)object;
    ++*(int64_t *)count;
    return 0;
}

/* What the garbage collector does; without a GIL it stops all threads, which there are none of to stop here. */
static void visit(void) {
#ifndef Py_GIL_DISABLED
    int64_t count = 0;
    GIL_TAKE();
    kp_deliveries_visit(&d, count_object, &count);
    books.wrong += count < d.states_allocated - d.states_free;
    GIL_GIVE();
#else
    (void)count_object;
#endif
}

/* As close() does while it waits, without the GIL. */
static void ask(void) {
    int negative = kp_outstanding(&d) < 0;
    GIL_TAKE();
    COUNT(books.wrong, negative);
    GIL_GIVE();
}

static void *run(void *number) {
    unsigned seed = (unsigned)(uintptr_t)number;
    PyObject owner = {.ob_refcnt = 1};
    int i;
    for (i = 0; i < rounds; i++) {
        int what = rand_r(&seed) % 100;
        if (what < 55)
            send_record(&seed);
        else if (what < 85)
            send_batch(&owner, &seed);
        else if (what < 88)
            flush();
        else if (what < 90)
            give_up_flush();
        else if (what < 93)
            visit();
        else if (what < 96)
            ask();
        else if (what < 98)
            kp_wake(&dispatcher);
        else if (rand_r(&seed) % 4)
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
    return NULL;
}

/* A round ends after its result was found missing and before the wait for it begins: the wait must not begin. Without
 * `seen` it would last its whole second, as the thread that serves, which is made up, ends no other. */
static int wakes(void) {
    struct timespec from, to;
    int64_t reported = 0, seen = kp_rounds(&dispatcher);
    dispatcher.round_open = 1;
    kp_wake(&dispatcher);
    clock_gettime(CLOCK_MONOTONIC, &from);
    kp_drain_round(&dispatcher, seen, 1000, 1000, &reported);
    dispatcher.round_open = 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 500;
}

/* A batch is finished between a poll that has found an event and the one for the next, which takes its wake-up: it ends in
 * that round, for no poll to come is woken by it. The event is one of the client's statistics. */
static kp_batch *to_finish;

rd_kafka_event_t *__real_rd_kafka_queue_poll(rd_kafka_queue_t *queue, int timeout_ms);
rd_kafka_event_t *__wrap_rd_kafka_queue_poll(rd_kafka_queue_t *queue, int timeout_ms) {
    if (to_finish && timeout_ms == 0) {
        kp_finish(&d, to_finish);
        to_finish = NULL;
    }
    return __real_rd_kafka_queue_poll(queue, timeout_ms);
}

static int finishes(void) {
    kp_batch batch = {.remaining = 0};
    int64_t reported = 0;
    int ended;
    to_finish = &batch;
    while (to_finish) {
        kp_drain_round(&dispatcher, kp_rounds(&dispatcher), 1000, 1000, &reported);
        if (to_finish)
            kp_round_end(&dispatcher);
    }
    ended = d.report_count == 1 && d.reports[0].batch == &batch;
    kp_round_end(&dispatcher);
    return ended;
}

/* Without memory each call says so, has changed nothing, and goes on when there is some. Before anything else is in the pool. */
static __thread int no_memory;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size) {
    return no_memory ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return no_memory ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return no_memory ? NULL : __real_realloc(old, size);
}

/* Nobody waits for memory with the lock: what has no room is counted without its topic. */
static int counts_losses_without_memory(void) {
    kp_loss loss[3] = {{NULL, 0}};
    int topic, good;
    kp_loss_add(&d, &topic, 1); /* does not count: not begun */
    kp_losses_begin(&d);
    kp_loss_add(&d, &topic, 3);
    kp_loss_add(&d, NULL, 4);
    good = kp_loss_at(&d, 0, &loss[0]) && !loss[0].topic && loss[0].count == 7 && !kp_loss_at(&d, 1, &loss[1]);
    no_memory = 0;
    kp_loss_add(&d, &topic, 5);
    good &= kp_loss_at(&d, 0, &loss[0]) && loss[0].topic == &topic && loss[0].count == 5;
    good &= kp_loss_at(&d, 1, &loss[1]) && !loss[1].topic && loss[1].count == 7 && !kp_loss_at(&d, 2, &loss[2]);
    kp_losses_end(&d);
    kp_loss_add(&d, &topic, 1);
    no_memory = 1;
    return good && !kp_loss_at(&d, 0, &loss[0]);
}

static int without_memory(void) {
    PyObject owner = {.ob_refcnt = 1};
    kp_epoch *sent[2 * KP_FIRST_EPOCHS];
    kp_delivery *delivery;
    kp_batch *batch;
    int64_t mark, epoch = d.epoch_number;
    uint32_t slot = 0;
    int i, good;
    no_memory = 1;
    good = !kp_delivery_new(&d) && !kp_batch_new(5);
    for (i = 0; i < 2 * KP_FIRST_EPOCHS; i++) {
        sent[i] = kp_record_begin(&d);
        mark = kp_epoch_close(&d);
        good &= mark == (d.epoch_number > epoch ? d.epoch_number - 1 : d.epoch_number) && !kp_epoch_done(&d, mark); /* waits for all, if not for less */
        epoch = d.epoch_number;
    }
    no_memory = 0;
    good &= kp_epoch_close(&d) == epoch && d.epoch_number == epoch + 1;
    for (i = 0; i < 2 * KP_FIRST_EPOCHS; i++)
        kp_reported(sent[i], 1);
    good &= kp_epoch_done(&d, d.epoch_number) && kp_outstanding(&d) == 0;
    batch = kp_batch_new(5);
    no_memory = 1;
    good &= !kp_slot_acquire(&d, batch, &owner) && owner.ob_refcnt == 1 && !kp_slot_in_use(&d, &slot);
    good &= counts_losses_without_memory();
    no_memory = 0;
    good &= kp_slot_acquire(&d, batch, &owner) && kp_slot_in_use(&d, &slot) == batch;
    kp_slot_release(&d, batch);
    kp_batch_free(batch);
    delivery = kp_delivery_new(&d);
    kp_delivery_release(&d, delivery);
    return good && d.states_allocated == d.states_free;
}

/* A thousand flushes that have timed out: each knows its own records, and the next does not wait for what is sent after it.
 * Then as many for one record that is never reported, of others that are: epochs are used again. */
#define FLUSHES 1000
static int epochs(void) {
    kp_epoch *sent[FLUSHES], *stuck, *later;
    int64_t marks[FLUSHES];
    uint32_t made;
    int i;
    for (i = 0; i < FLUSHES; i++) {
        sent[i] = kp_record_begin(&d);
        marks[i] = kp_epoch_close(&d);
        if (kp_epoch_close(&d) != marks[i] || kp_epoch_done(&d, marks[i]))
            return 0;
    }
    later = kp_record_begin(&d);
    for (i = FLUSHES - 1; i > 0; i--)
        kp_reported(sent[i], 1);
    if (kp_epoch_done(&d, marks[0]) || kp_epoch_done(&d, marks[FLUSHES - 1]) || kp_outstanding(&d) != 2)
        return 0;
    kp_reported(sent[0], 1);
    if (!kp_epoch_done(&d, marks[FLUSHES - 1]) || kp_epoch_done(&d, d.epoch_number))
        return 0;
    kp_reported(later, 1);
    if (!kp_epoch_done(&d, d.epoch_number) || kp_outstanding(&d))
        return 0;
    stuck = kp_record_begin(&d);
    made = d.epoch_count;
    for (i = 0; i < 100 * FLUSHES; i++) {
        kp_epoch *epoch;
        kp_epoch_close(&d);
        epoch = kp_record_begin(&d);
        if (kp_epoch_done(&d, kp_epoch_close(&d)))
            return 0;
        kp_reported(epoch, 1);
    }
    kp_reported(stuck, 1);
    return d.epoch_count == made && kp_epoch_done(&d, d.epoch_number) && made < FLUSHES + 8;
}

static void *grow(void *which) {
    PyObject owner = {.ob_refcnt = (Py_ssize_t)(uintptr_t)which};
    many_batches(&owner);
    return NULL;
}

static int open_client(void) {
    const char *const settings[][2] = {{"test.mock.num.brokers", "1"}, {"linger.ms", "1"}, {"log_level", "3"},
                                       {"queue.buffering.max.messages", "500"}, {"statistics.interval.ms", "20"}};
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_conf_t *topic_conf = rd_kafka_topic_conf_new();
    size_t i;
    for (i = 0; i < sizeof(settings) / sizeof(*settings); i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof(text)))
            return puts(text), 0;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
    rd_kafka_topic_conf_set_opaque(topic_conf, &topic);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (!rk || kp_dispatcher_init(&dispatcher) || kp_deliveries_init(&d))
        return puts(text), 0;
    kp_deliveries_attach(&d, &dispatcher);
    dispatcher.rk = rk;
    dispatcher.queue = rd_kafka_queue_get_main(rk);
    rkt = rd_kafka_topic_new(rk, "t", topic_conf);
    return 1;
}

/* All of them at once, until each sender has done its rounds and all that was sent is reported. */
static void run_all(unsigned seed) {
    pthread_t server, pollers[POLLERS], senders[SENDERS], growing[2];
    int i;
    dispatcher.has_event_thread = how_served == TELLS;
    dispatcher.stopping = 0;
    polling = 1;
    if (how_served == KEEPS)
        books.wrong += kp_keeper_start(&dispatcher) != 0;
    else
        pthread_create(&server, NULL, how_served == TELLS ? tell : serve, NULL);
    for (i = 0; i < POLLERS; i++)
        pthread_create(&pollers[i], NULL, poll, (void *)(uintptr_t)(seed + i));
    for (i = 0; i < SENDERS; i++)
        pthread_create(&senders[i], NULL, run, (void *)(uintptr_t)(seed * SENDERS + i + 1));
    for (i = 0; i < 2; i++)
        pthread_create(&growing[i], NULL, grow, (void *)(uintptr_t)(i + 1));
    for (i = 0; i < SENDERS; i++)
        pthread_join(senders[i], NULL);
    for (i = 0; i < 2; i++)
        pthread_join(growing[i], NULL);
    flush();
    __atomic_store_n(&polling, 0, __ATOMIC_SEQ_CST);
    for (i = 0; i < POLLERS; i++)
        pthread_join(pollers[i], NULL);
    kp_stop(&dispatcher);
    if (how_served != KEEPS)
        pthread_join(server, NULL);
    kp_kept_free(&dispatcher);
}

int main(int n, char **arguments) {
    unsigned seed = n > 1 ? (unsigned)strtoul(arguments[1], NULL, 0) : 1;
    uint32_t slot = 0;
    kp_destruction *end;
    int i, bad;
    rounds = n > 2 ? atoi(arguments[2]) : rounds;
    if (!open_client())
        return 2;
    if (!wakes() || !finishes() || !without_memory() || !epochs())
        _exit(3); /* librdkafka's threads still run */
    fill_columns();
    run_all(seed);
    rounds /= 10;
    for (i = 0; i < 6; i++) {
        how_served = i % 2 ? KEEPS : TELLS;
        run_all(seed + 1 + i);
    }
    printf("seed %u: %lld records completed, %lld plain, %lld refused; %lld batches of %lld items, %lld of them reported "
           "before they were sent, %lld empty; %lld other events, %lld kept; outstanding %lld, states %lld, users %d, wrong %lld\n",
           seed, (long long)books.completed, (long long)books.plain, (long long)books.refused, (long long)books.batches,
           (long long)books.items, (long long)books.finished, (long long)books.empty, (long long)books.others, (long long)books.kept,
           (long long)kp_outstanding(&d), (long long)(d.states_allocated - d.states_free), d.senders, (long long)books.wrong);
    bad = kp_outstanding(&d) != 0 || d.states_allocated != d.states_free || d.open_batches != 0 || d.senders != 0 || books.wrong != 0 ||
          kp_slot_in_use(&d, &slot) != NULL || books.completed != books.accepted || books.begun != books.batches + books.empty;
    rd_kafka_topic_destroy(rkt);
    rd_kafka_queue_destroy(dispatcher.queue);
    end = kp_destruction_start(rk, 0);
    while (!kp_destruction_wait(end, 1000))
        ;
    kp_destruction_release(end);
    kp_deliveries_free(&d);
    kp_dispatcher_free(&dispatcher);
    return bad || !ends(seed, 10 * rounds);
}
