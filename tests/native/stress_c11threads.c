/* C11's locks as POSIX's. ThreadSanitizer knows only those, and librdkafka is often built with C11's: without this it
 * would see none of librdkafka's locks, and a race wherever they guard something.
 *
 * Linked into the C stress, whose symbols librdkafka finds before the C library's. For glibc, whose
 * types are the same underneath.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t), "glibc's");

static int answer(int err) {
    return err == 0 ? thrd_success : err == EBUSY ? thrd_busy : err == ETIMEDOUT ? thrd_timedout : thrd_error;
}

typedef struct {
    thrd_start_t run;
    void *argument;
} start;

static void *begin(void *given) {
    start how = *(start *)given;
    free(given);
    return (void *)(intptr_t)how.run(how.argument);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument) {
    start *how = malloc(sizeof(*how));
    int err;
    if (!how)
        return thrd_nomem;
    how->run = run;
    how->argument = argument;
    err = pthread_create((pthread_t *)thread, NULL, begin, how);
    if (err)
        free(how);
    return answer(err);
}

int thrd_join(thrd_t thread, int *result) {
    void *value;
    int err = pthread_join((pthread_t)thread, &value);
    if (!err && result)
        *result = (int)(intptr_t)value;
    return answer(err);
}

int thrd_detach(thrd_t thread) {
    return answer(pthread_detach((pthread_t)thread));
}

int mtx_init(mtx_t *mutex, int kind) {
    pthread_mutexattr_t attr;
    int err;
    pthread_mutexattr_init(&attr);
    if (kind & mtx_recursive)
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    err = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return answer(err);
}

void mtx_destroy(mtx_t *mutex) {
    pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int mtx_lock(mtx_t *mutex) {
    return answer(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex) {
    return answer(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex) {
    return answer(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

int cnd_init(cnd_t *condition) {
    return answer(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

void cnd_destroy(cnd_t *condition) {
    pthread_cond_destroy((pthread_cond_t *)condition);
}

int cnd_signal(cnd_t *condition) {
    return answer(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition) {
    return answer(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex) {
    return answer(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    return answer(pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}
