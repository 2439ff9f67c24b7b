"""Reader: what the embedded cluster stores, read as any consumer would. It joins no group and commits nothing."""
from operator import itemgetter

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_CONSUMER, RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_RESP_ERR__PARTITION_EOF,
    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, rd_kafka_committed, rd_kafka_consume_queue, rd_kafka_consume_start_queue,
    rd_kafka_consume_stop, rd_kafka_header_get_all, rd_kafka_message_destroy, rd_kafka_message_headers,
    rd_kafka_message_timestamp, rd_kafka_queue_new, rd_kafka_timestamp_type_t, rd_kafka_topic_partition_list_fields)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_destroy, rd_kafka_headers_t, rd_kafka_last_error,
    rd_kafka_message_t, rd_kafka_metadata, rd_kafka_metadata_destroy, rd_kafka_metadata_t, rd_kafka_queue_destroy,
    rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_destroy, rd_kafka_topic_new,
    rd_kafka_topic_partition_list_add, rd_kafka_topic_partition_list_destroy, rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t, rd_kafka_topic_t)
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
    cdef rd_kafka_topic_t *rkt = NULL
    cdef rd_kafka_queue_t *queue = rd_kafka_queue_new(rk)
    cdef int started = 0, partitions, i
    try:
        partitions = partition_count(rk, topic, deadline)
        rkt = rd_kafka_topic_new(rk, name, NULL)    # not before: librdkafka asks for the topic at once
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
            if rkt != NULL:
                rd_kafka_topic_destroy(rkt)
            rd_kafka_destroy(rk)


cdef const rd_kafka_metadata_t *new_metadata(rd_kafka_t *rk, str what, int64_t deadline) except NULL:
    """Of all topics: to ask for one would create it, with librdkafka 2.0.2 whatever the client's properties say."""
    cdef const rd_kafka_metadata_t *metadata
    cdef rd_kafka_resp_err_t err
    cdef int wait
    while True:
        wait = max(1, remaining_ms(deadline, REQUEST_MS))
        with nogil:
            err = rd_kafka_metadata(rk, 1, NULL, &metadata, wait)
        if not err:
            return metadata
        check_time(what, deadline)


cdef int check_time(str what, int64_t deadline) except -1:
    """After an error: raises when there is no time left to ask again."""
    PyErr_CheckSignals()
    if expired(deadline):
        raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, f"{what}(): no broker has answered in time")
    return 0


cdef int partition_count(rd_kafka_t *rk, bytes topic, int64_t deadline) except -1:
    cdef const rd_kafka_metadata_t *metadata = new_metadata(rk, "records", deadline)
    cdef rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR
    cdef int i, count = -1
    for i in range(metadata.topic_cnt):
        if metadata.topics[i].topic == topic:
            err, count = metadata.topics[i].err, metadata.topics[i].partition_cnt
    rd_kafka_metadata_destroy(metadata)
    if err:
        raise new_exception(err)
    if count < 0:
        raise new_exception(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                            f"records(): there is no topic {topic.decode()!r}: nothing has been sent to it yet; "
                            "flush() waits until what was sent is written")
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


cdef dict read_committed(str servers, bytes group, int64_t deadline):
    cdef rd_kafka_t *rk = new_handle(RD_KAFKA_CONSUMER, {
        b"bootstrap.servers": servers.encode(), b"client.id": b"kafkapp-mock-cluster-reader", b"group.id": group})
    cdef rd_kafka_topic_partition_list_t *partitions = NULL
    cdef rd_kafka_resp_err_t err
    cdef int wait
    try:
        partitions = new_partitions(rk, deadline)
        while (<rd_kafka_topic_partition_list_fields *>partitions).cnt:
            wait = max(1, remaining_ms(deadline, REQUEST_MS))
            with nogil:
                err = rd_kafka_committed(rk, partitions, wait)
            if not err:
                return offsets_in(<rd_kafka_topic_partition_list_fields *>partitions)
            check_time("committed", deadline)
        return {}
    finally:
        with nogil:
            if partitions != NULL:
                rd_kafka_topic_partition_list_destroy(partitions)
            rd_kafka_destroy(rk)


cdef rd_kafka_topic_partition_list_t *new_partitions(rd_kafka_t *rk, int64_t deadline) except NULL:
    """All partitions of the cluster."""
    cdef const rd_kafka_metadata_t *metadata = new_metadata(rk, "committed", deadline)
    cdef rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(0)
    cdef int topic, partition
    for topic in range(metadata.topic_cnt):
        for partition in range(metadata.topics[topic].partition_cnt):
            rd_kafka_topic_partition_list_add(partitions, metadata.topics[topic].topic, partition)
    rd_kafka_metadata_destroy(metadata)
    return partitions


cdef dict offsets_in(rd_kafka_topic_partition_list_fields *partitions):
    cdef int i
    return {(partitions.elems[i].topic.decode(), partitions.elems[i].partition): partitions.elems[i].offset
            for i in range(partitions.cnt) if partitions.elems[i].offset >= 0}


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
