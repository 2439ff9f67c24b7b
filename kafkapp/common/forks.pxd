# C interface of kafkapp.common.forks.

cdef int forks() noexcept       # how many forks led to this process: a handle with another number is another process's
cdef const int *fork_count() noexcept   # its address, to read it again after each callback, which may have forked
