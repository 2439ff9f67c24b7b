"""Handles: librdkafka's own clients, which the embedded cluster and its reader need."""
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_CONF_OK, RD_KAFKA_RESP_ERR__INVALID_ARG, rd_kafka_conf_destroy, rd_kafka_conf_new, rd_kafka_conf_set,
    rd_kafka_conf_t, rd_kafka_last_error, rd_kafka_new, rd_kafka_t, rd_kafka_type_t)
from kafkapp.common.errors cimport new_exception


cdef rd_kafka_t *new_handle(rd_kafka_type_t type, dict settings) except NULL:
    cdef char errstr[512]
    cdef rd_kafka_t *handle
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    for name, value in {b"log_level": b"0", **settings}.items():
        if rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK:
            rd_kafka_conf_destroy(conf)
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, errstr.decode("utf-8", "replace"))
    with nogil:
        handle = rd_kafka_new(type, conf, errstr, sizeof(errstr))
    if handle == NULL:
        rd_kafka_conf_destroy(conf)     # rdkafka.h: rd_kafka_new() takes the conf only if it succeeds
        raise new_exception(rd_kafka_last_error(), errstr.decode("utf-8", "replace"))
    return handle
