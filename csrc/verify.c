/* TLS certificate check: the reasons of a refusal. librdkafka says only that a certificate could not be verified, not
 * whether it has expired, is for another host, or comes from an unknown authority. The numbers are those of
 * <openssl/x509_vfy.h>; kafkapp does not link OpenSSL. */
#include "verify.h"

#include <stdio.h>

static const char *reason(int x509_error) {
    switch (x509_error) {
    case 9:
        return "the certificate is not valid yet";
    case 10:
        return "the certificate has expired";
    case 18:
        return "the certificate is signed by itself";
    case 19:
        return "unknown authority: the chain ends in one that is not trusted";
    case 2:
    case 20:
    case 21:
        return "unknown authority: nobody who is trusted has signed the certificate";
    case 23:
        return "the certificate has been revoked";
    case 24:
    case 79:
        return "the certificate of the authority may not sign others";
    case 26:
        return "the certificate is not for servers";
    case 62:
        return "hostname mismatch: the certificate is for another host";
    case 64:
        return "IP address mismatch: the certificate is for another host";
    default:
        return NULL;
    }
}

int kp_verify(rd_kafka_t *rk, const char *broker_name, int32_t broker_id, int *x509_error, int depth, const char *buf,
              size_t size, char *errstr, size_t errstr_size, void *opaque) {
    const char *text;
    (void)rk, (void)broker_name, (void)broker_id, (void)depth, (void)buf, (void)size, (void)opaque;
    if (*x509_error == 0)
        return 1; /* rdkafka.h: "OpenSSL's verification of the certificate succeed (0)" */
    text = reason(*x509_error);
    if (text)
        snprintf(errstr, errstr_size, "%s", text);
    else
        snprintf(errstr, errstr_size, "OpenSSL's X509_V_ERR %d", *x509_error);
    return 0;
}

int kp_verify_certificates(rd_kafka_conf_t *conf) {
    return rd_kafka_conf_set_ssl_cert_verify_cb(conf, kp_verify) == RD_KAFKA_CONF_OK;
}
