# C interface of kafkapp.testing.reader.

from libc.stdint cimport int64_t

# All records of a topic, by partition and offset, as a list of StoredRecord. Blocks until `deadline`, without the GIL.
cdef list read_records(str servers, bytes topic, int64_t deadline)

# The offsets that consumers of a group have committed: {(topic, partition): offset}. Likewise.
cdef dict read_committed(str servers, bytes group, int64_t deadline)
