/* Releases an Arrow array where no interpreter is: at the end of the process, or in a thread of its own. For
 * test_consumer_views_close.py; knows nothing of kafkapp. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct array {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct array **children;
    struct array *dictionary;
    void (*release)(struct array *);
    void *private_data;
} array;

static array held;

static void release(void) {
    if (held.release)
        held.release(&held);
    held.release = NULL;
    fputs("released\n", stderr);
    usleep(200000); /* what that has begun goes on beside the end of the process */
}

static void *release_later(void *arg) {
    usleep(*(int *)arg);
    release();
    return NULL;
}

/* Take the array out of where it lies. */
void hold(array *from) {
    held = *from;
    from->release = NULL;
}

void release_at_exit(void) {
    atexit(release);
}

void release_in_thread(int microseconds) {
    static int wait;
    pthread_t thread;
    wait = microseconds;
    if (!pthread_create(&thread, NULL, release_later, &wait))
        pthread_detach(thread);
}
