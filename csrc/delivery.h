/* Delivery engine: the states of a producer's records in flight, and the delivery reports that a round has read.
 *
 * The dispatcher drains librdkafka's queue, and has report_drain.c read each of its delivery report events.
 */
#ifndef KAFKAPP_DELIVERY_H
#define KAFKAPP_DELIVERY_H

#include "dispatcher.h"

#if UINTPTR_MAX < UINT64_MAX
#error "kafkapp needs 64-bit pointers: a message's opaque holds a batch's slot and the index of one of its records"
#endif

/* What a state's `target` is, and so what its completion does. */
enum {
    KP_CALLBACK, /* a Python callable or NULL: called with (metadata, error) */
    KP_WAITER,   /* a kafkapp.producer.delivery.Waiter: a synchronous send */
    KP_FUTURE,   /* a kafkapp.producer.delivery.FutureTarget: resolved on success and on failure */
};

/* The records sent between two flushes. A flush closes the current epoch, and waits for it and all before it. An epoch
 * lives until all of its records are reported, whether its flush still waits or not; then it is reused under a new
 * number. Its counts only grow. */
typedef struct kp_epoch kp_epoch;
struct kp_epoch {
    int64_t sent;    /* records enqueued, or about to be */
    int64_t batched; /* the same for items of batches, which are enqueued without the GIL: atomic */
    uint32_t index;  /* how a kp_delivery refers to it */
    int64_t number;  /* guarded by lock: 1, 2, 3... in the order of the flushes */
    kp_epoch *next;  /* guarded by lock: the one closed after it; in the list of unused epochs, any other */
    char own_cache_line[64];
    int64_t done; /* records that are completed; written by the thread that owns the round */
    char rest_of_cache_line[56];
};

#define KP_EPOCH_BITS 24
#define KP_FIRST_EPOCHS 8 /* a power of two: the size of the first chunk; each next chunk is twice as large */
#define KP_EPOCH_CHUNKS 21

/* A buffer that is held until the delivery report. */
typedef struct {
    Py_buffer view;
} kp_view;

/* The state of one record in flight. It has one owner at any time: the sending thread until librdkafka accepts the
 * record, librdkafka (as the message's opaque) until the report, the thread that owns the round until it is back in the
 * pool. 32 bytes. */
typedef struct kp_delivery kp_delivery;
struct kp_delivery {
    union {
        PyObject *target;  /* owned; what completion calls or sets, by `kind` */
        kp_delivery *next; /* while in the pool */
    };
    PyObject *record_id; /* owned; the user's id, or NULL */
    union {
        PyObject *value; /* owned; the immutable object whose memory librdkafka reads, or NULL */
        kp_view *view;   /* owned; any other exporter, if holds_view */
    };
    uint32_t topic; /* index of the record's topic in its client */
    uint32_t epoch : KP_EPOCH_BITS; /* index of the epoch that counts it */
    uint32_t kind : 4;
    uint32_t holds_view : 2;
    uint32_t in_use : 2; /* 0: in the pool */
};

/* An item of a batch that was refused because it is too large; sizes in bytes. */
typedef struct {
    int64_t index, key_size, value_size, headers_size;
} kp_too_large;

/* A batch in flight: the columns of its outcomes, which delivery reports fill in without the GIL. Owned by its Batch
 * object, to which its slot holds a reference from before the first item is enqueued until the batch completes. */
typedef struct kp_batch kp_batch;
struct kp_batch {
    PyObject *owner;
    kp_batch *next;     /* in the list of finished batches */
    int64_t count;
    int64_t next_index; /* all items before it are enqueued or refused */
    int64_t remaining;  /* items neither reported nor refused yet, and one for the sender while it sends */
    int64_t *offsets;   /* one allocation with the other two columns */
    int32_t *errors;
    int32_t *partitions;
    uint32_t slot;
    void *topic;     /* as a report's */
    kp_epoch *epoch; /* the epoch that counts it */
    kp_too_large *too_large; /* the items refused for their size, in order; the sender's while it sends */
    int64_t too_large_count, too_large_room;
};

/* A message's opaque: a kp_delivery; for a plain record, whose completion does nothing but count, just its epoch; for
 * an item of a batch, the slot and the item's index. */
#define KP_PLAIN(epoch) ((void *)((uintptr_t)(epoch) | 1))
#define KP_IS_PLAIN(opaque) ((uintptr_t)(opaque) & 1)
#define KP_PLAIN_EPOCH(opaque) ((kp_epoch *)((uintptr_t)(opaque) - 1))
#define KP_ITEM(slot, index) ((void *)(((uintptr_t)(slot) << 34) | ((uintptr_t)(index) << 2) | 2))
#define KP_IS_ITEM(opaque) (((uintptr_t)(opaque) & 3) == 2)
#define KP_ITEM_SLOT(opaque) ((uint32_t)((uintptr_t)(opaque) >> 34))
#define KP_ITEM_INDEX(opaque) ((uint32_t)((uintptr_t)(opaque) >> 2))
#define KP_MAX_ITEMS UINT32_MAX

