/* A partition that is assigned again while it stops, and removed again: assign() twice, and close() at once, in a cluster of its own.
 *
 * librdkafka's thread logs that it stops a partition, and is held there, so that close() comes before the partition has
 * answered. Without that it takes some hundred consumers.
 */
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "client.h"

enum { HELD_US = 20000, PARTITIONS = 2 };

static int stops; /* of librdkafka's one thread, read when it has ended */

static void logged(const rd_kafka_t *rk, int level, const char *fac, const char *text) {
    (void)rk;
    (void)level;
    (void)fac;
    if (strstr(text, "Stopping fetch")) {
        stops++;
        usleep(HELD_US);
    }
}

static rd_kafka_t *new_consumer(const char *servers) {
    const char *const settings[][2] = {{"bootstrap.servers", servers}, {"group.id", "g"}, {"enable.partition.eof", "true"},
                                       {"debug", "topic"}, {NULL, NULL}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, logged);
    return new_client(RD_KAFKA_CONSUMER, conf, settings);
}

static void assign(rd_kafka_t *rk, int first) {
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(PARTITIONS);
    int i;
    for (i = first; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(partitions, "t", i)->offset = 0;
    if (rd_kafka_assign(rk, partitions))
        exit(2);
    rd_kafka_topic_partition_list_destroy(partitions);
}

int main(void) {
    rd_kafka_t *keeper = new_client(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), NO_SETTINGS), *rk;
    rd_kafka_mock_cluster_t *mock = rd_kafka_mock_cluster_new(keeper, 1);
    rd_kafka_message_t *message;
    int ends = 0;
    rd_kafka_mock_topic_create(mock, "t", PARTITIONS, 1);
    rk = new_consumer(rd_kafka_mock_cluster_bootstraps(mock));
    rd_kafka_poll_set_consumer(rk);
    assign(rk, 0);
    while (ends < PARTITIONS) { /* the topic is known, and both are read */
        message = rd_kafka_consumer_poll(rk, 20000);
        if (!message)
            return 2;
        ends += message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        rd_kafka_message_destroy(message);
    }
    assign(rk, 1);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(keeper);
    printf("%d stopped\n", stops);
    return 0;
}
