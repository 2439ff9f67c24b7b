# Declarations of the part of librdkafka's mock cluster API that kafkapp calls; times are milliseconds. The API is
# experimental ("SUBJECT TO CHANGE OR REMOVAL"). Functions newer than 2.0.2 are weak: a module built with one release
# loads with any other, where a missing function is NULL.

from libc.stdint cimport int16_t, int32_t, int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_resp_err_t, rd_kafka_t


cdef extern from *:
    """
    #include <librdkafka/rdkafka.h>
    #include <librdkafka/rdkafka_mock.h>

    struct rd_kafka_mock_request_s;
    void rd_kafka_mock_start_request_tracking(rd_kafka_mock_cluster_t *mcluster);
    void rd_kafka_mock_stop_request_tracking(rd_kafka_mock_cluster_t *mcluster);
    struct rd_kafka_mock_request_s **rd_kafka_mock_get_requests(rd_kafka_mock_cluster_t *mcluster, size_t *cntp);
    void rd_kafka_mock_request_destroy(struct rd_kafka_mock_request_s *mreq);
    int32_t rd_kafka_mock_request_id(struct rd_kafka_mock_request_s *mreq);
    int16_t rd_kafka_mock_request_api_key(struct rd_kafka_mock_request_s *mreq);
    int64_t rd_kafka_mock_request_timestamp(struct rd_kafka_mock_request_s *mreq);
    void rd_kafka_mock_group_initial_rebalance_delay_ms(rd_kafka_mock_cluster_t *mcluster, int32_t delay_ms);
    #pragma weak rd_kafka_mock_group_initial_rebalance_delay_ms
    #pragma weak rd_kafka_mock_start_request_tracking
    #pragma weak rd_kafka_mock_stop_request_tracking
    #pragma weak rd_kafka_mock_get_requests
    #pragma weak rd_kafka_mock_request_destroy
    #pragma weak rd_kafka_mock_request_id
    #pragma weak rd_kafka_mock_request_api_key
    #pragma weak rd_kafka_mock_request_timestamp
    """


cdef extern from "<librdkafka/rdkafka_mock.h>" nogil:
    ctypedef struct rd_kafka_mock_cluster_t

    rd_kafka_mock_cluster_t *rd_kafka_mock_cluster_new(rd_kafka_t *rk, int broker_cnt)
    void rd_kafka_mock_cluster_destroy(rd_kafka_mock_cluster_t *mcluster)
    const char *rd_kafka_mock_cluster_bootstraps(const rd_kafka_mock_cluster_t *mcluster)

    # -- errors ------------------------------------------------------------------------------------
    void rd_kafka_mock_push_request_errors_array(rd_kafka_mock_cluster_t *mcluster, int16_t ApiKey, size_t cnt,
                                                 const rd_kafka_resp_err_t *errors)
    void rd_kafka_mock_clear_request_errors(rd_kafka_mock_cluster_t *mcluster, int16_t ApiKey)
    # cnt pairs of rd_kafka_resp_err_t err, int rtt_ms
    rd_kafka_resp_err_t rd_kafka_mock_broker_push_request_error_rtts(rd_kafka_mock_cluster_t *mcluster,
                                                                     int32_t broker_id, int16_t ApiKey, size_t cnt,
                                                                     ...)
    void rd_kafka_mock_topic_set_error(rd_kafka_mock_cluster_t *mcluster, const char *topic, rd_kafka_resp_err_t err)

    # -- topics and brokers; broker_id -1: no leader, or all brokers ---------------------------------
    rd_kafka_resp_err_t rd_kafka_mock_topic_create(rd_kafka_mock_cluster_t *mcluster, const char *topic,
                                                   int partition_cnt, int replication_factor)
    rd_kafka_resp_err_t rd_kafka_mock_partition_set_leader(rd_kafka_mock_cluster_t *mcluster, const char *topic,
                                                           int32_t partition, int32_t broker_id)
    rd_kafka_resp_err_t rd_kafka_mock_broker_set_down(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id)
    rd_kafka_resp_err_t rd_kafka_mock_broker_set_up(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id)
    rd_kafka_resp_err_t rd_kafka_mock_broker_set_rtt(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id,
                                                     int rtt_ms)

    # -- groups: weak, NULL in older librdkafkas ---------------------------------------------------
    void rd_kafka_mock_group_initial_rebalance_delay_ms(rd_kafka_mock_cluster_t *mcluster, int32_t delay_ms)

    # -- what clients asked for: weak, NULL in older librdkafkas -----------------------------------
    ctypedef struct rd_kafka_mock_request_t "struct rd_kafka_mock_request_s"

    void rd_kafka_mock_start_request_tracking(rd_kafka_mock_cluster_t *mcluster)
    void rd_kafka_mock_stop_request_tracking(rd_kafka_mock_cluster_t *mcluster)
    rd_kafka_mock_request_t **rd_kafka_mock_get_requests(rd_kafka_mock_cluster_t *mcluster, size_t *cntp)
    void rd_kafka_mock_request_destroy(rd_kafka_mock_request_t *mreq)
    int32_t rd_kafka_mock_request_id(rd_kafka_mock_request_t *mreq)
    int16_t rd_kafka_mock_request_api_key(rd_kafka_mock_request_t *mreq)
    int64_t rd_kafka_mock_request_timestamp(rd_kafka_mock_request_t *mreq)
