/* The memory of a consumer's blocks, kept from one to the next: fresh memory costs more than copying into it. See
 * consumed_columns.h. */
#include "consumed_block.h"

#include <stdlib.h>

struct kp_spare {
    int64_t owners;    /* atomic: the consumer, and each block that is to come back */
    kp_consumed *kept; /* atomic, owned: an empty block that belongs to no spare; NULL: none; CLOSED */
};

static kp_consumed closed;
#define CLOSED (&closed)

kp_spare *kp_spare_new(void) {
    kp_spare *spare = calloc(1, sizeof(*spare));
    if (spare)
        spare->owners = 1;
    return spare;
}

static void drop(kp_spare *spare) {
    if (!__atomic_sub_fetch(&spare->owners, 1, __ATOMIC_ACQ_REL)) {
        kp_spare_close(spare);
        free(spare);
    }
}

void kp_spare_close(kp_spare *spare) {
    kp_consumed *kept = __atomic_exchange_n(&spare->kept, CLOSED, __ATOMIC_ACQ_REL);
    if (kept && kept != CLOSED)
        kp_free_block(kept);
}

void kp_spare_release(kp_spare *spare) {
    kp_spare_close(spare);
    drop(spare);
}

kp_consumed *kp_spare_take(kp_spare *spare) {
    kp_consumed *kept = __atomic_load_n(&spare->kept, __ATOMIC_ACQUIRE);
    while (kept && kept != CLOSED)
        if (__atomic_compare_exchange_n(&spare->kept, &kept, NULL, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return kept;
    return NULL;
}

void kp_spare_lend(kp_spare *spare, kp_consumed *block) {
    __atomic_fetch_add(&spare->owners, 1, __ATOMIC_RELAXED);
    block->spare = spare;
}

void kp_spare_keep(kp_spare *spare, kp_consumed *block) {
    kp_consumed *other = kp_spare_take(spare), *none = NULL;
    size_t room = kp_block_room(block);
    if (room > KP_SPARE_BYTES || (other && kp_block_room(other) > room)) {
        kp_free_block(block);
        block = other;
    } else if (other)
        kp_free_block(other);
    if (block && !__atomic_compare_exchange_n(&spare->kept, &none, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        kp_free_block(block);
}

void kp_spare_give_back(kp_consumed *block) {
    kp_spare *spare = block->spare;
    block->spare = NULL;
    kp_empty_block(block);
    kp_spare_keep(spare, block);
    drop(spare);
}
