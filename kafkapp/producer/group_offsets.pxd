# C interface of kafkapp.producer.group_offsets: a consumer group's offsets, for a transaction.

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client


cdef list checked_offsets(offsets)
cdef tuple checked_group(group)
cdef object send_offsets(Client client, list offsets, tuple group, int64_t deadline)
