/* The last message of a client that ends: it is destroyed in one thread while another one is inside rd_kafka_destroy().
 *
 * Its partition has no leader any more: else the partition keeps the broker, and so the client, as the response of the message
 * does. Each free() of the first thread takes long, so that the client is freed meanwhile if nothing keeps it. Its memory is
 * never given back: a lock that is taken in it then is a use of freed memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <threads.h>
#include <unistd.h>

#include "client.h"

enum { SLOW_US = 200000 };

static char *client; /* where it was or is */
static size_t client_size;
static int client_freed, used_freed; /* atomic */
static __thread int slow;

static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

void free(void *memory) {
    static void (*real)(void *);
    if (!real)
        real = (void (*)(void *))next("free");
    if (memory && memory == (void *)client) {
        __atomic_store_n(&client_freed, 1, __ATOMIC_SEQ_CST);
        return;
    }
    real(memory);
    if (slow)
        usleep(SLOW_US);
}

static int is_freed(const void *lock) {
    int found = client && (const char *)lock >= client && (const char *)lock < client + client_size &&
                __atomic_load_n(&client_freed, __ATOMIC_SEQ_CST);
    if (found)
        __atomic_store_n(&used_freed, 1, __ATOMIC_SEQ_CST);
    return found;
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
    int (*real)(pthread_rwlock_t *) = (int (*)(pthread_rwlock_t *))next("pthread_rwlock_wrlock");
    return is_freed(lock) ? 0 : real(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
    int (*real)(pthread_rwlock_t *) = (int (*)(pthread_rwlock_t *))next("pthread_rwlock_rdlock");
    return is_freed(lock) ? 0 : real(lock);
}

int pthread_rwlock_unlock(pthread_rwlock_t *lock) {
    int (*real)(pthread_rwlock_t *) = (int (*)(pthread_rwlock_t *))next("pthread_rwlock_unlock");
    return is_freed(lock) ? 0 : real(lock);
}

int pthread_mutex_lock(pthread_mutex_t *lock) {
    static int (*real)(pthread_mutex_t *);
    if (!real)
        real = (int (*)(pthread_mutex_t *))next("pthread_mutex_lock");
    return is_freed(lock) ? 0 : real(lock);
}

int mtx_lock(mtx_t *lock) {
    static int (*real)(mtx_t *);
    if (!real)
        real = (int (*)(mtx_t *))next("mtx_lock");
    return is_freed(lock) ? 0 : real(lock);
}

int mtx_unlock(mtx_t *lock) {
    static int (*real)(mtx_t *);
    if (!real)
        real = (int (*)(mtx_t *))next("mtx_unlock");
    return is_freed(lock) ? 0 : real(lock);
}

static void *destroy(void *rk) {
    rd_kafka_destroy(rk);
    return NULL;
}

/* The first message of a topic, whose client is `*rk`. */
static rd_kafka_message_t *consume(const char *servers, const char *topic, rd_kafka_t **rk) {
    const char *const settings[][2] = {{"bootstrap.servers", servers}, {"group.id", "g"}, {"enable.auto.commit", "false"},
                                       {"fetch.wait.max.ms", "20"}, {"topic.metadata.refresh.interval.ms", "100"},
                                       {"queued.min.messages", "1"}, /* while there are more in the queue, it fetches nothing */
                                       {NULL, NULL}};
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(1);
    rd_kafka_message_t *message;
    *rk = new_client(RD_KAFKA_CONSUMER, rd_kafka_conf_new(), settings);
    rd_kafka_poll_set_consumer(*rk);
    rd_kafka_topic_partition_list_add(partitions, topic, 0)->offset = 0;
    rd_kafka_assign(*rk, partitions);
    rd_kafka_topic_partition_list_destroy(partitions);
    do
        message = rd_kafka_consumer_poll(*rk, 20000);
    while (message && message->err);
    return message;
}

int main(int count, char **arguments) {
    rd_kafka_t *rk;
    rd_kafka_message_t *message = count == 3 ? consume(arguments[1], arguments[2], &rk) : NULL;
    pthread_t ends;
    if (!message)
        return 2;
    printf("ready\n");
    fflush(stdout);
    getchar(); /* now the partition has no leader */
    usleep(1000000);
    client_size = malloc_usable_size(rk);
    client = (char *)rk;
    rd_kafka_consumer_close(rk);
    pthread_create(&ends, NULL, destroy, rk);
    usleep(500000); /* it waits for the message's broker thread */
    if (__atomic_load_n(&client_freed, __ATOMIC_SEQ_CST))
        return 2;
    slow = 1;
    rd_kafka_message_destroy(message);
    slow = 0;
    pthread_join(ends, NULL);
    printf("%s\n", used_freed ? "used after it was freed" : "good");
    return !__atomic_load_n(&client_freed, __ATOMIC_SEQ_CST) ? 2 : used_freed;
}
