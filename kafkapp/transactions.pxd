# Contract of kafkapp.transactions with the producers above it. Layer L6.

from kafkapp.sender cimport Sender


cdef class Transactional(Sender):
    pass
