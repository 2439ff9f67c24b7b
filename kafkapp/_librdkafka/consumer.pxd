# Declarations of the part of librdkafka's C API that reads records; times are milliseconds.

from libc.stdint cimport int32_t, int64_t

from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_conf_t, rd_kafka_consumer_group_metadata_t, rd_kafka_error_t, rd_kafka_event_t, rd_kafka_headers_t,
    rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_partition_list_t,
    rd_kafka_topic_partition_t, rd_kafka_topic_t, rd_kafka_type_t)


cdef extern from "<librdkafka/rdkafka.h>" nogil:
    const rd_kafka_type_t RD_KAFKA_CONSUMER
    const int64_t RD_KAFKA_OFFSET_BEGINNING
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__PARTITION_EOF
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__DESTROY
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID

    ctypedef enum rd_kafka_timestamp_type_t:
        RD_KAFKA_TIMESTAMP_NOT_AVAILABLE

    rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk)
    rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition)
    void rd_kafka_queue_forward(rd_kafka_queue_t *src, rd_kafka_queue_t *dst)
    int rd_kafka_consume_start_queue(rd_kafka_topic_t *rkt, int32_t partition, int64_t offset, rd_kafka_queue_t *rkqu)
    int rd_kafka_consume_stop(rd_kafka_topic_t *rkt, int32_t partition)
    rd_kafka_message_t *rd_kafka_consume_queue(rd_kafka_queue_t *rkqu, int timeout_ms)
    void rd_kafka_message_destroy(rd_kafka_message_t *rkmessage)
    int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *rkmessage, rd_kafka_timestamp_type_t *tstype)
    rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *rkmessage, rd_kafka_headers_t **hdrsp)
    rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *hdrs, size_t idx, const char **namep,
                                                const void **valuep, size_t *sizep)
    rd_kafka_resp_err_t rd_kafka_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, int timeout_ms)

    # -- assigned partitions: lists of them; their `offset` and `err` are in and out
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__NO_OFFSET
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_NOT_COORDINATOR
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__WAIT_COORD
    void rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, void (*error_cb)(rd_kafka_t *rk, int err, const char *reason,
                                                                            void *opaque))
    rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *rk)
    void rd_kafka_queue_cb_event_enable(rd_kafka_queue_t *rkqu, void (*event_cb)(rd_kafka_t *rk, void *opaque) noexcept,
                                        void *opaque)
    rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
    rd_kafka_error_t *rd_kafka_seek_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                               int timeout_ms)
    rd_kafka_resp_err_t rd_kafka_pause_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions)
    rd_kafka_resp_err_t rd_kafka_resume_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions)
    int rd_kafka_topic_partition_list_del(rd_kafka_topic_partition_list_t *rktparlist,
                                          const char *topic, int32_t partition)
    rd_kafka_resp_err_t rd_kafka_offsets_for_times(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *offsets,
                                                   int timeout_ms)
    rd_kafka_resp_err_t rd_kafka_commit_queue(
        rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets, rd_kafka_queue_t *rkqu,
        void (*cb)(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *offsets, void *opaque),
        void *opaque)
    const int RD_KAFKA_EVENT_OFFSET_COMMIT
    # -- groups
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__FAIL
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED
    const rd_kafka_resp_err_t RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
    rd_kafka_resp_err_t rd_kafka_subscribe(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *topics)
    rd_kafka_resp_err_t rd_kafka_unsubscribe(rd_kafka_t *rk)
    rd_kafka_error_t *rd_kafka_incremental_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
    rd_kafka_error_t *rd_kafka_incremental_unassign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
    const char *rd_kafka_rebalance_protocol(rd_kafka_t *rk)
    int rd_kafka_assignment_lost(rd_kafka_t *rk)
    rd_kafka_resp_err_t rd_kafka_assignment(rd_kafka_t *rk, rd_kafka_topic_partition_list_t **partitions)
    rd_kafka_consumer_group_metadata_t *rd_kafka_consumer_group_metadata(rd_kafka_t *rk)
    rd_kafka_error_t *rd_kafka_consumer_group_metadata_write(const rd_kafka_consumer_group_metadata_t *cgmd,
                                                             void **bufferp, size_t *sizep)
    void rd_kafka_mem_free(rd_kafka_t *rk, void *ptr)

    rd_kafka_topic_partition_list_t *rd_kafka_event_topic_partition_list(rd_kafka_event_t *rkev)
    void *rd_kafka_event_opaque(rd_kafka_event_t *rkev)

    ctypedef struct rd_kafka_topic_partition_list_fields "rd_kafka_topic_partition_list_t":     # to cast to
        int cnt
        rd_kafka_topic_partition_t *elems

    # -- for an event loop, and for what a poll has returned and nobody has seen
    ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *rkqu, int timeout_ms, rd_kafka_message_t **rkmessages,
                                         size_t rkmessages_size)
    rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_find(
        const rd_kafka_topic_partition_list_t *rktparlist, const char *topic, int32_t partition)
