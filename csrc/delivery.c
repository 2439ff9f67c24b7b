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

static kp_epoch *unused_epoch(kp_deliveries *d);

int kp_deliveries_init(kp_deliveries *d) {
    pthread_condattr_t attr;
    int err;
    memset(d, 0, sizeof(*d));
    if (!(d->oldest_epoch = d->current_epoch = unused_epoch(d)))
        return ENOMEM;
    d->epoch_number = d->current_epoch->number = 1;
    if ((err = pthread_mutex_init(&d->lock, NULL)))
        return err;
    /* Monotonic: a step of the clock must not lengthen a wait. */
    pthread_condattr_init(&attr);
#ifndef __APPLE__
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    err = pthread_cond_init(&d->round_ended, &attr);
    if (!err && (err = pthread_cond_init(&d->keeper_wakeup, &attr)))
        pthread_cond_destroy(&d->round_ended);
    pthread_condattr_destroy(&attr);
    if (err)
        pthread_mutex_destroy(&d->lock);
    return err;
}

void kp_deliveries_free(kp_deliveries *d) {
    kp_block *block = d->state_blocks;
    int i;
    while (block) {
        kp_block *next = block->next;
        free(block);
        block = next;
    }
    for (i = 0; i < KP_SLOTS && d->slots[i]; i++)
        free(d->slots[i]);
    for (i = 0; i < KP_EPOCH_CHUNKS; i++)
        free(d->epoch_chunks[i]);
    free(d->free_slots);
    free(d->reports);
    free(d->events);
    free(d->other_events);
    pthread_cond_destroy(&d->keeper_wakeup);
    pthread_cond_destroy(&d->round_ended);
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
kp_delivery *kp_delivery_grow(kp_deliveries *d) {
    kp_block *block = malloc(sizeof(*block));
    int i;
    if (!block)
        return NULL;
    block->next = d->state_blocks;
    d->state_blocks = block;
    /* Slot 0 goes out now; the rest into the pool, lowest address first. */
    for (i = BLOCK - 1; i >= 0; i--) {
        block->slots[i].in_use = 0;
        if (i) {
            block->slots[i].next = d->free_states;
            d->free_states = &block->slots[i];
        }
    }
    d->states_allocated += BLOCK;
    d->states_free += BLOCK - 1;
    return &block->slots[0];
}

kp_delivery *kp_delivery_new(kp_deliveries *d) {
    kp_delivery *delivery;
    POOL_LOCK(d);
    delivery = d->free_states;
    if (delivery) {
        d->free_states = delivery->next;
        d->states_free--;
    } else {
        delivery = kp_delivery_grow(d);
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
void kp_delivery_release(kp_deliveries *d, kp_delivery *delivery) {
    POOL_LOCK(d);
    delivery->in_use = 0;
    delivery->next = d->free_states;
    d->free_states = delivery;
    d->states_free++;
    POOL_UNLOCK(d);
}

/* How many states are not in the pool. */
int64_t kp_in_use(kp_deliveries *d) {
    int64_t n;
    POOL_LOCK(d);
    n = d->states_allocated - d->states_free;
    POOL_UNLOCK(d);
    return n;
}

/* -- batches ------------------------------------------------------------------------------------ */

int kp_slot_acquire(kp_deliveries *d, kp_batch *batch, PyObject *owner) {
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
        __atomic_store_n(kp_slot_at(d, batch->slot), batch, __ATOMIC_SEQ_CST);
    }
    POOL_UNLOCK(d);
    return taken;
}

/* The reference that the slot had is the caller's now. */
void kp_slot_release(kp_deliveries *d, kp_batch *batch) {
    POOL_LOCK(d);
    *kp_slot_at(d, batch->slot) = NULL;
    d->free_slots[d->free_count++] = batch->slot;
    POOL_UNLOCK(d);
}

/* The next batch in flight, from a slot on, which moves behind it; NULL: there is none. */
kp_batch *kp_slot_in_use(kp_deliveries *d, uint32_t *from) {
    while (*from < d->slot_count) {
        kp_batch *batch = *kp_slot_at(d, (*from)++);
        if (batch)
            return batch;
    }
    return NULL;
}

/* All items of a batch were reported while it was still being sent: the serving thread ends it, as it does all others. */
void kp_finish(kp_deliveries *d, kp_batch *batch) {
    pthread_mutex_lock(&d->lock);
    batch->next = d->finished;
    __atomic_store_n(&d->finished, batch, __ATOMIC_SEQ_CST); /* the serving thread looks without the lock */
    pthread_mutex_unlock(&d->lock);
    rd_kafka_queue_yield(d->queue);
}

/* For the garbage collector: the references that records in flight hold. */
int kp_deliveries_visit(kp_deliveries *d, visitproc visit, void *arg) {
    kp_block *block;
    uint32_t slot;
    int i;
    for (slot = 0; slot < d->slot_count; slot++) {
        kp_batch *batch = *kp_slot_at(d, slot);
        if (batch)
            Py_VISIT(batch->owner);
    }
    if (d->states_allocated == d->states_free)
        return 0;
    for (block = d->state_blocks; block; block = block->next)
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

void kp_install_traverse(PyObject *client, kp_deliveries *d) {
    deliveries_offset = (char *)d - (char *)client;
    fields_traverse = Py_TYPE(client)->tp_traverse;
    Py_TYPE(client)->tp_traverse = client_traverse;
}

/* The next state that nobody will report any more, as the client is destroyed; NULL: there is none. */
kp_delivery *kp_delivery_in_use(kp_deliveries *d, kp_cursor *from) {
    kp_block *block = from->block ? from->block : d->state_blocks;
    for (; block; block = block->next, from->slot = 0) {
        from->block = block;
        while (from->slot < BLOCK)
            if (block->slots[from->slot++].in_use)
                return &block->slots[from->slot - 1];
    }
    return NULL;
}

/* -- counters ----------------------------------------------------------------------------------- */

/* Whether all of an epoch is reported. What is done is read first: what is sent and reported in between must not make up
 * for what is still in flight. */
static int all_done(const kp_epoch *epoch) {
    int64_t done = KP_READ(epoch->done);
    return KP_READ(epoch->sent) + KP_READ(epoch->batched) == done;
}

/* What is done is read first, then the tokens, then what was sent, and counting goes the other way: what is sent or
 * reported meanwhile must not make the result negative. Needs no lock: a forked child may ask. */
static int64_t outstanding(kp_deliveries *d, int tokens) {
    uint32_t made = KP_FIRST_EPOCHS + KP_READ(d->epoch_count), i;
    int64_t n = 0;
    for (i = KP_FIRST_EPOCHS; i < made; i++)
        n -= KP_READ(kp_epoch_at(d, i)->done);
    if (tokens)
        n -= KP_READ(d->open_batches);
    for (i = KP_FIRST_EPOCHS; i < made; i++)
        n += KP_READ(kp_epoch_at(d, i)->sent) + KP_READ(kp_epoch_at(d, i)->batched);
    return n;
}

/* Also counts each batch that is not settled: see tokens. */
int64_t kp_outstanding(kp_deliveries *d) {
    return outstanding(d, 0);
}

/* Records alone. */
int64_t kp_outstanding_records(kp_deliveries *d) {
    return outstanding(d, 1);
}

/* Count as reported what leaves nothing to settle and will not be reported: nobody sends or serves any more. */
void kp_epochs_mark_done(kp_deliveries *d) {
    uint32_t i;
    for (i = KP_FIRST_EPOCHS; i < KP_FIRST_EPOCHS + d->epoch_count; i++) {
        kp_epoch *epoch = kp_epoch_at(d, i);
        KP_SET(epoch->done, KP_READ(epoch->sent) + KP_READ(epoch->batched));
    }
}

/* An epoch that counts nothing, or NULL without memory. With the lock, or before there are other threads. */
static kp_epoch *unused_epoch(kp_deliveries *d) {
    kp_epoch *epoch = d->unused_epochs;
    uint32_t index = KP_FIRST_EPOCHS + d->epoch_count;
    if (epoch) {
        d->unused_epochs = epoch->next;
        return epoch;
    }
    if (index >> KP_EPOCH_BITS)
        return NULL;
    if ((index & (index - 1)) == 0) {
        kp_epoch *chunk = calloc(index, sizeof(*chunk));
        if (!chunk)
            return NULL;
        d->epoch_chunks[__builtin_ctz(index) - __builtin_ctz(KP_FIRST_EPOCHS)] = chunk;
    }
    epoch = kp_epoch_at(d, index);
    epoch->index = index;
    KP_SET(d->epoch_count, d->epoch_count + 1);
    return epoch;
}

static void reuse(kp_deliveries *d, kp_epoch *epoch) {
    epoch->next = d->unused_epochs;
    d->unused_epochs = epoch;
}

/* Have the oldest epoch first that is not all reported. */
static void find_first(kp_deliveries *d) {
    while (d->oldest_epoch != d->current_epoch && all_done(d->oldest_epoch)) {
        kp_epoch *epoch = d->oldest_epoch;
        if (d->sweep_position == epoch)
            d->sweep_position = NULL;
        d->oldest_epoch = epoch->next;
        reuse(d, epoch);
    }
}

/* Take out those behind the first that are reported, two steps at a time: more than a flush adds. So there are about as many
 * as have records in flight, and no flush has to go through all of them. */
static void take_out(kp_deliveries *d) {
    int i;
    for (i = 0; i < 2; i++) {
        kp_epoch *before = d->sweep_position ? d->sweep_position : d->oldest_epoch, *epoch = before->next;
        if (!epoch || epoch == d->current_epoch) {
            d->sweep_position = NULL;
            return;
        }
        d->sweep_position = before;
        if (all_done(epoch)) {
            before->next = epoch->next;
            reuse(d, epoch);
        } else {
            d->sweep_position = epoch;
        }
    }
}

/* End the epoch: what is sent from now on is not part of it. Returns the last epoch that a flush has to wait for: the one
 * before when nothing of this one is in flight, which then goes on; without memory this one goes on too, and the flush may
 * wait a little longer. With the GIL (or thread state). */
int64_t kp_epoch_close(kp_deliveries *d) {
    kp_epoch *next;
    int64_t epoch;
    pthread_mutex_lock(&d->lock);
    epoch = d->epoch_number;
    find_first(d);
    take_out(d);
    if (all_done(d->current_epoch)) {
        epoch--;
    } else if ((next = unused_epoch(d))) {
        next->number = epoch + 1;
        next->next = NULL;
        d->current_epoch->next = next;
        KP_SET(d->current_epoch, next);
        KP_SET(d->epoch_number, epoch + 1);
    }
    pthread_mutex_unlock(&d->lock);
    return epoch;
}

/* Whether all that was sent until the end of an epoch is reported. */
int kp_epoch_done(kp_deliveries *d, int64_t epoch) {
    int done;
    pthread_mutex_lock(&d->lock);
    find_first(d);
    done = d->oldest_epoch->number > epoch || (d->oldest_epoch == d->current_epoch && all_done(d->current_epoch));
    pthread_mutex_unlock(&d->lock);
    return done;
}

/* -- waiting ------------------------------------------------------------------------------------ */

void kp_deadline_in(struct timespec *when, int timeout_ms) {
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
    kp_deadline_in(&until, timeout_ms);
    pthread_mutex_lock(&d->lock);
    while (d->rounds == seen && pthread_cond_timedwait(&d->round_ended, &d->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&d->lock);
}

void kp_wake(kp_deliveries *d) {
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->rounds, d->rounds + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&d->round_ended);
    pthread_mutex_unlock(&d->lock);
}

/* Become the serving thread. Returns 0 when another thread serves: after one of its rounds, or when the time is over. Also,
 * where the caller would wait, when a round has ended that it has not seen: that may have been the one it waits for. */
int kp_round_begin(kp_deliveries *d, int64_t seen, int timeout_ms) {
    int mine = 1;
    pthread_mutex_lock(&d->lock);
    if (timeout_ms > 0 && d->rounds != seen) {
        mine = 0;
    } else if (d->round_open) {
        mine = 0;
        if (timeout_ms > 0) {
            struct timespec until;
            kp_deadline_in(&until, timeout_ms);
            while (d->rounds == seen && d->round_open &&
                   pthread_cond_timedwait(&d->round_ended, &d->lock, &until) != ETIMEDOUT)
                ;
        }
    } else {
        d->round_open = 1;
    }
    pthread_mutex_unlock(&d->lock);
    return mine;
}
