# C interface of kafkapp.common.errors.

from kafkapp._librdkafka.rdkafka cimport rd_kafka_error_t, rd_kafka_t


cdef class Error:
    cdef str text                       # the details; None: what rd_kafka_err2str says
    cdef int value                      # rd_kafka_resp_err_t
    cdef signed char fatal
    cdef signed char retriable          # -1: unknown
    cdef signed char requires_abort

    cdef tuple key(self)


cdef object member_of(int code)                                     # the ErrorCode of a number
cdef object new_error(int code, str message=*, bint is_fatal=*)     # a new Error; message None: rd_kafka_err2str's
cdef object new_fatal_error(rd_kafka_t *rk, int code, str message)  # the same for a client that may have a fatal error
cdef object new_exception(int code, str message=*)                  # a new KafkaException, of the subclass that fits
cdef object take_error(rd_kafka_error_t *error)                     # a new Error, None for NULL; destroys its argument
