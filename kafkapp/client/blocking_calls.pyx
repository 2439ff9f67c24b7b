"""Blocking calls: functions of librdkafka that cannot be interrupted, each run on a thread of its own.

The calling thread answers signals meanwhile, and may leave; the blocking call runs to its end all the same.
"""
from kafkapp.common.cluster_metadata import BrokerMetadata, Node, PartitionInfo
from kafkapp.common.errors import Error
from kafkapp.common.threads import start_thread

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT32_MAX, int64_t
from posix.unistd cimport usleep

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    RD_KAFKA_RESP_ERR__TRANSPORT,
    RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
    rd_kafka_err2str,
    rd_kafka_metadata,
    rd_kafka_metadata_destroy,
    rd_kafka_metadata_partition_t,
    rd_kafka_metadata_t,
    rd_kafka_queue_yield,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_t,
)
from kafkapp.client.client cimport UNRESPONSIVE_MS, Client
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.client.handle cimport OPEN, Topic
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET, KP_TAKE_FLAG
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms

cdef double SIGNAL_CHECK_SECONDS = 0.1      # the longest wait between two checks for signals
cdef double DONE_WAIT_SECONDS = 0.001       # from the wake-up of the queue to the `done` event
cdef int DISPATCH_SLICE_MS = 10     # of a thread that dispatches meanwhile; the end of the call ends it sooner

# librdkafka gives no call up before its time. So each attempt has a short time of its own, and the next one twice that:
# a broker that is slow to answer is waited for, and a call that nobody waits for any more ends in a few seconds, or at
# most in some times what it has taken already.
cdef enum:
    LEAST_ATTEMPT_MS = 10       # without time left too: librdkafka's own thread answers a seek
    FIRST_ATTEMPT_MS = 1000
    LONGEST_ATTEMPT_MS = 64000
    LAST_ATTEMPTS = 3           # what is left, up to so many attempts, is one: an answer may take most of the timeout
    RETRY_MS = 10               # a partition that was assigned just now is not ready to seek; a leader may be moving


cdef class BlockingCall:
    """One such call, and its result. A subclass has perform(), which runs on the call's own thread."""

    cdef int perform(self) except -1:
        raise NotImplementedError

    @property
    def is_finished(self):
        """Whether it has its result."""
        return KP_READ(self.finished) != 0

    def run(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__} is internal: the methods that need one start it")
        if not KP_TAKE_FLAG(self.pending):
            return      # start() was interrupted and has given it up
        try:
            self.perform()
        except BaseException as exc:
            self.failure = exc
        finally:
            KP_SET(self.finished, True)     # after the result is written, before the waiting thread is woken
            with nogil:
                rd_kafka_queue_yield(self.client.dispatcher.queue)
            self.client.leave()
            self.done.set()

    cdef int start(self, Client client, int64_t deadline) except -1:
        if self.done is None:
            from threading import Event
            self.done = Event()
        self.client = client
        self.timeout_ms = remaining_ms(deadline, INT32_MAX) if deadline >= 0 else -1
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
        """Block until it has finished; dispatches what it may wait for, such as token refreshes. False when the
        deadline has expired first."""
        cdef int64_t seen
        cdef Client client = self.client
        while not KP_READ(self.finished):
            if expired(deadline):
                return False
            if client.background or KP_READ(client.loop_dispatches):
                self.done.wait(SIGNAL_CHECK_SECONDS)
            else:
                seen = kp_rounds(&client.dispatcher)
                client.dispatch(seen, DISPATCH_SLICE_MS, raised)
                PyErr_CheckSignals()
                self.done.wait(DONE_WAIT_SECONDS)
            client.check_open()
        if self.failure is not None:
            raise self.failure
        return True


cdef class RepeatedCall(BlockingCall):
    """A call that is repeated while it fails for a reason that passes, and stopped when nobody waits for it. A
    subclass has attempt() and is_passing()."""

    cdef rd_kafka_resp_err_t attempt(self, rd_kafka_t *rk, int timeout_ms) noexcept nogil:
        return RD_KAFKA_RESP_ERR_NO_ERROR

    cdef bint is_passing(self) noexcept nogil:
        return False

    cdef int perform(self) except -1:
        cdef int64_t wait_ms = FIRST_ATTEMPT_MS, begun, left
        with nogil:
            while True:
                begun = now_ms()
                left = INT32_MAX if self.deadline < 0 else self.deadline - begun
                if LAST_ATTEMPTS * wait_ms >= left:
                    wait_ms = max(left, LEAST_ATTEMPT_MS)
                self.err = self.attempt(self.client.rk, <int>wait_ms)
                if not self.is_passing() or KP_READ(self.abandoned) or KP_READ(self.client.state) != OPEN or (
                        0 <= self.deadline <= now_ms()):
                    break
                if now_ms() - begun >= wait_ms:
                    wait_ms = min(2 * wait_ms, LONGEST_ATTEMPT_MS)
                usleep(RETRY_MS * 1000)
        return 0

    cdef bint answered(self, Client client, int64_t deadline) except -1:
        """Start it, and block until it has ended: `err` says how. False when it does not end in time."""
        cdef bint ended = False
        self.deadline = deadline
        try:
            self.start(client, deadline)
            # librdkafka keeps the timeout itself and knows the error, unless its threads do not respond.
            ended = self.wait(with_grace(deadline), None)
        finally:
            if not ended:
                KP_SET(self.abandoned, True)
        return ended


