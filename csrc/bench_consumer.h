/* C consumer loop over librdkafka: what the benchmarks of reading compare with. Knows librdkafka, no Python. */
#ifndef KP_BENCH_CONSUMER_H
#define KP_BENCH_CONSUMER_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

/* Takes records from the queue of a consumer, 1000 a call, looks at the length of each and destroys it, until there were
 * `records` or none has come for `timeout_ms`. Returns how many there were; *bytes is the length of their values. */
int64_t kp_bench_take(rd_kafka_t *rk, int64_t records, int timeout_ms, int64_t *bytes);

/* From now on the moment is kept at which the queue of a consumer has stopped being empty. One consumer a process. */
void kp_bench_watch(rd_kafka_t *rk);

/* The last such moment: nanoseconds of CLOCK_MONOTONIC; 0: there was none since the last call. */
int64_t kp_bench_arrived(void);

#endif
