/* C producer loops over librdkafka: the floor that the benchmarks compare with.
 * Knows librdkafka and POSIX threads, no Python. */
#ifndef KP_BENCH_FLOOR_H
#define KP_BENCH_FLOOR_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdint.h>

typedef struct {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;   /* the main queue, with delivery reports as events */
    rd_kafka_topic_t **topics;
    int topic_cnt;
    int partition_cnt;
    pthread_t drainer;
    pthread_mutex_t lock;      /* guards the four fields below */
    pthread_cond_t counted;     /* signalled when a count has changed */
    int64_t delivered;
    int64_t failed;
    int stop;
    rd_kafka_resp_err_t first_error; /* of a failed report */
} kp_floor;

/* Takes `conf`, also on failure. Returns 0, or -1 with the reason in `errstr`. */
int kp_floor_open(kp_floor *f, rd_kafka_conf_t *conf, const char *topic_prefix, int topic_cnt, int partition_cnt,
                  char *errstr, size_t errstr_size);

/* Sends n records of one value, round robin over the topics and partitions; blocks while the queue is full.
 * `batch`: records in each call of rd_kafka_produce_batch(); 0: rd_kafka_produce() for each record. */
rd_kafka_resp_err_t kp_floor_send(kp_floor *f, void *value, size_t size, int64_t n, int batch, int msgflags);

/* Blocks until n records are reported. Returns 0, or -1 when the timeout has expired. */
int kp_floor_wait(kp_floor *f, int64_t n, int timeout_ms);

/* Sends n records one by one, each after the delivery report of the last; seconds[i] is the time of the i-th. */
rd_kafka_resp_err_t kp_floor_round_trips(kp_floor *f, void *value, size_t size, int n, double *seconds);

/* Purges what is queued; the reports follow. */
void kp_floor_purge(kp_floor *f);

/* The end offset of a partition, asked from the broker, or -1. */
int64_t kp_floor_end_offset(kp_floor *f, const char *topic, int32_t partition, int timeout_ms);

void kp_floor_close(kp_floor *f);

#endif
