"""Calls of librdkafka about partitions that wait for its threads or for brokers: seek, offsets, commits."""
from kafkapp.consumer.topic_partition import TopicPartition

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from posix.unistd cimport usleep

from kafkapp._librdkafka.consumer cimport (
    rd_kafka_commit_queue,
    rd_kafka_committed,
    rd_kafka_event_topic_partition_list,
    rd_kafka_offsets_for_times,
    rd_kafka_queue_new,
    rd_kafka_seek_partitions,
    rd_kafka_topic_partition_list_fields,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR__STATE,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_err2str,
    rd_kafka_error_code,
    rd_kafka_error_destroy,
    rd_kafka_error_t,
    rd_kafka_event_destroy,
    rd_kafka_event_error,
    rd_kafka_event_t,
    rd_kafka_queue_destroy,
    rd_kafka_queue_poll,
    rd_kafka_queue_t,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.blocking_calls cimport BlockingCall, with_grace
from kafkapp.client.client cimport SIGNAL_CHECK_MS, Client
from kafkapp.client.handle cimport OPEN
from kafkapp.common.atomics cimport KP_READ, KP_SET
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms

cdef enum:
    SEEK_SLICE_MS = 500         # for the answer to one attempt
    SEEK_RETRY_MS = 10          # a partition that was assigned just now is not ready to seek


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
cdef class BlockingPartitionsCall(BlockingCall):
    cdef PartitionCall call
    cdef rd_kafka_topic_partition_list_t *partitions    # owned
    cdef rd_kafka_resp_err_t err
    cdef int64_t deadline
    cdef int abandoned          # the thread that waited for it has left

    def __dealloc__(self):
        if self.partitions is not NULL:
            rd_kafka_topic_partition_list_destroy(self.partitions)

    cdef int perform(self) except -1:
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            if self.call == SEEK:
                self.err = self.seek(rk)
            elif self.call == COMMITTED:
                self.err = rd_kafka_committed(rk, self.partitions, self.timeout_ms)
            else:
                self.err = rd_kafka_offsets_for_times(rk, self.partitions, self.timeout_ms)
        return 0

    cdef rd_kafka_resp_err_t seek(self, rd_kafka_t *rk) noexcept nogil:
        """Seek, again while a partition is not ready: librdkafka fetches none yet of one that was assigned just now."""
        cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>self.partitions
        cdef rd_kafka_error_t *error
        cdef rd_kafka_resp_err_t err
        cdef bint ready
        cdef int i
        while True:
            error = rd_kafka_seek_partitions(rk, self.partitions, SEEK_SLICE_MS)
            err = rd_kafka_error_code(error) if error is not NULL else RD_KAFKA_RESP_ERR_NO_ERROR
            if error is not NULL:
                rd_kafka_error_destroy(error)
            ready = err != RD_KAFKA_RESP_ERR__TIMED_OUT
            for i in range(fields.cnt):
                ready = ready and fields.elems[i].err != RD_KAFKA_RESP_ERR__STATE
            if ready or KP_READ(self.abandoned) or KP_READ(self.client.state) != OPEN or (
                    self.deadline >= 0 and now_ms() >= self.deadline):
                return err
            usleep(SEEK_RETRY_MS * 1000)


cdef dict call_partitions(Client client, str what, PartitionCall call, dict offsets, int64_t deadline):
    """Perform a call on a thread of its own. Blocks; answers signals. Returns the offsets that it gives."""
    cdef BlockingPartitionsCall request = BlockingPartitionsCall.__new__(BlockingPartitionsCall)
    if not offsets:
        return {}
    client.check_blocking(what)
    client.enter()
    try:
        request.call, request.deadline = call, deadline
        request.partitions = new_partition_list(offsets)
        request.start(client, deadline)
        try:
            if not request.wait(with_grace(deadline), None):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, f"{what}() has had no answer in time")
        except:
            KP_SET(request.abandoned, True)
            raise
    finally:
        client.leave()
    if request.err:
        raise new_exception(request.err, f"{what}() failed: {rd_kafka_err2str(request.err).decode()}")
    return offsets_of(request.partitions, what)


cdef dict commit(Client client, str what, dict offsets, int64_t deadline):
    """Commit offsets. Blocks; answers signals. After a timeout they may still be committed."""
    cdef rd_kafka_topic_partition_list_t *partitions = NULL
    cdef rd_kafka_queue_t *queue = NULL
    cdef rd_kafka_event_t *event = NULL
    cdef rd_kafka_resp_err_t err
    cdef int wait
    client.check_blocking(what)
    client.enter()
    try:
        partitions = new_partition_list(offsets)
        queue = rd_kafka_queue_new(client.rk)
        with nogil:
            err = rd_kafka_commit_queue(client.rk, partitions, queue, NULL, NULL)
        while not err and event is NULL:
            wait = remaining_ms(deadline, SIGNAL_CHECK_MS)
            with nogil:
                event = rd_kafka_queue_poll(queue, wait)
            if event is not NULL:
                err = rd_kafka_event_error(event)
                if not err:
                    return offsets_of(rd_kafka_event_topic_partition_list(event), what)
            elif expired(deadline):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                                    f"{what}() has had no answer in time; the offsets may still be committed")
            PyErr_CheckSignals()
            client.check_open()
        raise new_exception(err, f"{what}() failed: {rd_kafka_err2str(err).decode()}")
    finally:
        with nogil:
            if event is not NULL:
                rd_kafka_event_destroy(event)
            if queue is not NULL:
                rd_kafka_queue_destroy(queue)
            if partitions is not NULL:
                rd_kafka_topic_partition_list_destroy(partitions)
        client.leave()
