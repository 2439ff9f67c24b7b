# Declarations of the part of librdkafka's C API that kafkapp calls. Timeouts are milliseconds, -1 waits forever.

from libc.stdint cimport int16_t, int32_t, int64_t


cdef extern from "<librdkafka/rdkafka.h>" nogil:
    const int RD_KAFKA_VERSION
    int rd_kafka_version()
    const char *rd_kafka_version_str()

    # -- handles -----------------------------------------------------------------------------------
    ctypedef struct rd_kafka_t
    ctypedef struct rd_kafka_conf_t
    ctypedef struct rd_kafka_topic_t
    ctypedef struct rd_kafka_topic_conf_t
    ctypedef struct rd_kafka_queue_t
    ctypedef struct rd_kafka_event_t
    ctypedef struct rd_kafka_error_t
    ctypedef struct rd_kafka_headers_t
    ctypedef struct rd_kafka_topic_partition_list_t
    ctypedef struct rd_kafka_consumer_group_metadata_t

    ctypedef enum rd_kafka_type_t:
        RD_KAFKA_PRODUCER
        RD_KAFKA_CONSUMER

    # -- errors ------------------------------------------------------------------------------------
    ctypedef enum rd_kafka_resp_err_t:
        RD_KAFKA_RESP_ERR_NO_ERROR
        RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        RD_KAFKA_RESP_ERR__CONFLICT
        RD_KAFKA_RESP_ERR__FATAL
        RD_KAFKA_RESP_ERR__INVALID_ARG
        RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        RD_KAFKA_RESP_ERR__PURGE_QUEUE
        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        RD_KAFKA_RESP_ERR__OUTDATED
        RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS
        RD_KAFKA_RESP_ERR__QUEUE_FULL
        RD_KAFKA_RESP_ERR__STATE
        RD_KAFKA_RESP_ERR__TIMED_OUT
        RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        RD_KAFKA_RESP_ERR__TRANSPORT
        RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        RD_KAFKA_RESP_ERR__IN_PROGRESS
        RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT

    struct rd_kafka_err_desc:
        rd_kafka_resp_err_t code
        const char *name
        const char *desc

    void rd_kafka_get_err_descs(const rd_kafka_err_desc **errdescs, size_t *cntp)
    const char *rd_kafka_err2str(rd_kafka_resp_err_t err)
    rd_kafka_resp_err_t rd_kafka_last_error()
    rd_kafka_resp_err_t rd_kafka_fatal_error(rd_kafka_t *rk, char *errstr, size_t errstr_size)
    rd_kafka_resp_err_t rd_kafka_test_fatal_error(rd_kafka_t *rk, rd_kafka_resp_err_t err, const char *reason)

    rd_kafka_resp_err_t rd_kafka_error_code(const rd_kafka_error_t *error)
    const char *rd_kafka_error_string(const rd_kafka_error_t *error)
    int rd_kafka_error_is_fatal(const rd_kafka_error_t *error)
    int rd_kafka_error_is_retriable(const rd_kafka_error_t *error)
    int rd_kafka_error_txn_requires_abort(const rd_kafka_error_t *error)
    void rd_kafka_error_destroy(rd_kafka_error_t *error)

    # -- configuration -----------------------------------------------------------------------------
    ctypedef enum rd_kafka_conf_res_t:
        RD_KAFKA_CONF_UNKNOWN
        RD_KAFKA_CONF_OK

    rd_kafka_conf_t *rd_kafka_conf_new()
    rd_kafka_conf_t *rd_kafka_conf_dup(const rd_kafka_conf_t *conf)
    void rd_kafka_conf_destroy(rd_kafka_conf_t *conf)
    rd_kafka_conf_res_t rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                                          char *errstr, size_t errstr_size)
    rd_kafka_conf_res_t rd_kafka_conf_get(const rd_kafka_conf_t *conf, const char *name, char *dest,
                                          size_t *dest_size)
    const char **rd_kafka_conf_dump(rd_kafka_conf_t *conf, size_t *cntp)
    rd_kafka_topic_conf_t *rd_kafka_topic_conf_new()
    const char **rd_kafka_topic_conf_dump(rd_kafka_topic_conf_t *conf, size_t *cntp)
    void rd_kafka_conf_dump_free(const char **arr, size_t cnt)
    const rd_kafka_conf_t *rd_kafka_conf(rd_kafka_t *rk)
    void rd_kafka_conf_set_events(rd_kafka_conf_t *conf, int events)
    void rd_kafka_conf_set_oauthbearer_token_refresh_cb(
        rd_kafka_conf_t *conf, void (*token_refresh_cb)(rd_kafka_t *rk, const char *config, void *opaque))
    void rd_kafka_conf_enable_sasl_queue(rd_kafka_conf_t *conf, int enable)
    rd_kafka_error_t *rd_kafka_sasl_background_callbacks_enable(rd_kafka_t *rk)
    rd_kafka_topic_conf_t *rd_kafka_default_topic_conf_dup(rd_kafka_t *rk)
    void rd_kafka_topic_conf_destroy(rd_kafka_topic_conf_t *topic_conf)
    void rd_kafka_topic_conf_set_opaque(rd_kafka_topic_conf_t *conf, void *rkt_opaque)

    # -- client ------------------------------------------------------------------------------------
    rd_kafka_t *rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t errstr_size)
    void rd_kafka_destroy(rd_kafka_t *rk)
    const char *rd_kafka_name(const rd_kafka_t *rk)
    rd_kafka_resp_err_t rd_kafka_set_log_queue(rd_kafka_t *rk, rd_kafka_queue_t *rkqu)
    void rd_kafka_mem_free(rd_kafka_t *rk, void *ptr)
    rd_kafka_resp_err_t rd_kafka_oauthbearer_set_token(rd_kafka_t *rk, const char *token_value,
                                                       int64_t md_lifetime_ms, const char *md_principal_name,
                                                       const char **extensions, size_t extension_size,
                                                       char *errstr, size_t errstr_size)
    rd_kafka_resp_err_t rd_kafka_oauthbearer_set_token_failure(rd_kafka_t *rk, const char *errstr)

    # -- topics ------------------------------------------------------------------------------------
    rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *rk, const char *topic, rd_kafka_topic_conf_t *conf)
    void rd_kafka_topic_destroy(rd_kafka_topic_t *rkt)

    const int32_t RD_KAFKA_PARTITION_UA
    const int64_t RD_KAFKA_OFFSET_INVALID

    # -- producing ---------------------------------------------------------------------------------
    ctypedef struct rd_kafka_message_t:
        rd_kafka_resp_err_t err
        rd_kafka_topic_t *rkt
        int32_t partition
        void *payload
        size_t len
        void *key
        size_t key_len
        int64_t offset
        void *_private

    ctypedef enum rd_kafka_msg_status_t:
        RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED

    const int RD_KAFKA_MSG_F_COPY

    int rd_kafka_produce(rd_kafka_topic_t *rkt, int32_t partition, int msgflags, void *payload, size_t len,
                         const void *key, size_t keylen, void *msg_opaque)
    int rd_kafka_produce_batch(rd_kafka_topic_t *rkt, int32_t partition, int msgflags,
                               rd_kafka_message_t *rkmessages, int message_cnt)
    rd_kafka_resp_err_t rd_kafka_flush(rd_kafka_t *rk, int timeout_ms)

    const int RD_KAFKA_PURGE_F_QUEUE
    const int RD_KAFKA_PURGE_F_INFLIGHT
    const int RD_KAFKA_PURGE_F_NON_BLOCKING
    rd_kafka_resp_err_t rd_kafka_purge(rd_kafka_t *rk, int purge_flags)

    rd_kafka_headers_t *rd_kafka_headers_new(size_t initial_count)
    void rd_kafka_headers_destroy(rd_kafka_headers_t *hdrs)
    rd_kafka_resp_err_t rd_kafka_header_add(rd_kafka_headers_t *hdrs, const char *name, ssize_t name_size,
                                            const void *value, ssize_t value_size)

    # -- queues and events -------------------------------------------------------------------------
    const int RD_KAFKA_EVENT_DR
    const int RD_KAFKA_EVENT_LOG
    const int RD_KAFKA_EVENT_ERROR
    const int RD_KAFKA_EVENT_STATS
    const int RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH
    const int RD_KAFKA_EVENT_BACKGROUND

    rd_kafka_queue_t *rd_kafka_queue_get_main(rd_kafka_t *rk)
    void rd_kafka_queue_destroy(rd_kafka_queue_t *rkqu)
    rd_kafka_event_t *rd_kafka_queue_poll(rd_kafka_queue_t *rkqu, int timeout_ms)
    void rd_kafka_queue_yield(rd_kafka_queue_t *rkqu)
    size_t rd_kafka_queue_length(rd_kafka_queue_t *rkqu)
    void rd_kafka_queue_io_event_enable(rd_kafka_queue_t *rkqu, int fd, const void *payload, size_t size)

    int rd_kafka_event_type(const rd_kafka_event_t *rkev)
    void rd_kafka_event_destroy(rd_kafka_event_t *rkev)
    rd_kafka_resp_err_t rd_kafka_event_error(rd_kafka_event_t *rkev)
    const char *rd_kafka_event_error_string(rd_kafka_event_t *rkev)
    int rd_kafka_event_error_is_fatal(rd_kafka_event_t *rkev)
    int rd_kafka_event_log(rd_kafka_event_t *rkev, const char **fac, const char **str, int *level)
    const char *rd_kafka_event_stats(rd_kafka_event_t *rkev)
    const char *rd_kafka_event_config_string(rd_kafka_event_t *rkev)

    # -- metadata ----------------------------------------------------------------------------------
    ctypedef struct rd_kafka_metadata_broker_t:
        int32_t id
        char *host
        int port

    ctypedef struct rd_kafka_metadata_partition_t:
        int32_t id
        rd_kafka_resp_err_t err
        int32_t leader
        int replica_cnt
        int32_t *replicas
        int isr_cnt
        int32_t *isrs

    ctypedef struct rd_kafka_metadata_topic_t:
        char *topic
        int partition_cnt
        rd_kafka_metadata_partition_t *partitions
        rd_kafka_resp_err_t err

    ctypedef struct rd_kafka_metadata_t:
        int broker_cnt
        rd_kafka_metadata_broker_t *brokers
        int topic_cnt
        rd_kafka_metadata_topic_t *topics
        int32_t orig_broker_id
        char *orig_broker_name

    rd_kafka_resp_err_t rd_kafka_metadata(rd_kafka_t *rk, int all_topics, rd_kafka_topic_t *only_rkt,
                                          const rd_kafka_metadata_t **metadatap, int timeout_ms)
    void rd_kafka_metadata_destroy(const rd_kafka_metadata_t *metadata)

    # -- transactions ------------------------------------------------------------------------------
    rd_kafka_error_t *rd_kafka_init_transactions(rd_kafka_t *rk, int timeout_ms)
    rd_kafka_error_t *rd_kafka_begin_transaction(rd_kafka_t *rk)
    rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *rk, int timeout_ms)
    rd_kafka_error_t *rd_kafka_abort_transaction(rd_kafka_t *rk, int timeout_ms)
    rd_kafka_error_t *rd_kafka_send_offsets_to_transaction(
        rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets,
        const rd_kafka_consumer_group_metadata_t *cgmetadata, int timeout_ms)
    rd_kafka_consumer_group_metadata_t *rd_kafka_consumer_group_metadata_new_with_genid(
        const char *group_id, int32_t generation_id, const char *member_id, const char *group_instance_id)
    void rd_kafka_consumer_group_metadata_destroy(rd_kafka_consumer_group_metadata_t *cgmetadata)

    ctypedef struct rd_kafka_topic_partition_t:
        char *topic
        int32_t partition
        int64_t offset
        void *metadata
        size_t metadata_size
        rd_kafka_resp_err_t err

    rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int size)
    void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *rkparlist)
    rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *rktparlist,
                                                                  const char *topic, int32_t partition)
