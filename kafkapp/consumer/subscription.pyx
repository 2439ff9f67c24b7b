"""Subscription: what a consumer is subscribed to, and what rebalances have to remember. Knows no consumer."""
cimport cython


@cython.final
cdef class Subscription:
    """The subscription of one consumer."""

    def __cinit__(self):
        self.topics, self.paused = frozenset(), set()
