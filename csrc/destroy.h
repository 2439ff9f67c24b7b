/* Destruction of an rd_kafka_t on a thread that is not Python's. */
#ifndef KAFKAPP_DESTROY_H
#define KAFKAPP_DESTROY_H

#include <librdkafka/rdkafka.h>

/* rd_kafka_destroy() joins the broker threads, and one of them may be inside getaddrinfo() until a name server answers;
 * no flag of librdkafka shortens that. So a thread that enters no interpreter calls it: a caller may stop waiting for
 * it, and the process may end meanwhile. Reference-counted: the thread and the caller own one reference each. */
typedef struct kp_destruction kp_destruction;

/* Takes ownership of the rd_kafka_t. `held`: it is a consumer, of whose memory users hold some, for which rd_kafka_destroy()
 * waits as long as they do; its connections end before. Returns NULL when no thread could start: then it is destroyed
 * already, or if it is held never will be. */
kp_destruction *kp_destruction_start(rd_kafka_t *rk, int held);

/* Blocks until it is destroyed, at most timeout_ms. Returns whether it is. */
int kp_destruction_wait(kp_destruction *end, int timeout_ms);

/* The same, but of one that is held: until it has left its group, and only waits for its memory. */
int kp_destruction_wait_left(kp_destruction *end, int timeout_ms);

/* Acquire and release a reference; the last release frees it. */
kp_destruction *kp_destruction_share(kp_destruction *end);
void kp_destruction_release(kp_destruction *end);

#endif
