"""Blocking calls: functions of librdkafka that cannot be interrupted, each run on a thread of its own.

The calling thread answers signals meanwhile, and may leave; the blocking call runs to its end all the same.
"""
from kafkapp.common.cluster_metadata import BrokerMetadata, Node, PartitionInfo
from kafkapp.common.errors import Error
from kafkapp.common.threads import start_thread

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT32_MAX, int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_PURGE_F_INFLIGHT,
    RD_KAFKA_PURGE_F_QUEUE,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
    rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_new,
    rd_kafka_consumer_group_metadata_t,
    rd_kafka_err2str,
    rd_kafka_error_t,
    rd_kafka_metadata,
    rd_kafka_metadata_destroy,
    rd_kafka_metadata_partition_t,
    rd_kafka_metadata_t,
    rd_kafka_purge,
    rd_kafka_queue_yield,
    rd_kafka_resp_err_t,
    rd_kafka_send_offsets_to_transaction,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
    rd_kafka_topic_t,
)
from kafkapp.client.client cimport UNRESPONSIVE_MS, Client
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_TAKE_FLAG
from kafkapp.common.errors cimport new_exception, take_error
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms
from kafkapp.producer.delivery cimport kp_rounds, Topic

cdef double SIGNAL_CHECK_SECONDS = 0.1      # the longest wait between two checks for signals
cdef double DONE_WAIT_SECONDS = 0.001       # from the wake-up of the queue to the `done` event
cdef int DISPATCH_SLICE_MS = 10     # of a thread that dispatches meanwhile; the end of the call ends it sooner


cdef class BlockingCall:
    """One such call, and its result."""
    cdef Client client
    cdef int timeout_ms
    cdef object done        # a threading.Event
    cdef int pending        # not begun yet; the thread that takes this flag performs it
    cdef bint started       # its thread was started
    cdef int finished       # it has its result; `done`, whose set() may fail without memory, only says so sooner
    cdef object failure     # what perform() raised, for the thread that waits

    cdef int perform(self) except -1:
        raise NotImplementedError

    def run(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__} is internal: use the methods of a producer")
        if not KP_TAKE_FLAG(self.pending):
            return      # start() was interrupted and has given it up
        try:
            self.perform()
        except BaseException as exc:
            self.failure = exc
        finally:
            KP_SET(self.finished, True)     # after the result is written, before the waiting thread is woken
            with nogil:
                rd_kafka_queue_yield(self.client.deliveries.queue)
            self.client.leave()
            self.done.set()

    cdef int start(self, Client client, int64_t deadline) except -1:
        from threading import Event
        self.client = client
        self.timeout_ms = remaining_ms(deadline, INT32_MAX) if deadline >= 0 else -1
        self.done = Event()
        self.pending = True
        KP_ADD(client.users, 1)         # the call's thread leaves; it may outlive this method
        try:
            start_thread(self.run)
            self.started = True
        except:
            # After an interrupt the thread may run or not: if it has not begun, it will find nothing to do.
            if KP_TAKE_FLAG(self.pending):
                client.leave()
            else:
                self.started = True
            raise
        return 0

    cdef bint wait(self, int64_t deadline, list raised) except -1:
        """Block until it has finished; dispatches what it may wait for: token refreshes, delivery reports. False when
        the deadline has expired first."""
        cdef int64_t seen
        cdef Client client = self.client
        while not KP_READ(self.finished):
            if expired(deadline):
                return False
            if client.background or KP_READ(client.loop_dispatches):
                self.done.wait(SIGNAL_CHECK_SECONDS)
            else:
                seen = kp_rounds(&client.deliveries)
                client.dispatch(seen, DISPATCH_SLICE_MS, raised)
                PyErr_CheckSignals()
                self.done.wait(DONE_WAIT_SECONDS)
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


cdef int64_t with_grace(int64_t deadline) noexcept:
    """A later deadline: librdkafka keeps the timeout itself and knows the error, unless its threads do not respond."""
    return deadline if deadline < 0 else max(deadline, now_ms()) + UNRESPONSIVE_MS


