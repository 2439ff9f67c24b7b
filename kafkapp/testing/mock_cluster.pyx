"""MockCluster: a Kafka cluster inside the process, for tests. librdkafka's mock cluster: real protocol, real sockets.

Any Kafka client can connect, in this process or in another one.
"""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int16_t
from posix.unistd cimport getpid, usleep

from kafkapp._librdkafka.mock cimport (
    rd_kafka_mock_broker_push_request_error_rtts, rd_kafka_mock_broker_set_down, rd_kafka_mock_broker_set_rtt,
    rd_kafka_mock_broker_set_up, rd_kafka_mock_clear_request_errors, rd_kafka_mock_cluster_bootstraps,
    rd_kafka_mock_cluster_destroy, rd_kafka_mock_cluster_new, rd_kafka_mock_cluster_t, rd_kafka_mock_get_requests,
    rd_kafka_mock_group_initial_rebalance_delay_ms,
    rd_kafka_mock_partition_set_leader, rd_kafka_mock_push_request_errors_array, rd_kafka_mock_request_t,
    rd_kafka_mock_start_request_tracking, rd_kafka_mock_stop_request_tracking, rd_kafka_mock_topic_create,
    rd_kafka_mock_topic_set_error)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_PRODUCER, RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, rd_kafka_destroy,
    rd_kafka_resp_err_t, rd_kafka_t)
from kafkapp.common.errors cimport new_exception
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.testing.handles cimport new_handle
from kafkapp.testing.reader cimport read_committed, read_records
from kafkapp.testing.requests cimport check_tracking, take_requests

cimport cython

import warnings
from threading import Lock

from kafkapp.testing.arguments import (
    INT32_MAX, MAX_BROKERS, MAX_PARTITIONS, ApiKey, Request, StoredRecord, check_api, check_broker, check_code,
    check_descriptors, check_int, check_late_error, check_some, delay_to_ms, encode_group, encode_topic)

__all__ = ["ApiKey", "MockCluster", "Request", "StoredRecord"]
cdef enum:
    COMMAND_PAUSE_US = 2000
    GROUP_DELAY_MS = 100        # in which a new group's members can come; librdkafka's own is 3 s


cdef rd_kafka_t *new_host() except NULL:
    # Which a mock cluster needs "for internal book keeping": never polled. Its limit is the brokers' for a request.
    return new_handle(RD_KAFKA_PRODUCER, {b"client.id": b"kafkapp-mock-cluster",
                                          b"receive.message.max.bytes": b"1100000000"})


cdef void destroy(rd_kafka_mock_cluster_t *cluster, rd_kafka_t *handle) noexcept nogil:
    if cluster != NULL:
        rd_kafka_mock_cluster_destroy(cluster)      # before the handle, which it uses
    if handle != NULL:
        rd_kafka_destroy(handle)


