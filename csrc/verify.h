/* Why a broker's certificate is refused, in words. Knows librdkafka's C API and nothing of Python. */
#ifndef KAFKAPP_VERIFY_H
#define KAFKAPP_VERIFY_H

#include <librdkafka/rdkafka.h>

/* For rd_kafka_conf_set_ssl_cert_verify_cb(): OpenSSL's verdict as it is, neither more nor less, with its reason. */
int kp_verify(rd_kafka_t *rk, const char *broker_name, int32_t broker_id, int *x509_error, int depth, const char *buf,
              size_t size, char *errstr, size_t errstr_size, void *opaque);

/* Have a configuration use it. Returns 0 when librdkafka has no TLS. */
int kp_verify_certificates(rd_kafka_conf_t *conf);

#endif
