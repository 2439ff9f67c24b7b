"""Forks: which process a handle was made in.

Layer L1: knows nothing of Kafka.
"""


cdef extern from *:
    """
    #include <pthread.h>

    /* How many forks lead to this process: a handle of another number is of another process. In one module,
       for csrc/ is a part of several, each of which would count for itself. */
    static int kp_forks = 0;

    static void kp_count_fork(void) {
        kp_forks++;
    }

    static int kp_watch_forks(void) {
        return pthread_atfork(NULL, NULL, kp_count_fork);
    }
    """
    int kp_forks
    int kp_watch_forks()


cdef int forks() noexcept:
    return kp_forks


cdef const int *fork_count() noexcept:
    return &kp_forks


if kp_watch_forks():
    raise ImportError("kafkapp cannot watch for fork()")
