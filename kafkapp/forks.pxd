# Contract of kafkapp.forks with the modules above it. Layer L1.

cdef int forks() noexcept       # how many forks lead to this process: a handle of another number is of another process
cdef const int *fork_count() noexcept   # where that stands, to be read again after each callback: it may have forked
