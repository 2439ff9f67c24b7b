"""Calls of librdkafka about partitions that wait for its threads or for brokers: seek, offsets, assign."""
from kafkapp.consumer.topic_partition import TopicPartition

cimport cython
from libc.stdint cimport int64_t
from libc.string cimport strcmp

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
    RD_KAFKA_RESP_ERR__WAIT_COORD,
    rd_kafka_assign,
    rd_kafka_assignment,
    rd_kafka_committed,
    rd_kafka_incremental_assign,
    rd_kafka_incremental_unassign,
    rd_kafka_offsets_for_times,
    rd_kafka_queue_forward,
    rd_kafka_queue_get_partition,
    rd_kafka_rebalance_protocol,
    rd_kafka_seek_partitions,
    rd_kafka_topic_partition_list_fields,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_OFFSET_INVALID,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    RD_KAFKA_RESP_ERR__OUTDATED,
    RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS,
    RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    RD_KAFKA_RESP_ERR__STATE,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    RD_KAFKA_RESP_ERR__TRANSPORT,
    rd_kafka_err2str,
    rd_kafka_error_code,
    rd_kafka_error_destroy,
    rd_kafka_error_t,
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.blocking_calls cimport RepeatedCall
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport new_exception


cdef rd_kafka_topic_partition_list_t *new_partition_list(object offsets) except NULL:
    cdef rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(<int>len(offsets))
    cdef bytes name
    try:
        for (topic, partition), offset in offsets.items():
            name = topic.encode()
            rd_kafka_topic_partition_list_add(partitions, name, partition).offset = offset
    except:
        rd_kafka_topic_partition_list_destroy(partitions)
        raise
    return partitions


cdef dict offsets_of(rd_kafka_topic_partition_list_t *partitions, str what):
    cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>partitions
    cdef dict found = {}
    cdef int i
    for i in range(fields.cnt):
        place = TopicPartition(fields.elems[i].topic.decode("utf-8", "replace"), fields.elems[i].partition)
        if fields.elems[i].err:
            raise new_exception(fields.elems[i].err, f"{what}() failed for {place.topic} [{place.partition}]: "
                                                     f"{rd_kafka_err2str(fields.elems[i].err).decode()}")
        found[place] = fields.elems[i].offset
    return found


@cython.final
@cython.no_gc_clear     # its thread reads the list until it ends, and holds this
cdef class BlockingPartitionsCall(RepeatedCall):
    cdef PartitionCall call
    cdef rd_kafka_topic_partition_list_t *partitions    # owned

    def __dealloc__(self):
        if self.partitions is not NULL:
            rd_kafka_topic_partition_list_destroy(self.partitions)

    cdef rd_kafka_resp_err_t attempt(self, rd_kafka_t *rk, int timeout_ms) noexcept nogil:
        cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>self.partitions
        cdef rd_kafka_error_t *error
        cdef rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR
        cdef int i
        for i in range(fields.cnt):
            fields.elems[i].err = RD_KAFKA_RESP_ERR_NO_ERROR
        if self.call == COMMITTED:
            return rd_kafka_committed(rk, self.partitions, timeout_ms)
        if self.call == OFFSETS_FOR_TIMES:
            return rd_kafka_offsets_for_times(rk, self.partitions, timeout_ms)
        error = rd_kafka_seek_partitions(rk, self.partitions, timeout_ms)
        if error is not NULL:
            err = rd_kafka_error_code(error)
            rd_kafka_error_destroy(error)
        return err

    cdef bint is_passing(self) noexcept nogil:
        """Whether the attempt has failed for a reason that passes."""
        cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>self.partitions
        cdef int i
        if self.err:
            return passes(self.err)
        for i in range(fields.cnt):
            if passes(fields.elems[i].err):
                return True
        return False


cdef bint passes(rd_kafka_resp_err_t err) noexcept nogil:
    return err in (RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
                   RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS,
                   RD_KAFKA_RESP_ERR__OUTDATED,     # a seek that the assignment before it has overtaken
                   RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                   RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                   RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
                   RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
                   RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT)


cdef dict call_partitions(Client client, str what, PartitionCall call, dict offsets, int64_t deadline):
    """Perform a call on a thread of its own. Blocks; answers signals. Returns the offsets that it gives."""
    cdef BlockingPartitionsCall request = BlockingPartitionsCall.__new__(BlockingPartitionsCall)
    if not offsets:
        return {}
    client.check_blocking(what)
    client.enter()
    try:
        request.call, request.partitions = call, new_partition_list(offsets)
        if not request.answered(client, deadline):
            raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, f"{what}() has had no answer in time")
    finally:
        client.leave()
    if request.err:
        raise new_exception(request.err, f"{what}() failed: {rd_kafka_err2str(request.err).decode()}")
    return offsets_of(request.partitions, what)


# -- librdkafka's assignment ------------------------------------------------------------------------

cdef bint is_cooperative(rd_kafka_t *rk) noexcept nogil:
    """Whether rebalances give and take some partitions, not all of them: KIP-848, and cooperative strategies."""
    return not strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE")


cdef rd_kafka_resp_err_t code_of(rd_kafka_error_t *error) noexcept nogil:
    cdef rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR
    if error is not NULL:
        err = rd_kafka_error_code(error)
        rd_kafka_error_destroy(error)
    return err


cdef int forward(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, rd_kafka_queue_t *to) noexcept nogil:
    """Have what is fetched of these partitions come in this queue."""
    cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>partitions
    cdef rd_kafka_queue_t *queue
    cdef int i
    for i in range(fields.cnt):
        queue = rd_kafka_queue_get_partition(rk, fields.elems[i].topic, fields.elems[i].partition)
        if queue is not NULL:
            rd_kafka_queue_forward(queue, to)
            rd_kafka_queue_destroy(queue)
    return 0


cdef int await_answer(rd_kafka_t *rk) noexcept nogil:
    """Return when librdkafka's thread has done what it was asked before."""
    cdef rd_kafka_topic_partition_list_t *assigned = NULL
    if not rd_kafka_assignment(rk, &assigned):
        rd_kafka_topic_partition_list_destroy(assigned)
    return 0


cdef rd_kafka_resp_err_t add_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                        rd_kafka_queue_t *records) noexcept nogil:
    """Assign these; their records come in `records`, if that is not NULL."""
    cdef rd_kafka_resp_err_t err
    if records is not NULL:     # before the first record comes: else librdkafka forwards them elsewhere
        forward(rk, partitions, records)
    err = (code_of(rd_kafka_incremental_assign(rk, partitions)) if is_cooperative(rk)
           else rd_kafka_assign(rk, partitions))
    if records is not NULL and not err:
        # Where a partition was assigned before, its end has undone that: it is in the past when this call is answered.
        await_answer(rk)
        forward(rk, partitions, records)
    return err


cdef rd_kafka_resp_err_t remove_partitions(rd_kafka_t *rk, object places) except *:
    """Take these away: all there are, unless the rebalance is cooperative."""
    cdef rd_kafka_topic_partition_list_t *partitions
    cdef rd_kafka_resp_err_t err
    partitions = new_partition_list(dict.fromkeys(places, RD_KAFKA_OFFSET_INVALID))
    with nogil:
        err = (code_of(rd_kafka_incremental_unassign(rk, partitions)) if is_cooperative(rk)
               else rd_kafka_assign(rk, NULL))
        rd_kafka_topic_partition_list_destroy(partitions)
    return err
