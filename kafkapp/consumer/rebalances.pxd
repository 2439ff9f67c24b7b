# C interface of kafkapp.consumer.rebalances, and declarations of csrc/rebalances.h.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_conf_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_partition_list_t)
from kafkapp.consumer.record_queue cimport RecordQueue


cdef extern from "rebalances.h" nogil:
    ctypedef void kp_rebalance_handler(void *consumer, rd_kafka_t *rk, rd_kafka_resp_err_t err,
                                       rd_kafka_topic_partition_list_t *partitions) noexcept
    void kp_set_rebalance_handler(rd_kafka_conf_t *conf, kp_rebalance_handler *handler)


cdef int handle_rebalances(rd_kafka_conf_t *conf) noexcept     # before the rd_kafka_t is made
cdef int replace_assignment(RecordQueue queue, dict starts) except -1
cdef int subscribe(RecordQueue queue, list topics, object on_rebalance, int64_t deadline, bint waits) except -1
cdef tuple rebalances_of(RecordQueue queue)
cdef int wait_for_assignment(RecordQueue queue, tuple before, int64_t deadline, bint forgets) except -1
cdef int unsubscribe(RecordQueue queue, int64_t deadline) except -1
cdef int give_up_all(RecordQueue queue, int64_t deadline, bint commits, list raised) except -1
