/* The end of an rd_kafka_t, on a thread that is not Python's. */
#ifndef KAFKAPP_DESTROY_H
#define KAFKAPP_DESTROY_H

#include <librdkafka/rdkafka.h>

/* rd_kafka_destroy() joins the broker threads, and one of them may be within getaddrinfo() for as long as a name server
 * keeps silent; no flag of librdkafka's shortens that. So a thread calls it that enters no interpreter: whoever waits
 * for it may stop waiting, and the process may end meanwhile. Owned by two, the thread and the caller: the last frees. */
typedef struct kp_destruction kp_destruction;

/* Takes the rd_kafka_t. NULL: without a thread it was destroyed right here. */
kp_destruction *kp_destruction_start(rd_kafka_t *rk);

/* Waits until it is destroyed, at most timeout_ms. Returns whether it is. */
int kp_destruction_wait(kp_destruction *end, int timeout_ms);

/* One more owner, and one less. */
kp_destruction *kp_destruction_share(kp_destruction *end);
void kp_destruction_release(kp_destruction *end);

#endif
