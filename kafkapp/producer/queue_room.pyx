"""Room in librdkafka's queue: size limits, and snapshots of records that wait.

Knows clients, records and their sizes; enqueues nothing.
"""
from _thread import _local

from kafkapp.common.log_lines import log_later, logger, wait
from kafkapp.common.views import Header

from cpython.bytes cimport PyBytes_CheckExact

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, rd_kafka_headers_destroy
from kafkapp.common.callbacks cimport report_unraisable
from kafkapp.common.errors cimport new_error
from kafkapp.common.views cimport View, new_header_list, size_of
from kafkapp.producer.record cimport new_headers, snapshot
from kafkapp.producer.service cimport deliveries_of, service_of

cdef double WARNING_WAIT_SECONDS = 0.5      # limit of how long creating a producer waits for logging handlers
cdef object warning = _local()      # `here`: this thread is inside log_size_warning()


cdef int read_size_limits(Client client) except -1:
    # rdkafka_int.h, rd_kafka_curr_msgs_add(): the queue's limit counts values only.
    cdef int64_t room = int(client.get_property("queue.buffering.max.kbytes")) * 1024
    deliveries_of(client).max_value = room
    service_of(client).max_message_bytes = int(client.get_property("message.max.bytes"))
    if service_of(client).max_message_bytes > room and not getattr(warning, "here", False):
        log_later(log_size_warning, client.name, service_of(client).max_message_bytes,
                  client.get_property("queue.buffering.max.kbytes"), room)
        wait(WARNING_WAIT_SECONDS)
    return 0


def log_size_warning(name, message, kbytes, room):
    """Log the warning. Runs in the logging thread."""
    warning.here = True             # a handler may create a producer of its own, with the same properties
    try:
        logger().warning("%s message.max.bytes (%s) is more than queue.buffering.max.kbytes (%s) has room for: "
                         "values of more than %s bytes are refused; raise queue.buffering.max.kbytes",
                         name, message, kbytes, room)
    except BaseException as exc:
        report_unraisable(exc)
    finally:
        warning.here = False


cdef object too_large_error(Client client, int64_t key_size, int64_t value_size, int64_t headers_size):
    headers = f", headers of {headers_size}" if headers_size else ""
    return new_error(
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        f"too large to be sent: a key of {key_size}{headers} and a value of {value_size} bytes; message.max.bytes is "
        f"{service_of(client).max_message_bytes}, queue.buffering.max.kbytes "
        f"{client.get_property('queue.buffering.max.kbytes')} (for values of up to {deliveries_of(client).max_value} "
        "bytes)")


cdef object never_fits_error(Client client, ProducerRecord record):
    # A record that only librdkafka's framing makes too large fails when it is enqueued.
    cdef int64_t key = size_of(record._key), value = size_of(record._value), headers_size
    cdef rd_kafka_headers_t *headers = new_headers(record._headers)
    headers_size = kp_headers_size(headers)
    if headers is not NULL:
        rd_kafka_headers_destroy(headers)
    if (value <= <int64_t>deliveries_of(client).max_value
            and key + value + headers_size <= service_of(client).max_message_bytes):
        return None
    return too_large_error(client, key, value, headers_size)


cdef object freeze(object data, bint copy):
    """A key or value as it is now: a copy, or a memoryview that holds its memory as librdkafka would."""
    while isinstance(data, View):
        data = (<View>data).data
    if data is None or PyBytes_CheckExact(data) or isinstance(data, str):
        return data
    return bytes(memoryview(data)) if copy else memoryview(data)


cdef ProducerRecord queued_copy(ProducerRecord record, bint copy):
    """The user may change the record while the snapshot waits. Keys and headers are copied, as librdkafka does."""
    cdef ProducerRecord kept = snapshot(record)
    kept._key = freeze(kept._key, True)
    kept._value = freeze(kept._value, copy)
    if kept._headers is not None:
        # Checked again: the user may have put anything into the list.
        kept._headers = [Header(header.key, freeze(header.value, True)) if isinstance(header, Header) else
                         (header[0], freeze(header[1], True)) for header in new_header_list(kept._headers)]
    return kept
