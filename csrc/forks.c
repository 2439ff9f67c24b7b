/* Fork counter. See forks.h. */
#include "forks.h"

#include <pthread.h>

int kp_forks = 0;

static void count_fork(void) {
    kp_forks++;
}

int kp_watch_forks(void) {
    return pthread_atfork(NULL, NULL, count_fork);
}
