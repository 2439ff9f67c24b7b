/* See delivery.h. */
#include "delivery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK 512 /* states a block: 16 KiB */

typedef struct kp_block kp_block;
struct kp_block {
    kp_block *next;
    kp_delivery slots[BLOCK];
};

int kp_forks = 0;

static void count_fork(void) {
    kp_forks++;
}

int kp_watch_forks(void) {
    static int watching = 0;
    if (watching)
        return 0;
    watching = 1;
    return pthread_atfork(NULL, NULL, count_fork);
}

int kp_deliveries_init(kp_deliveries *d) {
    pthread_condattr_t attr;
    int err;
    memset(d, 0, sizeof(*d));
    if ((err = pthread_mutex_init(&d->lock, NULL)))
        return err;
    /* Monotonic: a step of the clock must not lengthen a wait. */
    pthread_condattr_init(&attr);
#ifndef __APPLE__
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    err = pthread_cond_init(&d->moved, &attr);
    pthread_condattr_destroy(&attr);
    if (err)
        pthread_mutex_destroy(&d->lock);
    return err;
}

void kp_deliveries_free(kp_deliveries *d) {
    kp_block *block = d->blocks;
    int i;
    while (block) {
        kp_block *next = block->next;
        free(block);
        block = next;
    }
    for (i = 0; i < KP_SLOTS && d->slots[i]; i++)
        free(d->slots[i]);
    free(d->free_slots);
    free(d->reports);
    free(d->events);
    free(d->others);
    pthread_cond_destroy(&d->moved);
    pthread_mutex_destroy(&d->lock);
    memset(d, 0, sizeof(*d));
}

/* -- the pool ----------------------------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED
#define POOL_LOCK(d) PyMutex_Lock(&(d)->pool_lock)
#define POOL_UNLOCK(d) PyMutex_Unlock(&(d)->pool_lock)
#else
#define POOL_LOCK(d) ((void)0)
#define POOL_UNLOCK(d) ((void)0)
#endif

/* Add a block and take a state of it. The pool is locked, or the GIL held. */
kp_delivery *kp_delivery_more(kp_deliveries *d) {
    kp_block *block = malloc(sizeof(*block));
    int i;
    if (!block)
        return NULL;
    block->next = d->blocks;
    d->blocks = block;
    /* Slot 0 goes out now; the rest into the pool, lowest address first. */
    for (i = BLOCK - 1; i >= 0; i--) {
        block->slots[i].in_use = 0;
        if (i) {
            block->slots[i].next = d->free;
            d->free = &block->slots[i];
        }
    }
    d->made += BLOCK;
    d->pooled += BLOCK - 1;
    return &block->slots[0];
}

kp_delivery *kp_delivery_new(kp_deliveries *d) {
    kp_delivery *delivery;
    POOL_LOCK(d);
    delivery = d->free;
    if (delivery) {
        d->free = delivery->next;
        d->pooled--;
    } else {
        delivery = kp_delivery_more(d);
    }
    POOL_UNLOCK(d);
    if (!delivery)
        return NULL;
    delivery->target = NULL;
    delivery->record_id = NULL;
    delivery->value = NULL;
    delivery->kind = KP_CALLBACK;
    delivery->holds_view = 0;
    delivery->in_use = 1;
    return delivery;
}

/* The state's references are already given away. */
void kp_delivery_back(kp_deliveries *d, kp_delivery *delivery) {
    POOL_LOCK(d);
    delivery->in_use = 0;
    delivery->next = d->free;
    d->free = delivery;
    d->pooled++;
    POOL_UNLOCK(d);
}

/* -- batches ------------------------------------------------------------------------------------ */

static inline kp_batch **slot_at(kp_deliveries *d, uint32_t slot) {
    return &d->slots[slot / KP_SLOTS][slot % KP_SLOTS];
}

int kp_slot_take(kp_deliveries *d, kp_batch *batch, PyObject *owner) {
    int taken = 1;
    POOL_LOCK(d);
    if (d->free_count) {
        batch->slot = d->free_slots[--d->free_count];
    } else if (d->slot_count < KP_SLOTS * KP_SLOTS) {
        kp_batch ***chunk = &d->slots[d->slot_count / KP_SLOTS];
        if (d->free_room <= d->slot_count) {
            /* Room in the stack for every slot that there is, so that giving one back cannot fail. */
            uint32_t room = d->free_room ? d->free_room * 2 : 64;
            uint32_t *grown = realloc(d->free_slots, room * sizeof(*grown));
            if (grown)
                d->free_slots = grown, d->free_room = room;
            else
                taken = 0;
        }
        if (taken && !*chunk)
            *chunk = calloc(KP_SLOTS, sizeof(**chunk));
        if (taken && *chunk)
            batch->slot = d->slot_count++;
        else
            taken = 0;
    } else {
        taken = 0;
    }
    if (taken) {
        Py_INCREF(owner);
        batch->owner = owner;
        __atomic_store_n(slot_at(d, batch->slot), batch, __ATOMIC_SEQ_CST);
    }
    POOL_UNLOCK(d);
    return taken;
}

