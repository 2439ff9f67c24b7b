"""Commits: the forms in which offsets are given, a commit that is waited for, and what its errors mean."""
from collections.abc import Iterable, Mapping

from kafkapp.common.errors import KafkaException
from kafkapp.common.texts import check_text
from kafkapp.consumer.topic_partition import MAX_OFFSET, checked_integer, checked_partition

from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST,
    RD_KAFKA_RESP_ERR__NO_OFFSET,
    RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    rd_kafka_commit_queue,
    rd_kafka_event_topic_partition_list,
    rd_kafka_queue_new,
    rd_kafka_topic_partition_list_fields,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_err2str,
    rd_kafka_event_destroy,
    rd_kafka_event_error,
    rd_kafka_event_t,
    rd_kafka_queue_destroy,
    rd_kafka_queue_poll,
    rd_kafka_queue_t,
    rd_kafka_topic_partition_list_destroy,
)
from kafkapp.client.client cimport SIGNAL_CHECK_MS
from kafkapp.common.atomics cimport KP_SET
from kafkapp.common.errors cimport Error, new_exception, new_fatal_error
from kafkapp.common.timeouts cimport expired, remaining_ms
from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.consumer_record cimport ConsumerRecord
from kafkapp.consumer.partition_calls cimport new_partition_list

cdef enum:      # that librdkafka has since 2.4: of the protocol of KIP-848
    FENCED_MEMBER_EPOCH = 110
    STALE_MEMBER_EPOCH = 113

cdef str LOST = (
    "the partitions are lost to this consumer, and whoever has them now reads these records again, from what was "
    "committed last; go on with poll(), which brings new ones")
cdef str GO_ON = (
    ": go on with poll(), and commit again what it leaves assigned; the records of what it takes away will be read "
    "again")
cdef str REBALANCES = "the group is rebalancing" + GO_ON
cdef str LATE = "the commit came too late, the group is rebalancing or has done so" + GO_ON


# -- offsets --------------------------------------------------------------------------------------------------

cdef tuple offsets_to_commit(object what):
    cdef dict offsets = {}
    cdef dict texts = {}
    if isinstance(what, ConsumedBatch):
        return (<ConsumedBatch>what).ends, texts
    if isinstance(what, Mapping):
        items = what.items()
    elif hasattr(what, "topic") and hasattr(what, "offset"):
        items = [what]
    elif isinstance(what, Iterable) and not isinstance(what, (str, bytes)):
        items = what
    else:
        raise TypeError("offsets must be a ConsumedBatch, a ConsumerRecord, partitions with offsets, or None, not "
                        f"{type(what).__name__}")
    for item in items:
        if isinstance(item, ConsumerRecord):
            place = checked_partition(item)
            offsets[place] = max(offsets.get(place, 0), item.offset + 1)
            continue
        place, offset, text = place_to_commit(item)
        if place in offsets:
            raise ValueError(f"offsets have a partition twice: {place.topic} [{place.partition}]")
        offsets[place] = checked_integer("offset", offset, MAX_OFFSET)
        if text:
            texts[place] = check_text("metadata", text).encode()
    return offsets, texts


cdef tuple place_to_commit(object item):
    """(partition, offset, metadata or None) of an item, as consumers give them: see group_offsets.pyx too."""
    if isinstance(item, tuple) and not hasattr(item, "offset"):
        if len(item) == 3:
            return checked_partition(item[:2]), item[2], None
        if len(item) == 2 and not isinstance(item[0], str):     # of a mapping
            place, value = item
            return checked_partition(place), getattr(value, "offset", value), getattr(value, "metadata", None)
    elif hasattr(item, "offset"):
        return checked_partition(item), item.offset, getattr(item, "metadata", None)
    raise TypeError("offsets must be a mapping of partitions to offsets, or have (topic, partition, offset) tuples, "
                    f"ConsumerRecords, or objects with topic, partition and offset, not {repr(item)[:200]}")


cdef rd_kafka_topic_partition_list_t *new_commit_list(dict offsets, dict texts) except NULL:
    cdef rd_kafka_topic_partition_list_t *partitions = new_partition_list(offsets)
    cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>partitions
    cdef bytes text
    cdef int i = -1
    for place in offsets if texts else ():      # which the list has in the same order
        i += 1
        text = texts.get(place)
        if text is None:
            continue
        fields.elems[i].metadata = malloc(len(text))        # the list frees it
        if fields.elems[i].metadata is NULL:
            rd_kafka_topic_partition_list_destroy(partitions)
            raise MemoryError
        fields.elems[i].metadata_size = len(text)
        memcpy(fields.elems[i].metadata, <const char *>text, len(text))
    return partitions


# -- errors ---------------------------------------------------------------------------------------------------

cdef bint is_lost(int code) noexcept:
    return code in (RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
                    RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST)


cdef object commit_error(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *partitions):
    cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>partitions
    cdef str where = ""
    cdef int i
    if err == RD_KAFKA_RESP_ERR__NO_OFFSET:     # nothing to commit
        return None
    if fields is not NULL:
        for i in range(fields.cnt):
            if fields.elems[i].err and err in (0, fields.elems[i].err):
                err = fields.elems[i].err
                where = f"{fields.elems[i].topic.decode('utf-8', 'replace')} [{fields.elems[i].partition}]: "
                break
    if not err:
        return None
    text = where + rd_kafka_err2str(err).decode()
    if is_lost(err):
        text = f"{text}: {LOST}"
    elif err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:   # amid a rebalance nothing is lost, but for old librdkafkas
        text = f"{text}: {LATE}"
    elif err in (RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, STALE_MEMBER_EPOCH):
        text = f"{text}: {REBALANCES}"
    return new_fatal_error(rk, err, text)


# -- waited for -----------------------------------------------------------------------------------------------

# By a queue of its own: a call within on_rebalance, inside a poll, must get its answer, whoever dispatches.
cdef int commit(Client client, str what, dict offsets, dict texts, int64_t deadline) except -1:
    cdef rd_kafka_topic_partition_list_t *partitions = NULL
    cdef rd_kafka_queue_t *queue = NULL
    cdef rd_kafka_event_t *event = NULL
    cdef rd_kafka_resp_err_t err
    cdef Error error = None
    cdef int wait
    client.check_blocking(what)
    client.enter()
    try:
        partitions = new_commit_list(offsets, texts)
        queue = rd_kafka_queue_new(client.rk)
        with nogil:
            err = rd_kafka_commit_queue(client.rk, partitions, queue, NULL, NULL)
        error = commit_error(client.rk, err, NULL)
        while error is None:
            wait = remaining_ms(deadline, SIGNAL_CHECK_MS)
            with nogil:
                event = rd_kafka_queue_poll(queue, wait)
            if event is not NULL:
                error = commit_error(client.rk, rd_kafka_event_error(event), rd_kafka_event_topic_partition_list(event))
                break
            if expired(deadline):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    f"{what}() has had no answer in time; the offsets may still be committed")
            PyErr_CheckSignals()
            client.check_open()
    finally:
        with nogil:
            if event is not NULL:
                rd_kafka_event_destroy(event)
            if queue is not NULL:
                rd_kafka_queue_destroy(queue)
            if partitions is not NULL:
                rd_kafka_topic_partition_list_destroy(partitions)
        client.leave()
    if error is not None:
        error.text = f"{what}() failed: {error.text}"
        raise KafkaException(error)
    KP_SET(client.handlers.brokers_down, False)
    return 0
