/* Rebalances: librdkafka's callback, passed to the consumer whose queue this thread serves. */
#ifndef KAFKAPP_REBALANCES_H
#define KAFKAPP_REBALANCES_H

#include <librdkafka/rdkafka.h>

/* What a consumer does in a rebalance: it assigns or unassigns. */
typedef void kp_rebalance_handler(void *consumer, rd_kafka_t *rk, rd_kafka_resp_err_t err,
                                  rd_kafka_topic_partition_list_t *partitions);

/* Have this handler called, for the consumer that serves its queue in the thread where librdkafka calls back; where none
 * does, such as in the destruction of a client, all is unassigned: no opaque has to outlive the rd_kafka_t. */
void kp_set_rebalance_handler(rd_kafka_conf_t *conf, kp_rebalance_handler *handler);

/* The consumer that serves its queue in this thread from now on; returns the one before, to be set again afterwards. */
void *kp_serve(void *consumer);

#endif
