"""Calls of librdkafka that cannot be interrupted, and better are not resumed: a thread of their own waits for them.

Layer L5: knows clients. The thread that asked answers signals meanwhile, and may leave; the request goes on to its end.
"""
from kafkapp.errors import Error
from kafkapp.metadata import BrokerMetadata, Node, PartitionInfo
from kafkapp.visible import start_thread

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT32_MAX, int64_t

from kafkapp.client cimport UNRESPONSIVE_MS, Client
from kafkapp.delivery cimport KP_ADD, KP_READ, KP_SET, KP_TAKE_FLAG, Topic, kp_rounds
from kafkapp.errors cimport new_exception, take_error
from kafkapp.librdkafka cimport *
from kafkapp.timeouts cimport expired, now_ms, remaining_ms

cdef double SIGNAL_CHECK_SECONDS = 0.1     # seconds; the longest wait without a look at signals
cdef double DONE_EVENT_SECONDS = 0.001    # seconds between the end of the request and the word of it
cdef int DISPATCH_SLICE_MS = 10     # ms; a turn of a thread that serves meanwhile, which the end of the request ends


cdef class BlockingCall:
    """One such call, and its answer."""
    cdef Client client
    cdef int timeout_ms
    cdef object done
    cdef int due            # it is to be made, by the thread that takes this
    cdef bint begun         # there is such a thread, or was
    cdef int over           # it has its answer; `done`, which needs memory, only says so sooner
    cdef object failure     # what call() raised, for the thread that waits

    cdef int perform(self) except -1:
        raise NotImplementedError

    def run(self):
        if self.client is None:
            raise RuntimeError("a request is made and run by the producer's calls")
        if not KP_TAKE_FLAG(self.due):
            return      # its start was given up
        try:
            self.perform()
        except BaseException as exc:
            self.failure = exc
        finally:
            KP_SET(self.over, True)     # after the failure, and what call() has found; before who waits is woken
            with nogil:
                rd_kafka_queue_yield(self.client.deliveries.queue)
            self.client.leave()
            self.done.set()

    cdef int start(self, Client client, int64_t deadline) except -1:
        from threading import Event
        self.client = client
        self.timeout_ms = remaining_ms(deadline, INT32_MAX) if deadline >= 0 else -1
        self.done = Event()
        self.due = True
        KP_ADD(client.users, 1)        # left by the request's thread, which may outlive this call
        try:
            start_thread(self.run)
            self.begun = True
        except:
            # An interrupt does not tell whether the thread runs: where it does not yet, it will find nothing to do.
            if KP_TAKE_FLAG(self.due):
                client.leave()
            else:
                self.begun = True
            raise
        return 0

    cdef bint wait(self, int64_t deadline, list raised) except -1:
        """Wait for the answer, and serve what it may need first: a token, reports. False when the time was over."""
        cdef int64_t seen
        cdef Client client = self.client
        while not KP_READ(self.over):
            if expired(deadline):
                return False
            if client.background or KP_READ(client.loop_dispatches):
                self.done.wait(SIGNAL_CHECK_SECONDS)
            else:
                seen = kp_rounds(&client.deliveries)
                client.dispatch(seen, DISPATCH_SLICE_MS, raised)
                PyErr_CheckSignals()
                self.done.wait(DONE_EVENT_SECONDS)
            client.check_open()
        if self.failure is not None:
            raise self.failure
        return True


@cython.final
cdef class BlockingMetadataCall(BlockingCall):
    cdef Topic topic
    cdef rd_kafka_resp_err_t err
    cdef object result

    cdef int perform(self) except -1:
        cdef const rd_kafka_metadata_t *metadata = NULL
        cdef rd_kafka_t *rk = self.client.rk
        cdef rd_kafka_topic_t *rkt = <rd_kafka_topic_t *>self.topic.rkt
        with nogil:
            self.err = rd_kafka_metadata(rk, 0, rkt, &metadata, self.timeout_ms)
        if self.err == RD_KAFKA_RESP_ERR_NO_ERROR:
            try:
                self.err = metadata.topics[0].err if metadata.topic_cnt else RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                self.result = from_c_metadata(metadata)
            finally:
                rd_kafka_metadata_destroy(metadata)
        return 0


cdef int64_t beyond(int64_t deadline) noexcept:
    """librdkafka keeps the time, and knows best how it went; unless a broker thread that it waits for has no turn."""
    return deadline if deadline < 0 else max(deadline, now_ms()) + UNRESPONSIVE_MS


cdef object under_way():
    return Error(RD_KAFKA_RESP_ERR__TIMED_OUT, "a call that was left is still under way", is_retriable=True)


cdef object fetch_metadata(Client client, str topic, int64_t deadline):
    cdef BlockingMetadataCall request = BlockingMetadataCall.__new__(BlockingMetadataCall)
    client.check_blocking("fetch_broker_metadata")
    client.enter()      # this thread serves: a close() on another one must not destroy the handle meanwhile
    try:
        request.topic = <Topic>client.topic(topic)
        request.start(client, deadline)
        if not request.wait(beyond(deadline), None):
            request.err = RD_KAFKA_RESP_ERR__TIMED_OUT
    finally:
        client.leave()
    if request.err:
        raise new_exception(request.err, f"no metadata of topic {topic!r}: {rd_kafka_err2str(request.err).decode()}")
    return request.result


