# C interface of kafkapp.consumer.partition_calls.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_partition_list_t)
from kafkapp.client.client cimport Client

cdef enum PartitionCall:
    SEEK
    COMMITTED
    OFFSETS_FOR_TIMES

# Whether the same call may succeed a moment later.
cdef bint passes(rd_kafka_resp_err_t err) noexcept nogil

# A list of {(topic, partition): offset}, and back, which raises the errors in it.
cdef rd_kafka_topic_partition_list_t *new_partition_list(object offsets) except NULL
cdef dict offsets_of(rd_kafka_topic_partition_list_t *partitions, str what)
cdef dict call_partitions(Client client, str what, PartitionCall call, dict offsets, int64_t deadline)

# librdkafka's assignment: more, or less; and the answer of its thread, behind all that it was asked before.
cdef bint is_cooperative(rd_kafka_t *rk) noexcept nogil
cdef int await_answer(rd_kafka_t *rk) noexcept nogil
cdef rd_kafka_resp_err_t add_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                        rd_kafka_queue_t *records) noexcept nogil
cdef rd_kafka_resp_err_t remove_partitions(rd_kafka_t *rk, object places) except *
