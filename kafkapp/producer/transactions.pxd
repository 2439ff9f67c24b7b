# C interface of kafkapp.producer.transactions: what Producer's methods of these names say.

from libc.stdint cimport int64_t

from kafkapp.client.blocking_calls cimport BlockingCall
from kafkapp.client.client cimport Client


cdef int init_transactions(Client client, int64_t deadline) except -1
cdef int begin_transaction(Client client) except -1
cdef int commit_transaction(Client client, int64_t deadline) except -1
cdef int abort_transaction(Client client, int64_t deadline) except -1
cdef int send_offsets_to_transaction(Client client, offsets, group, int64_t deadline) except -1

# For callers that wait by other means than a thread. The name is that of Producer's method.
cdef BlockingCall new_transaction_call(str name)