/* A delivery report, read from librdkafka's message without the GIL. 64 bytes, in the order of the reports. */
typedef struct {
    kp_delivery *delivery; /* NULL: a batch has its last report */
    void *topic;           /* the topic's opaque: borrowed reference to a kafkapp.producer.delivery.Topic, or NULL */
    union {
        const rd_kafka_message_t *message; /* valid until the round ends */
        kp_batch *batch;
    };
    int64_t offset;
    int64_t timestamp;
    rd_kafka_resp_err_t err;
    int32_t partition;
    uint32_t key_size;
    uint32_t value_size;
    int32_t latency; /* microseconds, -1 unknown */
    int8_t timestamp_type;
    int8_t status;
} kp_report;

/* Records of one topic that have failed since the producer began to end. */
typedef struct {
    void *topic; /* as a report's; NULL: unknown */
    int64_t count;
} kp_loss;

#define KP_SLOTS 1024 /* slots a chunk, and chunks: a chunk never moves, and is read without the GIL */

typedef struct {
    kp_dispatcher *dispatcher; /* the client's; borrowed */
    size_t max_value;          /* bytes; a larger value does not fit even into an empty queue */

    /* -- written by senders ------------------------------------------------------------------- */
    kp_epoch *current_epoch;  /* counts new records */
    int64_t open_batches;     /* each is counted as one more record until its callback has returned */
    int senders;              /* threads inside a call that sends: the handle is not destroyed under them */
    int only_errors;          /* delivery.report.only.error: callbacks for failures only */
    int counts_losses;        /* atomic: failures are counted in losses */
    kp_delivery *free_states; /* the pool */
    void *state_blocks;       /* all memory of the pool, in which the states in use are found */
    int64_t states_allocated; /* in all blocks */
    int64_t states_free;      /* in the pool */
    int64_t views;            /* buffers held */
    kp_batch **slots[KP_SLOTS];
    uint32_t slot_count;  /* slots ever used */
    uint32_t *free_slots; /* a stack of those released */
    uint32_t free_count, free_room;
#ifdef Py_GIL_DISABLED
    PyMutex pool_lock;
#endif

    /* -- written by the thread that owns the round ---------------------------------------------- */
    char own_cache_line[64];
    kp_report *reports;
    size_t report_count, report_room;

    /* -- guarded by lock ----------------------------------------------------------------------- */
    pthread_mutex_t lock;
    kp_batch *finished;       /* batches that had all reports before their sender was done with them */
    int64_t epoch_number;     /* of the current epoch; a flush starts the next */
    kp_epoch *oldest_epoch;   /* the oldest that is not all reported, or the current one */
    kp_epoch *sweep_position; /* the last one that the sweep of reported epochs has checked */
    kp_epoch *unused_epochs;  /* all reported, for reuse */
    kp_epoch *epoch_chunks[KP_EPOCH_CHUNKS]; /* a chunk never moves, and is freed with the client */
    uint32_t epoch_count;                    /* allocated so far */
    kp_loss *losses;
    size_t loss_count, loss_room;
    int64_t other_losses; /* of unknown topics, and of topics for which there was no memory */
} kp_deliveries;

/* -- counting ------------------------------------------------------------------------------------
 * Whatever is counted is so before the client's state and the queue are looked at. A record is counted as sent by
 * kp_record_begin(); then either it is not sent, and abandoned, or librdkafka accepts it, and its report is counted by
 * kp_reported(). So are items of a batch. A batch is one record more, for as long as its callback has not returned. */

static inline void kp_enter(kp_deliveries *d) {
    KP_ADD(d->senders, 1);
}

/* Returns how many senders are left. */
static inline int kp_leave(kp_deliveries *d) {
#ifdef Py_GIL_DISABLED
    return __atomic_sub_fetch(&d->senders, 1, __ATOMIC_SEQ_CST);
#else
    return --d->senders;
#endif
}

static inline void kp_record_abandon(kp_epoch *epoch) {
    KP_ADD(epoch->sent, -1);
}

/* Returns the epoch that counts the record. Without a GIL the current epoch is read again afterwards: a flush may have
 * closed it before the record was counted, and would not wait for it. */
static inline kp_epoch *kp_record_begin(kp_deliveries *d) {
    kp_epoch *epoch = KP_READ(d->current_epoch);
    KP_ADD(epoch->sent, 1);
#ifdef Py_GIL_DISABLED
    while (epoch != KP_READ(d->current_epoch)) {
        kp_record_abandon(epoch);
        epoch = KP_READ(d->current_epoch);
        KP_ADD(epoch->sent, 1);
    }
#endif
    return epoch;
}

/* Count records, or items, that are completed. The caller must own the round: nobody else writes `done`. What the
 * caller has written before is seen by whoever sees the count. */
static inline void kp_reported(kp_epoch *epoch, int64_t count) {
    __atomic_store_n(&epoch->done, epoch->done + count, __ATOMIC_RELEASE);
}

/* Items are counted without the GIL, in the epoch of their batch, which a flush has perhaps closed: it waits for the
 * batch, and so for them. */
static inline void kp_items_begin(kp_batch *batch, int64_t count) {
    __atomic_fetch_add(&batch->epoch->batched, count, __ATOMIC_SEQ_CST);
}

