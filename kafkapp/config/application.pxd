# C interface of kafkapp.config.application.

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_conf_t, rd_kafka_t, rd_kafka_type_t

cdef rd_kafka_conf_t *new_conf(dict properties) except NULL
cdef rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t size) noexcept nogil
cdef bint boolean(dict properties, str name, bint default) except -1
cdef int64_t whole_number(dict properties, str name, int64_t least, int64_t most) except -1
cdef rd_kafka_conf_t *conf_in_force(rd_kafka_t *rk) except NULL     # a copy, which the caller owns
cdef object conf_value(const rd_kafka_conf_t *conf, str name)
cdef bint set_up_tokens(rd_kafka_conf_t *conf, dict properties) except -1   # True: librdkafka makes unsecured tokens
cdef str refused_client(str text, dict properties)
cdef list doubtful(const rd_kafka_conf_t *conf, dict properties)
