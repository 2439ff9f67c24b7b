"""Fork counter: tells a handle that this process has created from one that a fork has copied."""

cdef extern from "forks.h":
    int kp_forks
    int kp_watch_forks()


cdef int forks() noexcept:
    return kp_forks


cdef const int *fork_count() noexcept:
    return &kp_forks


if kp_watch_forks():
    raise ImportError("kafkapp could not be imported: pthread_atfork() failed, without which it cannot detect a fork")