static inline void kp_items_abandon(kp_batch *batch, int64_t count) {
    __atomic_fetch_sub(&batch->epoch->batched, count, __ATOMIC_SEQ_CST);
}

static inline void kp_batch_begin(kp_deliveries *d, kp_batch *batch) {
    batch->epoch = kp_record_begin(d);
    KP_ADD(d->open_batches, 1);
}

static inline void kp_batch_abandon(kp_deliveries *d, kp_batch *batch) {
    KP_ADD(d->open_batches, -1);
    kp_record_abandon(batch->epoch);
}

/* The batch's callback has returned. The caller must own the round. `epoch`: the batch's, whose memory may be freed. */
static inline void kp_batch_reported(kp_deliveries *d, kp_epoch *epoch) {
    KP_ADD(d->open_batches, -1);
    kp_reported(epoch, 1);
}

static inline kp_epoch *kp_epoch_at(kp_deliveries *d, uint32_t index) {
    int chunk = 31 - __builtin_clz(index);
    return &d->epoch_chunks[chunk - __builtin_ctz(KP_FIRST_EPOCHS)][index ^ (1u << chunk)];
}

/* Returns an errno, or 0. */
int kp_deliveries_init(kp_deliveries *d);
/* Have the delivery reports of a client read into `d`, which must outlive the dispatcher's last round. */
void kp_deliveries_attach(kp_deliveries *d, kp_dispatcher *dispatcher);
void kp_deliveries_free(kp_deliveries *d);

/* The pool. The caller must hold the GIL (or a thread state). kp_delivery_new: NULL without memory, without exception. */
kp_delivery *kp_delivery_grow(kp_deliveries *d);
kp_delivery *kp_delivery_new(kp_deliveries *d);
void kp_delivery_release(kp_deliveries *d, kp_delivery *delivery);

/* Their steps; the caller of push and pop must hold the pool's lock or the GIL. */
static inline kp_delivery *kp_delivery_pop(kp_deliveries *d) {
    kp_delivery *delivery = d->free_states;
    if (delivery) {
        d->free_states = delivery->next;
        d->states_free--;
    }
    return delivery;
}

static inline void kp_delivery_push(kp_deliveries *d, kp_delivery *delivery) {
    delivery->in_use = 0;
    delivery->next = d->free_states;
    d->free_states = delivery;
    d->states_free++;
}

static inline kp_delivery *kp_delivery_reset(kp_delivery *delivery) {
    delivery->target = NULL;
    delivery->record_id = NULL;
    delivery->value = NULL;
    delivery->kind = KP_CALLBACK;
    delivery->holds_view = 0;
    delivery->in_use = 1;
    return delivery;
}

/* The same as new and release, in line where the GIL is the pool's lock. */
static inline kp_delivery *kp_delivery_take(kp_deliveries *d) {
#ifndef Py_GIL_DISABLED
    kp_delivery *delivery = kp_delivery_pop(d);
    if (delivery)
        return kp_delivery_reset(delivery);
#endif
    return kp_delivery_new(d);
}

static inline void kp_delivery_put(kp_deliveries *d, kp_delivery *delivery) {
#ifdef Py_GIL_DISABLED
    kp_delivery_release(d, delivery);
#else
    kp_delivery_push(d, delivery);
#endif
}

int64_t kp_in_use(kp_deliveries *d);
int kp_deliveries_visit(kp_deliveries *d, visitproc visit, void *arg);
void kp_install_traverse(PyObject *owner, kp_deliveries *d);
/* A position in the walk through all states; {NULL, 0} is the start. */
typedef struct {
    void *block;
    int slot;
} kp_cursor;
kp_delivery *kp_delivery_in_use(kp_deliveries *d, kp_cursor *from);

static inline kp_batch **kp_slot_at(kp_deliveries *d, uint32_t slot) {
    return &d->slots[slot / KP_SLOTS][slot % KP_SLOTS];
}

/* A batch's slot, which takes a reference to the owner. The caller must hold the GIL. Returns 0 without memory. */
int kp_slot_acquire(kp_deliveries *d, kp_batch *batch, PyObject *owner);
void kp_slot_release(kp_deliveries *d, kp_batch *batch);
kp_batch *kp_slot_in_use(kp_deliveries *d, uint32_t *from);
void kp_finish(kp_deliveries *d, kp_batch *batch);

/* Losses: nothing is counted before kp_losses_begin(), or after kp_losses_end(), which forgets what was. kp_loss_at: 0
 * behind the last. */
void kp_losses_begin(kp_deliveries *d);
void kp_losses_end(kp_deliveries *d);
void kp_loss_add(kp_deliveries *d, void *topic, int64_t count);
int kp_loss_at(kp_deliveries *d, size_t i, kp_loss *loss);

/* Counters. */
int64_t kp_outstanding(kp_deliveries *d);
int64_t kp_outstanding_records(kp_deliveries *d);
void kp_epochs_mark_done(kp_deliveries *d);
int64_t kp_epoch_close(kp_deliveries *d);
int kp_epoch_done(kp_deliveries *d, int64_t epoch);

#endif