@cython.final
cdef class BlockingOffsetsCall(BlockingCall):
    cdef list offsets
    cdef str group_id
    cdef object error

    cdef int perform(self) except -1:
        cdef rd_kafka_topic_partition_list_t *c = rd_kafka_topic_partition_list_new(<int>len(self.offsets))
        cdef rd_kafka_consumer_group_metadata_t *group
        cdef rd_kafka_error_t *error
        cdef rd_kafka_t *rk = self.client.rk
        cdef bytes name = self.group_id.encode()
        for topic, partition, offset in self.offsets:
            rd_kafka_topic_partition_list_add(c, topic, partition).offset = offset
        group = rd_kafka_consumer_group_metadata_new(name)
        with nogil:
            error = rd_kafka_send_offsets_to_transaction(rk, c, group, self.timeout_ms)
            rd_kafka_consumer_group_metadata_destroy(group)
            rd_kafka_topic_partition_list_destroy(c)
        self.error = take_error(error)
        return 0


cdef object send_offsets(Client client, list offsets, str group_id, int64_t deadline):
    """Returns the Error, or None. The offsets are (bytes, int, int), checked."""
    cdef BlockingOffsetsCall request = BlockingOffsetsCall.__new__(BlockingOffsetsCall)
    client.check_blocking("send_offsets_to_transaction")
    request.offsets = offsets
    request.group_id = group_id
    client.enter()
    try:
        request.start(client, deadline)
        if not request.wait(beyond(deadline), None):
            return under_way()
    finally:
        client.leave()
    return request.error


@cython.final
cdef class BlockingTransactionCall(BlockingCall):
    cdef TransactionFunction make
    cdef object error

    cdef int perform(self) except -1:
        cdef rd_kafka_error_t *error
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            error = self.make(rk, self.timeout_ms)
        self.error = take_error(error)
        return 0

    cdef bint ended(self, int64_t deadline, list raised) except -1:
        """As wait(); when it has ended it is not under way any more."""
        try:
            return self.wait(deadline, raised)
        finally:
            if KP_READ(self.over):
                with cython.critical_section(self.client):
                    if self.client.transaction_call is self:
                        self.client.transaction_call = None


cdef object call_transaction(Client client, TransactionFunction call, int64_t deadline, list raised):
    """Returns the Error, or None. What an interrupted call left under way is waited for: the same call is taken up, and
    of another nobody asks any more how it ended."""
    cdef BlockingTransactionCall request
    cdef TransactionFunction made
    with cython.critical_section(client):
        request = client.transaction_call
    if request is not None:
        made = request.make
        if not request.ended(deadline, raised):
            return under_way()
        if made == call:
            return request.error
    request = BlockingTransactionCall.__new__(BlockingTransactionCall)
    request.make = call
    try:
        request.start(client, deadline)
    finally:
        if request.begun:       # interrupted or not
            with cython.critical_section(client):
                client.transaction_call = request
    if not request.ended(beyond(deadline), raised):
        return under_way()
    return request.error


@cython.final
cdef class BlockingPurgeCall(BlockingCall):
    cdef int perform(self) except -1:
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        return 0


cdef int purge(Client client) except -1:
    """Purge, and wait until the broker threads have, which those do not that wait for a name server: within a bound."""
    cdef BlockingPurgeCall request = BlockingPurgeCall.__new__(BlockingPurgeCall)
    cdef int64_t deadline = now_ms() + UNRESPONSIVE_MS
    client.check_blocking("purge")
    client.enter()
    try:
        request.start(client, deadline)
        while not KP_READ(request.over) and not expired(deadline):
            request.done.wait(SIGNAL_CHECK_SECONDS)    # and nothing is served: callbacks are not due in here
    finally:
        client.leave()
    if request.failure is not None:
        raise request.failure
    return 0


cdef object from_c_metadata(const rd_kafka_metadata_t *metadata):
    cdef int i, j
    cdef const rd_kafka_metadata_partition_t *partition
    nodes = {metadata.brokers[i].id: Node(metadata.brokers[i].id, metadata.brokers[i].host.decode("utf-8", "replace"),
                                          metadata.brokers[i].port) for i in range(metadata.broker_cnt)}
    partitions = {}
    name = ""
    if metadata.topic_cnt:
        name = metadata.topics[0].topic.decode("utf-8", "replace")
        for i in range(metadata.topics[0].partition_cnt):
            partition = &metadata.topics[0].partitions[i]
            partitions[partition.id] = PartitionInfo(
                nodes.get(partition.leader) or Node(partition.leader),
                [nodes.get(partition.replicas[j]) or Node(partition.replicas[j]) for j in range(partition.replica_cnt)],
                [nodes.get(partition.isrs[j]) or Node(partition.isrs[j]) for j in range(partition.isr_cnt)])
    return BrokerMetadata(name, list(nodes.values()), partitions,
                          nodes.get(metadata.orig_broker_id) or Node(metadata.orig_broker_id))
