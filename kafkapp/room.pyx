"""Room in librdkafka's queue: what never fits into it, and records as they were while they wait for it.

Layer L5, above the client: knows records and their sizes, and sends none.
"""
from _thread import _local

from kafkapp.log_lines import log_later, logger, wait
from kafkapp.views import Header

from cpython.bytes cimport PyBytes_CheckExact

from kafkapp.delivery cimport report_unraisable
from kafkapp.errors cimport new_error
from kafkapp.librdkafka cimport RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, rd_kafka_headers_destroy
from kafkapp.records cimport new_headers, taken
from kafkapp.views cimport View, new_header_list, size_of

cdef double SAID = 0.5              # seconds that the maker of a producer waits for the handlers of logging
cdef object warning = _local()      # `here`: this thread is inside a warning of ours


cdef int limit_room(Client client) except -1:
    # rdkafka_int.h, rd_kafka_curr_msgs_add(): of a record the value alone counts.
    cdef int64_t room = int(client.get_property("queue.buffering.max.kbytes")) * 1024
    client.deliveries.max_value = room
    client.max_message_bytes = int(client.get_property("message.max.bytes"))
    if client.max_message_bytes > room and not getattr(warning, "here", False):
        log_later(warn, client.name, client.max_message_bytes, client.get_property("queue.buffering.max.kbytes"), room)
        wait(SAID)
    return 0


def warn(name, message, kbytes, room):
    """The thread's of log_lines."""
    warning.here = True             # a handler may make a producer of its own, with the same properties
    try:
        logger().warning("%s message.max.bytes (%s) is more than queue.buffering.max.kbytes (%s) has room for: "
                         "a value of more than %s bytes is refused", name, message, kbytes, room)
    except BaseException as exc:
        report_unraisable(exc)
    finally:
        warning.here = False


cdef object too_large(Client client, int64_t key_size, int64_t value_size, int64_t headers_size):
    headers = f", headers of {headers_size}" if headers_size else ""
    return new_error(
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        f"too large to be sent: a key of {key_size}{headers} and a value of {value_size} bytes; message.max.bytes is "
        f"{client.max_message_bytes}, queue.buffering.max.kbytes {client.get_property('queue.buffering.max.kbytes')} "
        f"(for values of up to {client.deliveries.max_value} bytes)")


cdef object never_fits(Client client, ProducerRecord record):
    # What only librdkafka's framing makes too large is told of when it is tried.
    cdef int64_t key = size_of(record._key), value = size_of(record._value), headers_size
    cdef rd_kafka_headers_t *headers = new_headers(record._headers)
    headers_size = kp_headers_size(headers)
    if headers is not NULL:
        rd_kafka_headers_destroy(headers)
    if value <= <int64_t>client.deliveries.max_value and key + value + headers_size <= client.max_message_bytes:
        return None
    return too_large(client, key, value, headers_size)


cdef object frozen(object data, bint copy):
    """What a key or value is now. Without a copy its memory is held where it is, as librdkafka would hold it."""
    while isinstance(data, View):
        data = (<View>data).data
    if data is None or PyBytes_CheckExact(data) or isinstance(data, str):
        return data
    return bytes(memoryview(data)) if copy else memoryview(data)


cdef ProducerRecord copy_of(ProducerRecord record, bint copy):
    """The record as it is now: it may be changed while it waits. Keys and headers are always copied."""
    cdef ProducerRecord kept = taken(record)
    kept._key = frozen(kept._key, True)
    kept._value = frozen(kept._value, copy)
    if kept._headers is not None:
        # Checked first: the user may have put anything into the list since it was given.
        kept._headers = [Header(header.key, frozen(header.value, True)) if isinstance(header, Header) else
                         (header[0], frozen(header[1], True)) for header in new_header_list(kept._headers)]
    return kept
