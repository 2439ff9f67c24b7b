# C interface of kafkapp.consumer.group_metadata.

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client
from kafkapp.consumer.record_queue cimport RecordQueue

cdef int64_t generation_of(Client client) except? -1
cdef object group_metadata(RecordQueue queue)
