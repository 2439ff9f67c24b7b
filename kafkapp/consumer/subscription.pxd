# C interface of kafkapp.consumer.subscription.

cimport cython
from libc.stdint cimport int64_t


cdef enum Mode:
    NOTHING                         # neither assign() nor subscribe() was called, or it was ended
    BY_HAND                         # by assign()
    BY_GROUP                        # by subscribe()


@cython.final
cdef class Subscription:
    cdef int mode                   # how partitions are assigned, a Mode
    cdef frozenset topics           # names and patterns; empty unless BY_GROUP
    cdef object on_rebalance        # the user's callback, or None
    cdef set paused                 # of what was revoked last: paused again if the next rebalance assigns it
    cdef int64_t assignments        # how many times the group has assigned something
    cdef int64_t revocations        # and taken something away
