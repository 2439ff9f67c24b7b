"""Reader: what the embedded cluster stores, read as any consumer would. It belongs to no group and commits nothing."""
from operator import itemgetter

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_CONSUMER, RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_RESP_ERR__PARTITION_EOF, rd_kafka_consume_queue,
    rd_kafka_consume_start_queue, rd_kafka_consume_stop, rd_kafka_header_get_all, rd_kafka_message_destroy,
    rd_kafka_message_headers, rd_kafka_message_timestamp, rd_kafka_queue_new, rd_kafka_timestamp_type_t)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_destroy, rd_kafka_headers_t, rd_kafka_last_error,
    rd_kafka_message_t, rd_kafka_metadata, rd_kafka_metadata_destroy, rd_kafka_metadata_t, rd_kafka_queue_destroy,
    rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t)
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport expired, remaining_ms
from kafkapp.testing.handles cimport new_handle

from kafkapp.testing.arguments import StoredRecord

cdef enum:
    REQUEST_MS = 400
    POLL_MS = 50


cdef list read_records(str servers, bytes topic, int64_t deadline):
    cdef rd_kafka_t *rk = new_handle(RD_KAFKA_CONSUMER, {
        b"bootstrap.servers": servers.encode(), b"client.id": b"kafkapp-mock-cluster-reader",
        b"enable.partition.eof": b"true", b"fetch.wait.max.ms": b"10", b"allow.auto.create.topics": b"false"})
    cdef const char *name = topic
    cdef rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL)
    cdef rd_kafka_queue_t *queue = rd_kafka_queue_new(rk)
    cdef int started = 0, partitions, i
    try:
        partitions = partition_count(rk, rkt, deadline)
        while started < partitions:
            if rd_kafka_consume_start_queue(rkt, started, RD_KAFKA_OFFSET_BEGINNING, queue):
                raise new_exception(rd_kafka_last_error())
            started += 1
        return sorted(read(queue, topic.decode(), partitions, deadline), key=itemgetter(1, 2))     # partition, offset
    finally:
        with nogil:
            for i in range(started):
                rd_kafka_consume_stop(rkt, i)
            rd_kafka_queue_destroy(queue)
            rd_kafka_topic_destroy(rkt)
            rd_kafka_destroy(rk)


cdef int partition_count(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int64_t deadline) except -1:
    cdef const rd_kafka_metadata_t *metadata
    cdef rd_kafka_resp_err_t err
    cdef int wait, count
    while True:
        wait = max(1, remaining_ms(deadline, REQUEST_MS))
        with nogil:
            err = rd_kafka_metadata(rk, 0, rkt, &metadata, wait)
        if not err:
            break
        PyErr_CheckSignals()
        if expired(deadline):
            raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, "records(): no broker has answered in time")
    err, count = metadata.topics[0].err, metadata.topics[0].partition_cnt
    rd_kafka_metadata_destroy(metadata)
    if err:
        raise new_exception(err)
    return count


cdef list read(rd_kafka_queue_t *queue, str topic, int partitions, int64_t deadline):
    cdef rd_kafka_message_t *message
    cdef list records = []
    cdef int ended = 0, wait
    while ended < partitions:
        PyErr_CheckSignals()
        wait = remaining_ms(deadline, POLL_MS)
        with nogil:
            message = rd_kafka_consume_queue(queue, wait)
        if message == NULL:
            if expired(deadline):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    f"records(): {partitions - ended} of {partitions} partitions were not read to the "
                                    "end in time: is their broker down?")
            continue
        try:
            if message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF:
                ended += 1
            elif message.err:
                raise new_exception(message.err)
            else:
                records.append(record_of(message, topic))
        finally:
            rd_kafka_message_destroy(message)
    return records


cdef object record_of(rd_kafka_message_t *message, str topic):
    cdef rd_kafka_timestamp_type_t type
    cdef int64_t timestamp = rd_kafka_message_timestamp(message, &type)
    cdef rd_kafka_headers_t *headers
    cdef const char *name
    cdef const void *value
    cdef size_t size, i = 0
    cdef list found = []
    if rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR:
        while rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR:
            found.append((name.decode("utf-8", "replace"), bytes_of(value, size)))
            i += 1
    return StoredRecord(topic, message.partition, message.offset, bytes_of(message.key, message.key_len),
                        bytes_of(message.payload, message.len), found, timestamp)


cdef object bytes_of(const void *memory, size_t size):
    return None if memory == NULL else PyBytes_FromStringAndSize(<const char *>memory, size)