/* The reference that the slot had is the caller's now. */
void kp_slot_back(kp_deliveries *d, kp_batch *batch) {
    POOL_LOCK(d);
    *slot_at(d, batch->slot) = NULL;
    d->free_slots[d->free_count++] = batch->slot;
    POOL_UNLOCK(d);
}

kp_batch *kp_slot_in_use(kp_deliveries *d) {
    uint32_t slot;
    for (slot = 0; slot < d->slot_count; slot++)
        if (*slot_at(d, slot))
            return *slot_at(d, slot);
    return NULL;
}

/* All items of a batch were reported while it was still being sent: the serving thread ends it, as it does all others. */
void kp_finish(kp_deliveries *d, kp_batch *batch) {
    pthread_mutex_lock(&d->lock);
    batch->next = d->finished;
    d->finished = batch;
    pthread_mutex_unlock(&d->lock);
    rd_kafka_queue_yield(d->queue);
}

/* For the garbage collector: the references that records in flight hold. */
int kp_deliveries_visit(kp_deliveries *d, visitproc visit, void *arg) {
    kp_block *block;
    uint32_t slot;
    int i;
    for (slot = 0; slot < d->slot_count; slot++) {
        kp_batch *batch = *slot_at(d, slot);
        if (batch)
            Py_VISIT(batch->owner);
    }
    if (d->made == d->pooled)
        return 0;
    for (block = d->blocks; block; block = block->next)
        for (i = 0; i < BLOCK; i++) {
            kp_delivery *delivery = &block->slots[i];
            if (!delivery->in_use)
                continue;
            Py_VISIT(delivery->target);
            Py_VISIT(delivery->record_id);
            if (delivery->value && delivery->holds_view)
                Py_VISIT(delivery->view->view.obj);
            else
                Py_VISIT(delivery->value);
        }
    return 0;
}

/* What records in flight hold is their client's, and in no field that Cython knows of: the client's type shows it to the
 * garbage collector from here on. `client` is any instance, `d` its deliveries. Nothing is ever cleared: who is in
 * flight will be reported, and that lets go of it. */
static traverseproc fields_traverse;
static Py_ssize_t deliveries_offset;

static int client_traverse(PyObject *self, visitproc visit, void *arg) {
    int err = fields_traverse(self, visit, arg);
    return err ? err : kp_deliveries_visit((kp_deliveries *)((char *)self + deliveries_offset), visit, arg);
}

void kp_show_deliveries(PyObject *client, kp_deliveries *d) {
    deliveries_offset = (char *)d - (char *)client;
    fields_traverse = Py_TYPE(client)->tp_traverse;
    Py_TYPE(client)->tp_traverse = client_traverse;
}

/* A state that nobody will report any more: the client is destroyed. */
kp_delivery *kp_delivery_in_use(kp_deliveries *d) {
    kp_block *block;
    int i;
    for (block = d->blocks; block; block = block->next)
        for (i = 0; i < BLOCK; i++)
            if (block->slots[i].in_use)
                return &block->slots[i];
    return NULL;
}

/* -- counters ----------------------------------------------------------------------------------- */

static inline int64_t sent_in(const kp_deliveries *d, int slot) {
    return KP_READ(d->sent[slot]) + KP_READ(d->batched[slot]);
}

/* Also counts each batch that is not settled: see tokens. */
int64_t kp_outstanding(const kp_deliveries *d) {
    int64_t n = 0;
    int i;
    for (i = 0; i < KP_EPOCHS; i++)
        n -= KP_READ(d->done[i]); /* first: a record that is sent meanwhile must not make it negative */
    for (i = 0; i < KP_EPOCHS; i++)
        n += sent_in(d, i);
    return n;
}

