# C interface of kafkapp.producer.producer.

from kafkapp.client.client cimport Client


cdef class Producer:
    cdef Client client              # None until __init__ has run
    cdef object __weakref__

    cdef int open_client(self, properties, int thread, dict defaults) except -1
    cdef Client get_client(self)    # raises if __init__ has not run
