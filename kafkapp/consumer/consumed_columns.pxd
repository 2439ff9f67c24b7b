# C interface of kafkapp.consumer.consumed_columns, and declarations of csrc/consumed_columns.h.

cimport cython
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_partition_list_t)


cdef extern from "arrow_structs.h" nogil:
    struct ArrowSchema:
        void (*release)(ArrowSchema *)
    struct ArrowArray:
        void (*release)(ArrowArray *)

cdef extern from "consumed_columns.h" nogil:
    ctypedef struct kp_bytes_column:
        int32_t *offsets
        uint8_t *data
        uint8_t *validity
        int64_t nulls

    ctypedef struct kp_place:
        int32_t topic
        int32_t partition
        int64_t offset

    ctypedef struct kp_places:
        kp_place *places
        size_t count

    ctypedef struct kp_consume_error:
        rd_kafka_resp_err_t code
        int32_t topic
        int32_t partition
        int64_t offset
        char *text

    int32_t KP_OF_CLIENT

    ctypedef struct kp_pins:
        pass

    ctypedef struct kp_keeping:
        size_t least
        int64_t limit
        int64_t around

    ctypedef struct kp_kept_messages:
        kp_keeping keeping
        size_t count

    ctypedef struct kp_consumed:
        size_t count
        int32_t *topics
        int32_t *partitions
        int32_t *leader_epochs
        int64_t *offsets
        int64_t *timestamps
        int8_t *timestamp_types
        kp_bytes_column keys
        kp_bytes_column values      # without those that are kept: see kp_consumed_values()
        kp_kept_messages kept
        int with_headers
        int32_t *header_offsets
        size_t header_count
        kp_bytes_column header_names
        kp_bytes_column header_values
        kp_bytes_column names
        size_t name_count
        kp_places ends
        kp_places eofs
        kp_consume_error *errors
        size_t error_count
        rd_kafka_topic_partition_list_t *refused
        bint discarded

    ctypedef struct kp_consumed_size:
        size_t rows
        size_t key_bytes
        size_t value_bytes

    ctypedef struct kp_spare
    kp_spare *kp_spare_new()
    void kp_spare_close(kp_spare *spare)
    void kp_spare_release(kp_spare *spare)
    kp_consumed *kp_consumed_new(int with_headers, const kp_consumed_size *guess, kp_spare *spare)
    void kp_consumed_release(kp_consumed *block)
    kp_pins *kp_pins_new()
    void kp_pins_release(kp_pins *pins)
    int64_t kp_pinned_bytes(const kp_pins *pins)
    void kp_consumed_keep_from(kp_consumed *block, kp_pins *pins, const kp_keeping *keeping)
    const void *bytes_of "kp_bytes_of"(const kp_bytes_column *column, size_t row, Py_ssize_t *size)
    const rd_kafka_message_t *kp_consumed_kept(const kp_consumed *block, size_t row)
    const kp_bytes_column *kp_consumed_values(kp_consumed *block)
    size_t kp_consumed_bytes(const kp_consumed *block)
    void kp_consumed_refuse(kp_consumed *block)
    bint kp_loses_place(rd_kafka_resp_err_t err)
    void kp_consumed_drop_errors(kp_consumed *block)
    void kp_client_error(rd_kafka_t *rk, int code, const char *text, void *opaque) noexcept
    void kp_consumed_trim(kp_consumed *block, kp_consumed_size *size)
    int kp_consume(rd_kafka_queue_t *queue, kp_consumed *block, size_t max_records, size_t max_bytes, int timeout_ms)

    ctypedef enum kp_bytes_format:
        KP_TEXT

    ctypedef struct kp_consumed_formats:
        kp_bytes_format key
        kp_bytes_format value
        kp_bytes_format header_value

    kp_consumed_formats kp_consumed_requested(const ArrowSchema *requested)
    int64_t kp_consumed_not_utf8(const kp_bytes_column *column, size_t rows)
    int kp_consumed_export(kp_consumed *block, kp_consumed_formats formats, ArrowSchema *schema, ArrowArray *array)

cdef extern from "consumed_block.h" nogil:
    int kp_resize_rows(kp_bytes_column *column, size_t rows)
    int kp_resize_block(kp_consumed *block, size_t rows)
    int kp_append(kp_bytes_column *column, size_t row, size_t room, const void *data, size_t size)


@cython.final
cdef class ConsumedBlock:
    cdef kp_consumed *columns       # owned; constant once it is filled
    cdef tuple _topics              # made when asked for, in a critical section of the block

    cdef tuple topics(self)                         # the topics' names, by index
    cdef dict places(self, kp_places *places)       # {(topic, partition): offset}
    cdef object column(self, const void *data, size_t count, Py_ssize_t itemsize, const char *format)


# The value of a row, as bytes_of(); it may be in a message that the block keeps.
cdef inline const void *value_of(const kp_consumed *block, size_t row, Py_ssize_t *size) noexcept:
    cdef const rd_kafka_message_t *message = kp_consumed_kept(block, row)
    if message is NULL:
        return bytes_of(&block.values, row, size)
    size[0] = message.len
    return message.payload


cdef ConsumedBlock new_block(bint with_headers, const kp_consumed_size *guess=*, kp_spare *spare=*)