cdef object still_running_error():
    return Error(RD_KAFKA_RESP_ERR__TIMED_OUT, "the call has not finished yet and is still running: "
                 "call it again to wait for its result", is_retriable=True)


cdef object fetch_metadata(Client client, str topic, int64_t deadline):
    cdef BlockingMetadataCall request = BlockingMetadataCall.__new__(BlockingMetadataCall)
    client.check_blocking("fetch_broker_metadata")
    client.enter()      # this thread dispatches: a close() in another thread must not destroy the handle meanwhile
    try:
        request.topic = <Topic>client.topic(topic)
        request.start(client, deadline)
        if not request.wait(with_grace(deadline), None):
            request.err = RD_KAFKA_RESP_ERR__TIMED_OUT
    finally:
        client.leave()
    if request.err:
        raise new_exception(request.err, f"fetch_broker_metadata({topic!r}) failed: "
                                         f"{rd_kafka_err2str(request.err).decode()}")
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
    """Returns the Error, or None. The offsets are checked (bytes, int, int) tuples."""
    cdef BlockingOffsetsCall request = BlockingOffsetsCall.__new__(BlockingOffsetsCall)
    client.check_blocking("send_offsets_to_transaction")
    request.offsets = offsets
    request.group_id = group_id
    client.enter()
    try:
        request.start(client, deadline)
        if not request.wait(with_grace(deadline), None):
            return still_running_error()
    finally:
        client.leave()
    return request.error


@cython.final
cdef class BlockingTransactionCall(BlockingCall):
    cdef TransactionFunction function
    cdef object error

    cdef int perform(self) except -1:
        cdef rd_kafka_error_t *error
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            error = self.function(rk, self.timeout_ms)
        self.error = take_error(error)
        return 0

    cdef bint wait_and_detach(self, int64_t deadline, list raised) except -1:
        """wait(); once it has finished, it is no longer the client's running call."""
        try:
            return self.wait(deadline, raised)
        finally:
            if KP_READ(self.finished):
                with cython.critical_section(self.client):
                    if self.client.transaction_call is self:
                        self.client.transaction_call = None


cdef object call_transaction(Client client, TransactionFunction function, int64_t deadline, list raised):
    """Returns the Error, or None. A call that an interrupt has left running is waited for first: if it is of the same
    function its result is this call's; otherwise its result is dropped."""
    cdef BlockingTransactionCall request
    cdef TransactionFunction running
    with cython.critical_section(client):
        request = client.transaction_call
    if request is not None:
        running = request.function
        if not request.wait_and_detach(deadline, raised):
            return still_running_error()
        if running == function:
            return request.error
    request = BlockingTransactionCall.__new__(BlockingTransactionCall)
    request.function = function
    try:
        request.start(client, deadline)
    finally:
        if request.started:     # interrupted or not
            with cython.critical_section(client):
                client.transaction_call = request
    if not request.wait_and_detach(with_grace(deadline), raised):
        return still_running_error()
    return request.error


@cython.final
cdef class BlockingPurgeCall(BlockingCall):
    cdef int perform(self) except -1:
        cdef rd_kafka_t *rk = self.client.rk
        with nogil:
            rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        return 0


cdef int purge(Client client) except -1:
    """Purge, and wait until the broker threads have; at most UNRESPONSIVE_MS, as one that waits for a name server will
    not."""
    cdef BlockingPurgeCall request = BlockingPurgeCall.__new__(BlockingPurgeCall)
    cdef int64_t deadline = now_ms() + UNRESPONSIVE_MS
    client.check_blocking("purge")
    client.enter()
    try:
        request.start(client, deadline)
        while not KP_READ(request.finished) and not expired(deadline):
            request.done.wait(SIGNAL_CHECK_SECONDS)     # nothing is dispatched: purge() runs no callbacks
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
