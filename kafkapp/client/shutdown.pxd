# C interface of kafkapp.client.shutdown.

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client

cdef int close(Client client, int64_t deadline, int64_t last=*) except -1
cdef int stay_open(Client client) noexcept
cdef int abandon(Client client, bint wait) except -1
