# C interface of kafkapp.aio.event_client.

from kafkapp.client.client cimport Client


cdef class EventClient:
    cdef Client client

    cdef Client opened(self)    # raises where there is none
