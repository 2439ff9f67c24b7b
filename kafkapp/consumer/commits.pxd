# C interface of kafkapp.consumer.commits.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_partition_list_t
from kafkapp.client.client cimport Client


# Offsets that a user gives, in any form: {TopicPartition: offset}, and {TopicPartition: metadata} of those with some.
cdef tuple offsets_to_commit(object what)

# A list of {(topic, partition): offset}, and the metadata; the caller must destroy it.
cdef rd_kafka_topic_partition_list_t *new_commit_list(dict offsets, dict texts) except NULL

# The Error of a commit, None for success. NULL: no partition has one of its own.
cdef object commit_error(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *partitions)

# Whether it says that what was committed is another member's now. What is refused for its generation or epoch may stay
# with this one, in a rebalance that takes some partitions only.
cdef bint is_lost(int code) noexcept

# Commit offsets. Blocks; answers signals. After a timeout they may still be committed.
cdef int commit(Client client, str what, dict offsets, dict texts, int64_t deadline) except -1
