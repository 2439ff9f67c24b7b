"""Calls of librdkafka that can neither be interrupted nor resumed: a thread of their own waits for them.

Layer L5: knows clients. The thread that asked answers signals meanwhile, and may leave; the request goes on to its end.
"""
from kafkapp.metadata import BrokerMetadata, Node, PartitionInfo

cimport cython
from libc.stdint cimport INT32_MAX

from kafkapp.client cimport Client
from kafkapp.delivery cimport KP_READ, KP_SET, Topic, kp_enter
from kafkapp.errors cimport new_exception, take_error
from kafkapp.librdkafka cimport *
from kafkapp.timeouts cimport remaining

cdef double SLICE = 0.1     # seconds; the longest wait without a look at signals


cdef class Request:
    """One such call, and its answer."""
    cdef Client client
    cdef int timeout_ms
    cdef object done
    cdef int over           # it has its answer; `done`, which needs memory, only says so sooner
    cdef object failure     # what call() raised, for the thread that waits

    cdef int call(self) except -1:
        raise NotImplementedError

    def run(self):
        try:
            self.call()
        except BaseException as exc:
            self.failure = exc
        finally:
            self.client.leave()
            KP_SET(self.over, True)     # after the failure, and what call() has found
            self.done.set()

    cdef int wait(self, Client client, int64_t deadline) except -1:
        from _thread import start_new_thread
        from threading import Event
        self.client = client
        self.timeout_ms = remaining(deadline, INT32_MAX) if deadline >= 0 else -1
        self.done = Event()
        kp_enter(&client.deliveries)    # left by the request's thread, which may outlive this call
        try:
            # Not a threading.Thread: an interrupt in its start() would not tell whether it runs, and so who leaves.
            start_new_thread(self.run, ())
        except:
            client.leave()
            raise
        while not KP_READ(self.over) and not self.done.wait(SLICE):
            if not client.background and not KP_READ(client.driven):
                client.serve(0, 0, None)   # it may need a token first
            client.check_open()
        if self.failure is not None:
            raise self.failure
        return 0


@cython.final
cdef class MetadataRequest(Request):
    cdef Topic topic
    cdef rd_kafka_resp_err_t err
    cdef object result

    cdef int call(self) except -1:
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


cdef object fetch_metadata(Client client, str topic, int64_t deadline):
    cdef MetadataRequest request = MetadataRequest.__new__(MetadataRequest)
    client.check_blocking("fetch_broker_metadata")
    client.enter()      # this thread serves: a close() on another one must not destroy the handle meanwhile
    try:
        request.topic = <Topic>client.topic(topic)
        request.wait(client, deadline)
    finally:
        client.leave()
    if request.err:
        raise new_exception(request.err, f"no metadata of topic {topic!r}: {rd_kafka_err2str(request.err).decode()}")
    return request.result


@cython.final
cdef class OffsetsRequest(Request):
    cdef list offsets
    cdef str group_id
    cdef object error

    cdef int call(self) except -1:
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
    cdef OffsetsRequest request = OffsetsRequest.__new__(OffsetsRequest)
    client.check_blocking("send_offsets_to_transaction")
    request.offsets = offsets
    request.group_id = group_id
    client.enter()
    try:
        request.wait(client, deadline)
    finally:
        client.leave()
    return request.error


cdef object from_c_metadata(const rd_kafka_metadata_t *metadata):
    cdef int i, j
    cdef const rd_kafka_metadata_partition_t *partition
    nodes = {metadata.brokers[i].id: Node(metadata.brokers[i].id, metadata.brokers[i].host.decode(),
                                          metadata.brokers[i].port) for i in range(metadata.broker_cnt)}
    partitions = {}
    name = ""
    if metadata.topic_cnt:
        name = metadata.topics[0].topic.decode()
        for i in range(metadata.topics[0].partition_cnt):
            partition = &metadata.topics[0].partitions[i]
            partitions[partition.id] = PartitionInfo(
                nodes.get(partition.leader) or Node(partition.leader),
                [nodes.get(partition.replicas[j]) or Node(partition.replicas[j]) for j in range(partition.replica_cnt)],
                [nodes.get(partition.isrs[j]) or Node(partition.isrs[j]) for j in range(partition.isr_cnt)])
    return BrokerMetadata(name, list(nodes.values()), partitions,
                          nodes.get(metadata.orig_broker_id) or Node(metadata.orig_broker_id))
