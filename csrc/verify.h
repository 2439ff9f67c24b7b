/* TLS certificate check: adds to librdkafka's error why a broker's certificate is refused. No Python. */
#ifndef KAFKAPP_VERIFY_H
#define KAFKAPP_VERIFY_H

#include <librdkafka/rdkafka.h>

/* For rd_kafka_conf_set_ssl_cert_verify_cb(): OpenSSL's decision, unchanged, with its reason as text. */
int kp_verify(rd_kafka_t *rk, const char *broker_name, int32_t broker_id, int *x509_error, int depth, const char *buf,
              size_t size, char *errstr, size_t errstr_size, void *opaque);

/* Install it in a configuration. Returns 0 when librdkafka was built without TLS. */
int kp_verify_certificates(rd_kafka_conf_t *conf);

#endif