/* End the epoch: what is sent from now on is not part of it. Returns the last epoch that a flush has to wait for. */
int64_t kp_epoch_close(kp_deliveries *d) {
    int64_t epoch = KP_READ(d->epoch);
    int next = (int)((epoch + 1) & (KP_EPOCHS - 1));
    /* Eight flushes at once, all waiting for older records: then the epoch stays, and this one waits a little longer. */
    if (sent_in(d, next) == KP_READ(d->done[next]))
        __atomic_compare_exchange_n(&d->epoch, &(int64_t){epoch}, epoch + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return epoch;
}

int kp_epoch_done(const kp_deliveries *d, int64_t epoch) {
    int64_t now = KP_READ(d->epoch), e;
    /* A slot is given to a new epoch only when its old one is done: older epochs have no slot any more. */
    for (e = epoch; e >= 0 && e > now - KP_EPOCHS; e--)
        if (sent_in(d, e & (KP_EPOCHS - 1)) != KP_READ(d->done[e & (KP_EPOCHS - 1)]))
            return 0;
    return 1;
}

/* -- waiting ------------------------------------------------------------------------------------ */

static void deadline_in(struct timespec *when, int timeout_ms) {
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, when);
#else
    clock_gettime(CLOCK_MONOTONIC, when);
#endif
    when->tv_sec += timeout_ms / 1000;
    when->tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (when->tv_nsec >= 1000000000L) {
        when->tv_sec++;
        when->tv_nsec -= 1000000000L;
    }
}

int64_t kp_rounds(kp_deliveries *d) {
    return KP_READ(d->rounds);
}

