/* A wall clock that can be set, for one process (LD_PRELOAD): the file STEPPED_CLOCK holds an offset in seconds, as an int64.
   Waits until a time of day go as the kernel's do: when the clock is set, they end when the *new* clock gets there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE 10000000  /* ns; how long a wait goes without a look at the clock */

static int64_t none;
static volatile int64_t *offset = &none;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int fd = path ? open(path, O_RDONLY) : -1;
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED)
        abort();
    offset = found;
    close(fd);
}

static void true_time(struct timespec *now) {
    syscall(SYS_clock_gettime, CLOCK_REALTIME, now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec full;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &full);
    now->tv_sec = full.tv_sec;
    now->tv_usec = full.tv_nsec / 1000;
    return 0;
}

int timespec_get(struct timespec *now, int base) {
    return clock_gettime(CLOCK_REALTIME, now) ? 0 : base;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

/* The true time of the next look: no later than the end, which the clock that can be set has; 0 when that has come. */
static int next_look(const struct timespec *end, struct timespec *look) {
    struct timespec now;
    int64_t left;
    true_time(&now);
    left = (end->tv_sec - now.tv_sec - *offset) * 1000000000 + end->tv_nsec - now.tv_nsec;
    *look = now;
    look->tv_nsec += left > SLICE ? SLICE : left > 0 ? left : 0;
    if (look->tv_nsec >= 1000000000) {
        look->tv_sec++;
        look->tv_nsec -= 1000000000;
    }
    return left > 0;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict lock, const struct timespec *restrict end) {
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec look;
    int goes_on, result;
    if (!wait)
        *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    do {
        goes_on = next_look(end, &look);
        result = wait(cond, lock, &look);
    } while (result == thrd_timedout && goes_on);
    return result;
}

/* Only waits by the time of day: those by the monotonic clock, whose numbers are small, are left alone. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict lock, const struct timespec *restrict end) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec look;
    int goes_on, result;
    if (!wait)
        *(void **)&wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (end->tv_sec < 1000000000)
        return wait(cond, lock, end);
    do {
        goes_on = next_look(end, &look);
        result = wait(cond, lock, &look);
    } while (result == ETIMEDOUT && goes_on);
    return result;
}
