/* Rebalances: whose they are is known by the thread. See rebalances.h. */
#include "rebalances.h"

static _Thread_local void *serving;
static kp_rebalance_handler *handle; /* the same one for all */

void *kp_serve(void *consumer) {
    void *before = serving;
    serving = consumer;
    return before;
}

static void rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *partitions, void *opaque) {
    (void)opaque;
    if (serving)
        handle(serving, rk, err, partitions);
    else
        rd_kafka_assign(rk, NULL);
}

void kp_set_rebalance_handler(rd_kafka_conf_t *conf, kp_rebalance_handler *handler) {
    handle = handler;
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
}
