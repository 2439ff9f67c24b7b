# C interface of kafkapp.producer.transactions.

from kafkapp.producer.send cimport Sender


cdef class Transactional(Sender):
    pass
