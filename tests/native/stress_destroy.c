/* Stress of csrc/destroy.c under sanitizers: several threads wait for the end of each client, and any may be its last owner.
 *
 * Part of the C stress; stress_delivery.c calls it. The clients are made up: destroying one takes some time, frees its
 * memory, and says so in plain memory, which may be read by any thread to which the end was reported. Of some users hold
 * memory: these leave their groups first, and of that is waited for.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "destroy.h"

#define CLOSERS 3
#define WAITERS 3

typedef struct {
    char *memory;
    int lasts; /* microseconds */
    int held;
    int left;
    int destroyed;
    int gone; /* atomic: for a thread that holds no share of the end any more */
} client;

static client clients[CLOSERS];
static int rounds, wrong;
static unsigned first_seed;
static __thread int no_thread;

static void count_wrong(int bad) {
    __atomic_fetch_add(&wrong, bad != 0, __ATOMIC_SEQ_CST);
}

void __real_rd_kafka_destroy(rd_kafka_t *rk);
void __wrap_rd_kafka_destroy(rd_kafka_t *rk) {
    client *made_up = (client *)(void *)rk;
    if (made_up < clients || made_up >= clients + CLOSERS) {
        __real_rd_kafka_destroy(rk);
        return;
    }
    count_wrong(made_up->left != made_up->held);
    usleep(made_up->lasts);
    free(made_up->memory);
    made_up->destroyed++;
    __atomic_store_n(&made_up->gone, 1, __ATOMIC_SEQ_CST);
}

rd_kafka_resp_err_t __wrap_rd_kafka_consumer_close(rd_kafka_t *rk) {
    client *made_up = (client *)(void *)rk;
    usleep(made_up->lasts / 4);
    made_up->left++;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument) {
    return no_thread ? 11 : __real_pthread_create(thread, attr, run, argument); /* EAGAIN */
}

typedef struct {
    kp_destruction *end; /* a share of it */
    client *of;
    unsigned seed;
} waiter;

static void *wait(void *given) {
    waiter *me = given;
    int tries = rand_r(&me->seed) % 4, over = 0;
    kp_destruction *shared;
    while (tries-- && !over) {
        if (kp_destruction_wait_left(me->end, rand_r(&me->seed) % 3))
            count_wrong(me->of->held ? me->of->left != 1 : me->of->destroyed != 1);
        over = kp_destruction_wait(me->end, rand_r(&me->seed) % 3);
        count_wrong(over && me->of->destroyed != 1);
        shared = kp_destruction_share(me->end);
        kp_destruction_release(me->end);
        me->end = shared;
    }
    kp_destruction_release(me->end);
    return NULL;
}

static void close_one(client *made_up, unsigned *seed) {
    pthread_t threads[WAITERS];
    waiter waiters[WAITERS];
    kp_destruction *end;
    int i;
    made_up->memory = malloc(100);
    made_up->lasts = rand_r(seed) % 4 ? rand_r(seed) % 3000 : 0;
    made_up->left = made_up->destroyed = made_up->gone = 0;
    made_up->held = rand_r(seed) % 2;
    no_thread = rand_r(seed) % 10 == 0;
    end = kp_destruction_start((rd_kafka_t *)(void *)made_up, made_up->held);
    count_wrong(no_thread ? end || made_up->left != made_up->held || made_up->destroyed == made_up->held : !end);
    no_thread = 0;
    if (!end) {
        if (made_up->held)
            free(made_up->memory); /* it never is */
        return;
    }
    for (i = 0; i < WAITERS; i++) {
        waiters[i] = (waiter){kp_destruction_share(end), made_up, rand_r(seed)};
        pthread_create(&threads[i], NULL, wait, &waiters[i]);
    }
    if (rand_r(seed) % 2) /* the closer waits until it is over, or does not wait at all */
        while (!kp_destruction_wait(end, 1 + rand_r(seed) % 50))
            ;
    kp_destruction_release(end);
    for (i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
    while (!__atomic_load_n(&made_up->gone, __ATOMIC_SEQ_CST))
        usleep(100);
    count_wrong(made_up->destroyed != 1);
}

static void *close_all(void *given) {
    client *made_up = given;
    unsigned seed = first_seed * CLOSERS + (unsigned)(made_up - clients);
    int i;
    for (i = 0; i < rounds; i++)
        close_one(made_up, &seed);
    return NULL;
}

/* Whether each client was destroyed once, and never reported destroyed before. */
int ends(unsigned seed, int count) {
    pthread_t closers[CLOSERS];
    int i;
    first_seed = seed, rounds = count;
    for (i = 0; i < CLOSERS; i++)
        pthread_create(&closers[i], NULL, close_all, &clients[i]);
    for (i = 0; i < CLOSERS; i++)
        pthread_join(closers[i], NULL);
    return wrong == 0;
}
