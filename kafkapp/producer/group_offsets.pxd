# C interface of kafkapp.producer.group_offsets: a consumer group's offsets, for a transaction.

from libc.stdint cimport int64_t

from kafkapp.client.blocking_calls cimport BlockingCall
from kafkapp.client.client cimport Client


cdef BlockingCall new_offsets_call(offsets, group)
cdef object send_offsets(Client client, BlockingCall request, int64_t deadline)