@cython.final
cdef class MockCluster:
    """MockCluster(brokers=1)\n--\n
    A Kafka cluster of one to a hundred brokers inside this process, on free ports of the loopback interface.

    Any Kafka client can use it, until it is closed. A pytest fixture::

        @pytest.fixture
        def cluster():
            with MockCluster(brokers=3) as cluster:
                yield cluster

    The brokers have the ids 1, 2, ... A topic that does not exist is created when a client asks for it, with four
    partitions. All methods are thread-safe; each blocks, without the GIL, until the cluster has executed it.

    The brokers are librdkafka's mock cluster, which does not do all that Kafka does:

    * Stored: batches as they come, in memory, at most 5 MiB a partition; above that the oldest are dropped.
    * Not checked: checksums, sizes, topic names, timestamps, the content of compressed batches, and the sequence
      numbers of an idempotent producer without a `transactional.id`.
    * Missing: admin requests (use `create_topic`), SASL, TLS, access control, quotas, retention, replication: `acks`
      makes no difference, and a broker that goes down keeps its partitions until `set_leader` moves them. Offsets
      that a transaction commits.
    * The timestamp of every acknowledgement is 1234; consume a record to see its own.
    * One thread serves all brokers: do not measure throughput with it.

    Args:
        brokers: how many, 1 to 100.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, a thread or a socket could not be created.
        OSError: too few file descriptors are left.
    Source: rd_kafka_mock_cluster_new(); KafkaTestUtility's cluster in modern-cpp-kafka's tests.
    """

    cdef rd_kafka_mock_cluster_t *cluster   # owned; NULL before __init__ and after close
    cdef rd_kafka_t *handle                 # the cluster's host, owned; destroyed after it
    cdef object lock                        # held during each call into librdkafka, so that close() waits for it
    cdef bint closing                       # close() has begun: new calls raise
    cdef int pid                            # of the process whose threads serve the cluster
    cdef readonly int brokers
    cdef str servers
    cdef object __weakref__

    def __cinit__(self):
        self.lock = Lock()
        self.pid = getpid()

    def __init__(self, brokers=1):
        cdef int count = check_int(brokers, "brokers", 1, MAX_BROKERS)
        if self.handle != NULL or self.servers is not None:
            raise RuntimeError("MockCluster is already started: create another one")
        check_descriptors(count + 16)
        self.handle = new_host()
        with nogil:
            self.cluster = rd_kafka_mock_cluster_new(self.handle, count)
        if self.cluster == NULL:
            raise new_exception(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "MockCluster could not be started: no thread or "
                                "socket could be created")
        if <void *>rd_kafka_mock_group_initial_rebalance_delay_ms is not NULL:
            rd_kafka_mock_group_initial_rebalance_delay_ms(self.cluster, GROUP_DELAY_MS)
        self.brokers = count
        self.servers = rd_kafka_mock_cluster_bootstraps(self.cluster).decode()

    def __dealloc__(self):
        if self.pid == getpid():    # in a forked child the threads do not exist: the memory is leaked
            with nogil:
                destroy(self.cluster, self.handle)

    def __del__(self):
        if self.cluster == NULL or self.pid != getpid():
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:
            self.close()

    def __repr__(self):
        return f"<MockCluster {'closed' if self.cluster == NULL else self.servers}>"

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, exc_type, exc, traceback):
        if self.pid == getpid():    # a forked child leaves the cluster to its parent
            self.close()

    cdef int check_open(self) except -1:
        if self.pid != getpid():
            raise RuntimeError("this MockCluster was created in another process: create one after the fork")
        if self.servers is None:
            raise RuntimeError("MockCluster.__init__() was not called, or has failed: create it with MockCluster()")
        if self.cluster == NULL or self.closing:
            raise RuntimeError("the MockCluster is closed")
        return 0

    cdef int begin(self) except -1:
        """Wait for the turn of one command; raises unless the cluster is open. The caller must call end()."""
        self.check_open()           # before the lock: in a forked child it may be locked forever
        self.lock.acquire()
        try:
            self.check_open()
        except:
            self.lock.release()
            raise
        return 0

    cdef int end(self, rd_kafka_resp_err_t err=RD_KAFKA_RESP_ERR_NO_ERROR) except -1:
        """End the turn that begin() has given. Raises the command's error."""
        # The cluster's thread answers a command before it drains its wake-up pipe. A command that follows at once may
        # lose its wake-up, and wait for a second. Measured: one of ten; after a pause, hardly any.
        with nogil:
            usleep(COMMAND_PAUSE_US)
        self.lock.release()
        if err != RD_KAFKA_RESP_ERR_NO_ERROR:
            raise new_exception(err)
        return 0

    @property
    def bootstrap_servers(self):
        """What clients need as `bootstrap.servers`: `host:port` of each broker, with commas between."""
        self.check_open()
        return self.servers

    def close(self):
        """Stop the brokers and cut their connections; their records are lost. A second call does nothing.

        Blocks, without the GIL, until its threads have ended: milliseconds, or a second with librdkafka 2.0.2.

        Source: rd_kafka_mock_cluster_destroy().
        """
        cdef rd_kafka_mock_cluster_t *cluster
        cdef rd_kafka_t *handle
        if self.pid != getpid():
            self.check_open()
        self.closing = True
        with self.lock:
            cluster, handle = self.cluster, self.handle
            self.cluster, self.handle = NULL, NULL
            with nogil:
                destroy(cluster, handle)

    def create_topic(self, name, partitions=4, replicas=1):
        """Create a topic.

        Args:
            name: 1 to 512 characters.
            partitions: how many, 1 to 10000.
            replicas: brokers for each partition, at most as many as there are.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS.
        Source: rd_kafka_mock_topic_create().
        """
        cdef bytes encoded = encode_topic(name, "name")
        cdef const char *topic = encoded
        cdef int partition_cnt = check_int(partitions, "partitions", 1, MAX_PARTITIONS)
        cdef rd_kafka_resp_err_t err
        self.check_open()
        cdef int replica_cnt = check_int(replicas, "replicas", 1, self.brokers)
        self.begin()
        with nogil:
            err = rd_kafka_mock_topic_create(self.cluster, topic, partition_cnt, replica_cnt)
        self.end(err)

    def records(self, topic, timeout=10):
        """The records that a topic holds now, those of aborted transactions too: a list of StoredRecord, by partition
        and offset. Does not create the topic.

        Args:
            timeout: seconds (int, float or timedelta), None: forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; RD_KAFKA_RESP_ERR__TIMED_OUT (a TimeoutError).
        Source: rd_kafka_consume_start_queue(), rd_kafka_consume_queue().
        """
        self.check_open()
        return read_records(self.servers, encode_topic(topic, "topic"), deadline_of(timeout))

    def committed(self, group, timeout=10):
        """The offsets that the consumers of a group have committed: a dict, `committed("billing")[("orders", 0)]`.

        Not those of transactions: the mock cluster acknowledges `send_offsets_to_transaction` and keeps nothing of it.

        Args:
            group: its `group.id`; one that does not exist has committed nothing.
            timeout: seconds (int, float or timedelta), None: forever.
        Returns:
            A dict of (topic, partition) and offset.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT (a TimeoutError), no broker has answered.
        Source: rd_kafka_committed().
        """
        self.check_open()
        return read_committed(self.servers, encode_group(group), deadline_of(timeout))

    def set_topic_error(self, topic, code):
        """Return an error for a topic to metadata requests and transactions; a missing topic is created.

        Args:
            topic: its name.
            code: an ErrorCode or an int; RD_KAFKA_RESP_ERR_NO_ERROR, 0, ends it.
        Source: rd_kafka_mock_topic_set_error().
        """
        cdef bytes encoded = encode_topic(topic, "topic")
        cdef const char *name = encoded
        cdef int error = check_code(code)
        self.begin()
        with nogil:
            rd_kafka_mock_topic_set_error(self.cluster, name, <rd_kafka_resp_err_t>error)
        self.end()

    def set_leader(self, topic, partition, broker):
        """Make a broker the leader of a partition; a missing topic is created.

        Args:
            topic: its name.
            partition: its number.
            broker: the id of the new leader; None leaves the partition without one. No client may consume it then, or
                send to its leader of before: since librdkafka 2.4 that aborts the process.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, the topic has no such partition;
                RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, the cluster has no such broker.
        Source: rd_kafka_mock_partition_set_leader().
        """
        cdef bytes encoded = encode_topic(topic, "topic")
        cdef const char *name = encoded
        cdef int number = check_int(partition, "partition", 0, INT32_MAX)
        cdef int leader = check_broker(broker, "broker")
        cdef rd_kafka_resp_err_t err
        self.begin()
        with nogil:
            err = rd_kafka_mock_partition_set_leader(self.cluster, name, number, leader)
        self.end(err)

    def broker_down(self, id):
        """Cut a broker's connections and accept no new ones. It stays the leader of its partitions, and keeps them.

        Args:
            id: which broker; None stands for all.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, the cluster has no such broker.
        Source: rd_kafka_mock_broker_set_down().
        """
        cdef int broker = check_broker(id, "id")
        cdef rd_kafka_resp_err_t err
        self.begin()
        with nogil:
            err = rd_kafka_mock_broker_set_down(self.cluster, broker)
        self.end(err)

    def broker_up(self, id):
        """Let a broker that is down accept connections again, on the same port.

        Args:
            id: which broker; None stands for all.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, the cluster has no such broker.
        Source: rd_kafka_mock_broker_set_up().
        """
        cdef int broker = check_broker(id, "id")
        cdef rd_kafka_resp_err_t err
        self.begin()
        with nogil:
            err = rd_kafka_mock_broker_set_up(self.cluster, broker)
        self.end(err)

    def set_rtt(self, id, seconds):
        """Delay each response of a broker.

        Args:
            id: which broker; None stands for all.
            seconds: int, float or timedelta, rounded up to a millisecond; 0 ends the delay.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, the cluster has no such broker.
        Source: rd_kafka_mock_broker_set_rtt().
        """
        cdef int broker = check_broker(id, "id")
        cdef int rtt_ms = delay_to_ms(seconds, "seconds")
        cdef rd_kafka_resp_err_t err
        self.begin()
        with nogil:
            err = rd_kafka_mock_broker_set_rtt(self.cluster, broker, rtt_ms)
        self.end(err)

    def push_request_errors(self, api, *codes):
        """Let the next requests of a type fail, one for each code, on any broker.

        Args:
            api: an ApiKey, its name or its number.
            codes: ErrorCode or int each; 0 lets a request succeed, RD_KAFKA_RESP_ERR__TRANSPORT cuts its connection.
        Source: rd_kafka_mock_push_request_errors_array().
        """
        cdef int16_t key = check_api(api)
        cdef int i, count = len(codes)
        check_some(codes, "codes")
        cdef rd_kafka_resp_err_t *errors = <rd_kafka_resp_err_t *>PyMem_Malloc(count * sizeof(rd_kafka_resp_err_t))
        if errors == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                errors[i] = <rd_kafka_resp_err_t><int>check_code(codes[i])
            self.begin()
            with nogil:
                rd_kafka_mock_push_request_errors_array(self.cluster, key, count, errors)
            self.end()
        finally:
            PyMem_Free(errors)      # librdkafka has copied them

    def push_broker_errors(self, broker, api, *errors):
        """Let the next requests of a type to one broker fail or be answered late; these precede all other errors.

        Args:
            broker: its id.
            api: an ApiKey, its name or its number.
            errors: each a code, as for `push_request_errors`, or a pair `(code, seconds)`. With `(0, seconds)` the
                request succeeds at once and is answered late: a lost acknowledgement, if the client times out first.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__UNKNOWN_BROKER, the cluster has no such broker.
        Source: rd_kafka_mock_broker_push_request_error_rtts().
        """
        cdef int id = check_int(broker, "broker", 1, INT32_MAX)
        cdef int16_t key = check_api(api)
        cdef int code, rtt_ms
        cdef rd_kafka_resp_err_t err
        check_some(errors, "errors")
        pairs = [check_late_error(error) for error in errors]
        for code, rtt_ms in pairs:
            self.begin()
            with nogil:
                err = rd_kafka_mock_broker_push_request_error_rtts(self.cluster, id, key, 1, <rd_kafka_resp_err_t>code,
                                                                   rtt_ms)
            self.end(err)

    def clear_request_errors(self, api):
        """Drop the errors of `push_request_errors` that no request has got yet.

        Args:
            api: an ApiKey, its name or its number.
        Source: rd_kafka_mock_clear_request_errors().
        """
        cdef int16_t key = check_api(api)
        self.begin()
        with nogil:
            rd_kafka_mock_clear_request_errors(self.cluster, key)
        self.end()

    def start_request_tracking(self):
        """Record the requests that the brokers receive from now on, for `requests`.

        Raises:
            NotImplementedError: the librdkafka in use (such as 2.0.2) cannot do it.
        Source: rd_kafka_mock_start_request_tracking().
        """
        check_tracking()
        self.begin()
        with nogil:
            rd_kafka_mock_start_request_tracking(self.cluster)
        self.end()

    def stop_request_tracking(self):
        """Drop the recorded requests and record no more.

        Raises:
            NotImplementedError: the librdkafka in use (such as 2.0.2) cannot do it.
        Source: rd_kafka_mock_stop_request_tracking().
        """
        check_tracking()
        self.begin()
        with nogil:
            rd_kafka_mock_stop_request_tracking(self.cluster)
        self.end()

    def requests(self):
        """The requests that the brokers have received since `start_request_tracking`.

        Returns:
            A list of Request, in order.
        Raises:
            NotImplementedError: the librdkafka in use (such as 2.0.2) cannot do it.
        Source: rd_kafka_mock_get_requests().
        """
        cdef rd_kafka_mock_request_t **requests = NULL
        cdef size_t count = 0
        check_tracking()
        self.check_open()
        with self.lock:
            self.check_open()
            with nogil:
                requests = rd_kafka_mock_get_requests(self.cluster, &count)
        return take_requests(requests, count)


export_as(MockCluster, "kafkapp.testing.MockCluster")
