/* Interceptors that count the records that a producer is given and those whose fate they are told; a librdkafka plugin. */
#include <stddef.h>

/* As <librdkafka/rdkafka.h>, which need not be installed, has them. */
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_message_s rd_kafka_message_t;
typedef int rd_kafka_resp_err_t;
typedef rd_kafka_resp_err_t on_message(rd_kafka_t *rk, rd_kafka_message_t *message, void *opaque);
typedef rd_kafka_resp_err_t on_client(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t size);
rd_kafka_resp_err_t rd_kafka_interceptor_add_on_send(rd_kafka_t *rk, const char *name, on_message *call, void *opaque);
rd_kafka_resp_err_t rd_kafka_interceptor_add_on_acknowledgement(rd_kafka_t *rk, const char *name, on_message *call,
                                                                void *opaque);
rd_kafka_resp_err_t rd_kafka_conf_interceptor_add_on_new(rd_kafka_conf_t *conf, const char *name, on_client *call,
                                                         void *opaque);

static int sends, acknowledgements;

static rd_kafka_resp_err_t on_send(rd_kafka_t *rk, rd_kafka_message_t *message, void *opaque) {
    (void)rk, (void)message, (void)opaque;
    __atomic_add_fetch(&sends, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t *rk, rd_kafka_message_t *message, void *opaque) {
    (void)rk, (void)message, (void)opaque;
    __atomic_add_fetch(&acknowledgements, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t size) {
    (void)conf, (void)opaque, (void)text, (void)size;
    rd_kafka_interceptor_add_on_send(rk, "counts", on_send, NULL);
    return rd_kafka_interceptor_add_on_acknowledgement(rk, "counts", on_acknowledgement, NULL);
}

int counted_sends(void) {
    return sends;
}

int counted_acknowledgements(void) {
    return acknowledgements;
}

rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **opaque, char *text, size_t size) {
    (void)opaque, (void)text, (void)size;
    return rd_kafka_conf_interceptor_add_on_new(conf, "counts", on_new, NULL);
}
