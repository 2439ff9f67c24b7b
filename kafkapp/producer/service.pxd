# C interface of kafkapp.producer.service: what a producer's client is for.

cimport cython
from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport CLOSED, Service
from kafkapp.common.atomics cimport KP_READ
from kafkapp.producer.delivery cimport kp_deliveries, kp_leave


@cython.final
cdef class ProducerService(Service):
    cdef kp_deliveries deliveries   # the records in flight
    cdef int forks                  # forks() of the process that created it
    cdef list batch_waiters         # idents of threads that wait for room in a send_batch, once for each such call
    cdef int64_t max_message_bytes  # message.max.bytes
    cdef object outbox              # a weak reference to an event loop's Outbox, or None
    cdef int64_t expected           # records that were outstanding when losses began to be counted
    cdef dict unsent                # records of it that failed while losses are counted, by topic
    cdef object transaction_call    # a transaction's call that is still running, perhaps after its caller has left it
    cdef int resumes_call           # the next transaction call resumes one that has timed out


cdef inline ProducerService new_service():
    return ProducerService.__new__(ProducerService)


cdef inline ProducerService service_of(Client client):
    return <ProducerService>client.service


cdef inline kp_deliveries *deliveries_of(Client client) noexcept:
    return &(<ProducerService>client.service).deliveries


cdef inline int leave_sender(Client client) except -1:
    """End a call that sends, which has begun with kp_enter(): after close() the last user destroys the handle."""
    if kp_leave(deliveries_of(client)) == 0 and KP_READ(client.state) == CLOSED:
        client.destroy()
    return 0


cdef int wait_in_send_batch(Client client, int64_t seen, int64_t deadline) except -1    # as Client.wait()
cdef int flush(Client client, int64_t deadline) except -1
cdef int purge(Client client) except -1