@cython.final
@cython.no_gc_clear     # its thread reads the topic until it ends
cdef class BlockingMetadataCall(RepeatedCall):
    cdef Topic topic                # holds `rkt`
    cdef rd_kafka_topic_t *rkt      # NULL: all topics
    cdef object (*convert)(const rd_kafka_metadata_t *)
    cdef const rd_kafka_metadata_t *metadata    # owned
    cdef object result

    def __dealloc__(self):
        if self.metadata is not NULL:
            rd_kafka_metadata_destroy(self.metadata)

    cdef int perform(self) except -1:
        RepeatedCall.perform(self)
        if self.err == RD_KAFKA_RESP_ERR_NO_ERROR:
            if self.rkt is not NULL:
                self.err = (self.metadata.topics[0].err if self.metadata.topic_cnt
                            else RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
            self.result = self.convert(self.metadata)
        return 0

    cdef rd_kafka_resp_err_t attempt(self, rd_kafka_t *rk, int timeout_ms) noexcept nogil:
        return rd_kafka_metadata(rk, self.rkt is NULL, self.rkt, &self.metadata, timeout_ms)

    cdef bint is_passing(self) noexcept nogil:
        return self.err in (RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT)


cdef int64_t with_grace(int64_t deadline) noexcept:
    """A later deadline: librdkafka keeps the timeout itself and knows the error, unless its threads do not respond."""
    return deadline if deadline < 0 else max(deadline, now_ms()) + UNRESPONSIVE_MS


cpdef object still_running_error():
    return Error(RD_KAFKA_RESP_ERR__TIMED_OUT, "the call has not finished yet and is still running: "
                 "call it again to wait for its result", is_retriable=True)


cdef object fetch_metadata(Client client, str topic, int64_t deadline):
    return request_metadata(client, "fetch_broker_metadata", topic, deadline, from_c_metadata)


cdef dict list_topics(Client client, int64_t deadline):
    return request_metadata(client, "list_topics", None, deadline, partition_counts)


cdef list fetch_cluster(Client client, int64_t deadline):
    """(BrokerMetadata, its error's code) of each topic; before them one without a topic, for the brokers alone."""
    return request_metadata(client, "fetch_cluster", None, deadline, topic_by_topic)


cdef object request_metadata(Client client, str what, str topic, int64_t deadline,
                             object (*convert)(const rd_kafka_metadata_t *)):
    cdef BlockingMetadataCall request = BlockingMetadataCall.__new__(BlockingMetadataCall)
    cdef rd_kafka_resp_err_t err
    request.convert = convert
    client.check_blocking(what)
    client.enter()      # this thread dispatches: a close() in another thread must not destroy the handle meanwhile
    try:
        if topic is not None:
            request.topic = <Topic>client.topic(topic)
            request.rkt = <rd_kafka_topic_t *>request.topic.rkt
        err = request.err if request.answered(client, deadline) else RD_KAFKA_RESP_ERR__TIMED_OUT
    finally:
        client.leave()
    if err:
        raise new_exception(err, f"{what}({'' if topic is None else repr(topic)}) failed: "
                                 f"{rd_kafka_err2str(err).decode()}")
    return request.result


cdef object partition_counts(const rd_kafka_metadata_t *metadata):
    cdef int i
    return dict(sorted([(metadata.topics[i].topic.decode("utf-8", "replace"), metadata.topics[i].partition_cnt)
                        for i in range(metadata.topic_cnt)]))


cdef object topic_by_topic(const rd_kafka_metadata_t *metadata):
    cdef rd_kafka_metadata_t one = metadata[0]
    cdef int i
    one.topic_cnt = 0
    found = [(from_c_metadata(&one), 0)]
    one.topic_cnt = 1
    for i in range(metadata.topic_cnt):
        one.topics = metadata.topics + i
        found.append((from_c_metadata(&one), one.topics.err))
    return found


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
