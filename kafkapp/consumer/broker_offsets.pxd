# C interface of kafkapp.consumer.broker_offsets.

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client

# Each performs one call for all partitions, blocks, answers signals, and raises KafkaException.
cdef dict ends_of(Client client, str what, object places, object end, int64_t deadline)
cdef dict at_times(Client client, str what, dict times, int64_t deadline)
cdef dict committed_offsets(Client client, str what, object places, int64_t deadline)
cdef dict with_times_found(Client client, str what, dict starts, int64_t deadline)
cdef dict lag_of(Client client, dict positions, dict starts, int64_t deadline)
