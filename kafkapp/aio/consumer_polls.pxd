# C interface of kafkapp.aio.consumer_polls.

cdef class ConsumerPolls:
    cdef public bint woken              # wakeup() was called since the last poll
    cdef public int seeking             # how many tasks are inside seek()
    cdef readonly list waiting          # the Wakeups that tasks wait for
    cdef bint polls                     # a task is inside a poll
    cdef double turn_began              # when a poll has waited last

    cdef object stop_waiting(self)
    cdef int wake_now(self) except -1
