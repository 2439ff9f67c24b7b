/* Delivery engine: the pool of states, the slots of batches, epochs and counts. See delivery.h. */
#include "delivery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATES_PER_BLOCK 512 /* 16 KiB */

typedef struct kp_block kp_block;
struct kp_block {
    kp_block *next;
    kp_delivery states[STATES_PER_BLOCK];
};

static kp_epoch *acquire_epoch(kp_deliveries *d);

int kp_deliveries_init(kp_deliveries *d) {
    memset(d, 0, sizeof(*d));
    if (!(d->oldest_epoch = d->current_epoch = acquire_epoch(d)))
        return ENOMEM;
    d->epoch_number = d->current_epoch->number = 1;
    return pthread_mutex_init(&d->lock, NULL);
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
    free(d->losses);
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

/* Allocate a block and acquire a state of it. The caller must hold the pool's lock or the GIL. */
kp_delivery *kp_delivery_grow(kp_deliveries *d) {
    kp_block *block = malloc(sizeof(*block));
    int i;
    if (!block)
        return NULL;
    block->next = d->state_blocks;
    d->state_blocks = block;
    /* State 0 is returned; the rest goes into the pool, lowest address first. */
    for (i = STATES_PER_BLOCK - 1; i >= 0; i--) {
        block->states[i].in_use = 0;
        if (i) {
            block->states[i].next = d->free_states;
            d->free_states = &block->states[i];
        }
    }
    d->states_allocated += STATES_PER_BLOCK;
    d->states_free += STATES_PER_BLOCK - 1;
    return &block->states[0];
}

kp_delivery *kp_delivery_new(kp_deliveries *d) {
    kp_delivery *delivery;
    POOL_LOCK(d);
    delivery = kp_delivery_pop(d);
    if (!delivery)
        delivery = kp_delivery_grow(d);
    POOL_UNLOCK(d);
    return delivery ? kp_delivery_reset(delivery) : NULL;
}

/* Release a state to the pool. The caller must have taken over its references. */
void kp_delivery_release(kp_deliveries *d, kp_delivery *delivery) {
    POOL_LOCK(d);
    kp_delivery_push(d, delivery);
    POOL_UNLOCK(d);
}

/* How many states are in flight. */
int64_t kp_in_use(kp_deliveries *d) {
    int64_t n;
    POOL_LOCK(d);
    n = d->states_allocated - d->states_free;
    POOL_UNLOCK(d);
    return n;
}

/* -- batches ------------------------------------------------------------------------------------ */

int kp_slot_acquire(kp_deliveries *d, kp_batch *batch, PyObject *owner) {
    int acquired = 1;
    POOL_LOCK(d);
    if (d->free_count) {
        batch->slot = d->free_slots[--d->free_count];
    } else if (d->slot_count < KP_SLOTS * KP_SLOTS) {
        kp_batch ***chunk = &d->slots[d->slot_count / KP_SLOTS];
        if (d->free_room <= d->slot_count) {
            /* The stack has room for every slot, so that releasing one cannot fail. */
            uint32_t room = d->free_room ? d->free_room * 2 : 64;
            uint32_t *grown = realloc(d->free_slots, room * sizeof(*grown));
            if (grown)
                d->free_slots = grown, d->free_room = room;
            else
                acquired = 0;
        }
        if (acquired && !*chunk)
            *chunk = calloc(KP_SLOTS, sizeof(**chunk));
        if (acquired && *chunk)
            batch->slot = d->slot_count++;
        else
            acquired = 0;
    } else {
        acquired = 0;
    }
    if (acquired) {
        Py_INCREF(owner);
        batch->owner = owner;
        __atomic_store_n(kp_slot_at(d, batch->slot), batch, __ATOMIC_SEQ_CST);
    }
    POOL_UNLOCK(d);
    return acquired;
}

/* Release a batch's slot. The caller takes over the slot's reference to the owner. */
void kp_slot_release(kp_deliveries *d, kp_batch *batch) {
    POOL_LOCK(d);
    *kp_slot_at(d, batch->slot) = NULL;
    d->free_slots[d->free_count++] = batch->slot;
    POOL_UNLOCK(d);
}

/* The next batch in flight at or after slot *from, which is moved behind it; NULL: there is none. */
kp_batch *kp_slot_in_use(kp_deliveries *d, uint32_t *from) {
    while (*from < d->slot_count) {
        kp_batch *batch = *kp_slot_at(d, (*from)++);
        if (batch)
            return batch;
    }
    return NULL;
}

/* A batch had all its reports while it was still being sent. The next round completes it, as it does all others. */
void kp_finish(kp_deliveries *d, kp_batch *batch) {
    pthread_mutex_lock(&d->lock);
    batch->next = d->finished;
    d->finished = batch;
    pthread_mutex_unlock(&d->lock);
    kp_service_ready(d->dispatcher);
}

/* tp_traverse's part: the references that records in flight hold. */
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
        for (i = 0; i < STATES_PER_BLOCK; i++) {
            kp_delivery *delivery = &block->states[i];
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

/* The references of records in flight are in no field that Cython knows, so kp_install_traverse() replaces tp_traverse
 * of the type that owns the deliveries. `owner` is any instance, `d` its deliveries. There is no tp_clear: each record in flight will
 * be reported, and its completion releases the references. */
static traverseproc fields_traverse;
static Py_ssize_t deliveries_offset;

static int owner_traverse(PyObject *self, visitproc visit, void *arg) {
    int err = fields_traverse(self, visit, arg);
    return err ? err : kp_deliveries_visit((kp_deliveries *)((char *)self + deliveries_offset), visit, arg);
}

void kp_install_traverse(PyObject *owner, kp_deliveries *d) {
    deliveries_offset = (char *)d - (char *)owner;
    fields_traverse = Py_TYPE(owner)->tp_traverse;
    Py_TYPE(owner)->tp_traverse = owner_traverse;
}

/* The next state in flight; NULL: there is none. For records that librdkafka will not report before its end. */
kp_delivery *kp_delivery_in_use(kp_deliveries *d, kp_cursor *from) {
    kp_block *block = from->block ? from->block : d->state_blocks;
    for (; block; block = block->next, from->slot = 0) {
        from->block = block;
        while (from->slot < STATES_PER_BLOCK)
            if (block->states[from->slot++].in_use)
                return &block->states[from->slot - 1];
    }
    return NULL;
}

/* -- counters ----------------------------------------------------------------------------------- */

/* Whether all records of an epoch are completed. `done` is read first: a record sent and completed between the two
 * reads must not make up for one that is still in flight. */
static int all_done(const kp_epoch *epoch) {
    int64_t done = KP_READ(epoch->done);
    return KP_READ(epoch->sent) + KP_READ(epoch->batched) == done;
}

/* `done` is read first, then the open batches, then what was sent; writers count in the opposite order. So what is sent
 * or completed meanwhile cannot make the result negative; without a GIL a batch that is abandoned meanwhile can. Takes
 * no lock: a forked child may call this. */
static int64_t outstanding(kp_deliveries *d, int records_only) {
    uint32_t end = KP_FIRST_EPOCHS + KP_READ(d->epoch_count), i;
    int64_t n = 0;
    for (i = KP_FIRST_EPOCHS; i < end; i++)
        n -= KP_READ(kp_epoch_at(d, i)->done);
    if (records_only)
        n -= KP_READ(d->open_batches);
    for (i = KP_FIRST_EPOCHS; i < end; i++)
        n += KP_READ(kp_epoch_at(d, i)->sent) + KP_READ(kp_epoch_at(d, i)->batched);
    return n < 0 ? 0 : n;
}

/* Records in flight, and one more for each batch that is not completed. */
int64_t kp_outstanding(kp_deliveries *d) {
    return outstanding(d, 0);
}

/* Records in flight. */
int64_t kp_outstanding_records(kp_deliveries *d) {
    return outstanding(d, 1);
}

/* Count as completed the plain records that librdkafka will not report. The caller must own the round; no thread sends. */
void kp_epochs_mark_done(kp_deliveries *d) {
    uint32_t i;
    for (i = KP_FIRST_EPOCHS; i < KP_FIRST_EPOCHS + d->epoch_count; i++) {
        kp_epoch *epoch = kp_epoch_at(d, i);
        KP_SET(epoch->done, KP_READ(epoch->sent) + KP_READ(epoch->batched));
    }
}

/* An epoch with nothing in flight, or NULL without memory. The caller must hold the lock, or be the only thread. */
static kp_epoch *acquire_epoch(kp_deliveries *d) {
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

static void release_epoch(kp_deliveries *d, kp_epoch *epoch) {
    epoch->next = d->unused_epochs;
    d->unused_epochs = epoch;
}

/* Advance oldest_epoch to the oldest one that is not all reported. */
static void advance_oldest_epoch(kp_deliveries *d) {
    while (d->oldest_epoch != d->current_epoch && all_done(d->oldest_epoch)) {
        kp_epoch *epoch = d->oldest_epoch;
        if (d->sweep_position == epoch)
            d->sweep_position = NULL;
        d->oldest_epoch = epoch->next;
        release_epoch(d, epoch);
    }
}

/* Release reported epochs behind the oldest, two steps for each flush, which adds one: so the list stays about as long
 * as the number of epochs with records in flight, and no flush walks all of it. */
static void sweep_epochs(kp_deliveries *d) {
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
            release_epoch(d, epoch);
        } else {
            d->sweep_position = epoch;
        }
    }
}

/* Close the current epoch: records sent later are not part of it. Returns the last epoch that a flush has to wait for.
 * With nothing of the current epoch in flight that is the one before, and the current one goes on. Without memory it
 * goes on too, and the flush may wait a little longer. The caller must hold the GIL (or a thread state). */
int64_t kp_epoch_close(kp_deliveries *d) {
    kp_epoch *next;
    int64_t epoch;
    pthread_mutex_lock(&d->lock);
    epoch = d->epoch_number;
    advance_oldest_epoch(d);
    sweep_epochs(d);
    if (all_done(d->current_epoch)) {
        epoch--;
    } else if ((next = acquire_epoch(d))) {
        next->number = epoch + 1;
        next->next = NULL;
        d->current_epoch->next = next;
        KP_SET(d->current_epoch, next);
        KP_SET(d->epoch_number, epoch + 1);
    }
    pthread_mutex_unlock(&d->lock);
    return epoch;
}

/* Whether all records sent until the end of an epoch are completed. */
int kp_epoch_done(kp_deliveries *d, int64_t epoch) {
    int done;
    pthread_mutex_lock(&d->lock);
    advance_oldest_epoch(d);
    done = d->oldest_epoch->number > epoch || (d->oldest_epoch == d->current_epoch && all_done(d->current_epoch));
    pthread_mutex_unlock(&d->lock);
    return done;
}
