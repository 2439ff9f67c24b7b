# Contract of kafkapp.ending with the producers above it. Layer L5.

from kafkapp.client cimport Client

cdef int abandon(Client client) except -1