/* Wait until a round has ended that was not yet seen, or kp_wake. */
void kp_wait_round(kp_deliveries *d, int64_t seen, int timeout_ms) {
    struct timespec until;
    deadline_in(&until, timeout_ms);
    pthread_mutex_lock(&d->lock);
    while (d->rounds == seen && pthread_cond_timedwait(&d->moved, &d->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&d->lock);
}

void kp_wake(kp_deliveries *d) {
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

/* Become the serving thread. Returns 0 when another thread serves: after one of its rounds, or when the time is over. */
static int round_begin(kp_deliveries *d, int timeout_ms) {
    int mine = 1;
    pthread_mutex_lock(&d->lock);
    if (d->serving) {
        mine = 0;
        if (timeout_ms > 0) {
            int64_t seen = d->rounds;
            struct timespec until;
            deadline_in(&until, timeout_ms);
            while (d->rounds == seen && d->serving &&
                   pthread_cond_timedwait(&d->moved, &d->lock, &until) != ETIMEDOUT)
                ;
        }
    } else {
        d->serving = 1;
    }
    pthread_mutex_unlock(&d->lock);
    return mine;
}

/* -- rounds ------------------------------------------------------------------------------------- */

/* Room for one more element of a growing array; 0 when there is no memory. */
static int make_room(void **array, size_t count, size_t *room, size_t extra, size_t size) {
    size_t want;
    void *grown;
    if (count + extra <= *room)
        return 1;
    want = *room ? *room * 2 : 64;
    while (want < count + extra)
        want *= 2;
    grown = realloc(*array, want * size);
    if (!grown)
        return 0;
    *array = grown;
    *room = want;
    return 1;
}

static void reports_room(kp_deliveries *d, size_t count) {
    while (!make_room((void **)&d->reports, d->report_count, &d->report_room, count, sizeof(*d->reports))) {
        /* No memory, and a report cannot be given back: wait for some. */
        struct timespec pause = {0, 10000000L};
        nanosleep(&pause, NULL);
    }
}

static void end_batch(kp_deliveries *d, kp_batch *batch) {
    kp_report *report = &d->reports[d->report_count++];
    report->delivery = NULL;
    report->batch = batch;
}

/* `count` items of a batch have been read. */
static void count_items(kp_deliveries *d, kp_batch *batch, int64_t count, int64_t *plain) {
    if (!count)
        return;
    plain[batch->epoch] += count;
    if (__atomic_sub_fetch(&batch->remaining, count, __ATOMIC_SEQ_CST) == 0)
        end_batch(d, batch);
}

/* Read the reports of one event. Records that leave nothing to settle are counted here and cost nothing more. */
static int64_t read_event(kp_deliveries *d, rd_kafka_event_t *event) {
    size_t count = rd_kafka_event_message_count(event);
    int64_t plain[KP_EPOCHS] = {0};
    int64_t read = 0, items = 0;
    const rd_kafka_message_t *message;
    kp_batch *batch = NULL;
    int i;
    reports_room(d, count); /* each message ends one batch at most: the one that it is an item of */
    while ((message = rd_kafka_event_message_next(event))) {
        kp_report *report;
        rd_kafka_timestamp_type_t type;
        int64_t latency;
        read++;
        if (KP_IS_PLAIN(message->_private)) {
            plain[KP_PLAIN_EPOCH(message->_private)]++;
            continue;
        }
        if (KP_IS_ITEM(message->_private)) {
            uint32_t index = KP_ITEM_INDEX(message->_private);
            kp_batch *of = *slot_at(d, KP_ITEM_SLOT(message->_private));
            if (of != batch) {
                count_items(d, batch, items, plain);
                batch = of;
                items = 0;
            }
            batch->errors[index] = message->err;
            batch->partitions[index] = message->partition;
            batch->offsets[index] = message->offset;
            items++;
            continue;
        }
        report = &d->reports[d->report_count++];
        report->delivery = message->_private;
        report->message = message;
        report->err = message->err;
        /* The next state's line is fetched while this report is read: the pool hands them out in no order. */
        __builtin_prefetch(report->delivery);
        if (!report->delivery->target)
            continue;
        report->topic = message->rkt ? rd_kafka_topic_opaque(message->rkt) : NULL;
        report->partition = message->partition;
        report->offset = message->offset;
        report->key_size = (uint32_t)message->key_len;
        report->value_size = (uint32_t)message->len;
        report->timestamp = rd_kafka_message_timestamp(message, &type);
        report->timestamp_type = (int8_t)type;
        report->status = (int8_t)rd_kafka_message_status(message);
        latency = rd_kafka_message_latency(message);
        report->latency = latency > INT32_MAX ? INT32_MAX : (int32_t)latency;
    }
    count_items(d, batch, items, plain);
    for (i = 0; i < KP_EPOCHS; i++)
        if (plain[i])
            __atomic_store_n(&d->done[i], d->done[i] + plain[i], __ATOMIC_SEQ_CST);
    return read;
}

static void read_finished(kp_deliveries *d) {
    kp_batch *batch;
    pthread_mutex_lock(&d->lock);
    batch = d->finished;
    d->finished = NULL;
    pthread_mutex_unlock(&d->lock);
    for (; batch; batch = batch->next) {
        reports_room(d, 1);
        end_batch(d, batch);
    }
}

/* Wait up to timeout_ms for the first event, then take what is there, until `most` records are read. Taking all of it
 * matters: while a Python thread is busy each hand-over of the GIL costs its switch interval, 5 ms, so what has come
 * meanwhile must be settled under the next one. Returns how many records are reported. The caller serves. */
static int64_t round_drain(kp_deliveries *d, int timeout_ms, size_t most) {
    int64_t read = 0;
    rd_kafka_event_t *event = rd_kafka_queue_poll(d->queue, timeout_ms);
    if (__atomic_load_n(&d->finished, __ATOMIC_SEQ_CST))
        read_finished(d);
    while (event) {
        rd_kafka_event_t ***list;
        size_t *count, *room;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            size_t before = d->report_count;
            read += read_event(d, event);
            if (d->report_count == before) {
                /* Nothing that points into its messages: they make room in the queue now. */
                rd_kafka_event_destroy(event);
                if (read >= (int64_t)most)
                    break;
                event = rd_kafka_queue_poll(d->queue, 0);
                continue;
            }
            list = &d->events, count = &d->event_count, room = &d->event_room;
        } else {
            list = &d->others, count = &d->other_count, room = &d->other_room;
        }
        while (!make_room((void **)list, *count, room, 1, sizeof(**list))) {
            struct timespec pause = {0, 10000000L};
            nanosleep(&pause, NULL);
        }
        (*list)[(*count)++] = event;
        if (d->report_count >= most || d->event_count + d->other_count >= most)
            break;
        event = rd_kafka_queue_poll(d->queue, 0);
    }
    return read;
}

/* Give the round's messages back to librdkafka, which makes room in its queue, and let another thread serve. */
void kp_round_end(kp_deliveries *d) {
    size_t i;
    for (i = 0; i < d->event_count; i++)
        rd_kafka_event_destroy(d->events[i]);
    for (i = 0; i < d->other_count; i++)
        rd_kafka_event_destroy(d->others[i]);
    d->event_count = d->other_count = d->report_count = 0;
    pthread_mutex_lock(&d->lock);
    d->serving = 0;
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

/* Serve one round. Returns 1 when Python has to settle it: the caller then ends it; 0 when that was all, also when
 * another thread serves. Adds the number of records reported to *reported. */
int kp_serve(kp_deliveries *d, int timeout_ms, size_t most, int64_t *reported) {
    if (!round_begin(d, timeout_ms))
        return 0;
    *reported += round_drain(d, timeout_ms, most);
    if (d->report_count || d->other_count)
        return 1;
    kp_round_end(d);
    return 0;
}

/* The background thread: the same, again and again until there is something to settle, or kp_stop. */
int kp_serve_background(kp_deliveries *d, size_t most) {
    int64_t reported = 0;
    while (!KP_READ(d->stopping))
        if (kp_serve(d, 1000, most, &reported))
            return 1;
    return 0;
}

void kp_stop(kp_deliveries *d) {
    __atomic_store_n(&d->stopping, 1, __ATOMIC_SEQ_CST);
    rd_kafka_queue_yield(d->queue);
    kp_wake(d);
}

void kp_name_thread(const char *name) {
#ifdef __APPLE__
    pthread_setname_np(name);
#else
    char text[16];
    strncpy(text, name, sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    pthread_setname_np(pthread_self(), text);
#endif
}
