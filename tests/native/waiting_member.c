/* A member that waits for its group for longer than its session: it is the only one, and the embedded cluster awaits others first. */
#include <time.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "client.h"

/* The headers may be an older release's. */
void rd_kafka_mock_group_initial_rebalance_delay_ms(rd_kafka_mock_cluster_t *mock, int32_t delay_ms);

enum { DELAY_MS = 5000, WAIT_S = 15 };

static rd_kafka_t *new_consumer(const char *servers) {
    const char *const settings[][2] = {{"bootstrap.servers", servers}, {"group.id", "g"}, {"session.timeout.ms", "2000"},
                                       {"heartbeat.interval.ms", "500"}, {NULL, NULL}};
    return new_client(RD_KAFKA_CONSUMER, rd_kafka_conf_new(), settings);
}

static int assigned(rd_kafka_t *rk) {
    rd_kafka_topic_partition_list_t *partitions = NULL;
    int count;
    if (rd_kafka_assignment(rk, &partitions))
        exit(2);
    count = partitions->cnt;
    rd_kafka_topic_partition_list_destroy(partitions);
    return count;
}

int main(void) {
    rd_kafka_t *keeper = new_client(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), NO_SETTINGS), *rk;
    rd_kafka_mock_cluster_t *mock = rd_kafka_mock_cluster_new(keeper, 1);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_message_t *message;
    time_t end = time(NULL) + WAIT_S;
    rd_kafka_mock_topic_create(mock, "t", 1, 1);
    rd_kafka_mock_group_initial_rebalance_delay_ms(mock, DELAY_MS);
    rk = new_consumer(rd_kafka_mock_cluster_bootstraps(mock));
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_add(topics, "t", RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(rk, topics))
        return 2;
    while (!assigned(rk) && time(NULL) < end) {
        message = rd_kafka_consumer_poll(rk, 100);
        if (message)
            rd_kafka_message_destroy(message);
    }
    printf("%d assigned\n", assigned(rk));
    fflush(stdout);
    _Exit(0); /* a consumer that waits for its group would hold its end up */
}
