/* Put before librdkafka by LD_PRELOAD: holds a poll between two of its chunks until a test lets it go on, and counts the
 * messages that this process destroys. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { CHECK_US = 1000, CHECKS = 60000 };

/* Of the thread whose next poll is held. */
static _Thread_local size_t queued, before, taken;
static int held, may_go_on, destroyed; /* atomic */

static int open_librdkafka(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    if (!strstr(info->dlpi_name, "librdkafka"))
        return 0;
    *(void **)found = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    return 1;
}

/* By a handle: it was loaded with kafkapp's modules, for these alone. */
static void *real(const char *name) {
    static void *librdkafka; /* atomic */
    void *found = __atomic_load_n(&librdkafka, __ATOMIC_SEQ_CST);
    if (!found) {
        dl_iterate_phdr(open_librdkafka, &found);
        __atomic_store_n(&librdkafka, found, __ATOMIC_SEQ_CST);
    }
    return dlsym(found, name);
}

/* The next poll of this thread begins when so many records are in its queue; it is held when it has taken some of them. */
void hold_poll(size_t records, size_t some) {
    queued = records;
    before = some;
    taken = 0;
    __atomic_store_n(&held, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&may_go_on, 0, __ATOMIC_SEQ_CST);
}

int poll_is_held(void) {
    return __atomic_load_n(&held, __ATOMIC_SEQ_CST);
}

void let_poll_go_on(void) {
    __atomic_store_n(&may_go_on, 1, __ATOMIC_SEQ_CST);
}

int destroyed_messages(void) {
    return __atomic_load_n(&destroyed, __ATOMIC_SEQ_CST);
}

static void wait_queued(void *queue) {
    size_t (*length)(void *) = (size_t(*)(void *))real("rd_kafka_queue_length");
    int i;
    for (i = 0; i < CHECKS && length(queue) < queued; i++)
        usleep(CHECK_US);
    queued = 0;
}

static void wait_let_go(void) {
    int i;
    __atomic_store_n(&held, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < CHECKS && !__atomic_load_n(&may_go_on, __ATOMIC_SEQ_CST); i++)
        usleep(CHECK_US);
    before = 0;
}

ssize_t rd_kafka_consume_batch_queue(void *queue, int timeout_ms, void **messages, size_t count) {
    ssize_t (*consume)(void *, int, void **, size_t) = (ssize_t(*)(void *, int, void **, size_t))real("rd_kafka_consume_batch_queue");
    ssize_t found;
    if (queued)
        wait_queued(queue);
    if (before && taken >= before)
        wait_let_go();
    found = consume(queue, timeout_ms, messages, count);
    if (found > 0)
        taken += (size_t)found;
    return found;
}

void rd_kafka_message_destroy(void *message) {
    void (*destroy)(void *) = (void (*)(void *))real("rd_kafka_message_destroy");
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
    destroy(message);
}
