# C interface of kafkapp.transactions.

from kafkapp.sender cimport Sender


cdef class Transactional(Sender):
    pass
