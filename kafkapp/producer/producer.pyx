"""Producer: the base of both producers. Owns their client; flush, purge, close, transactions, properties.

Knows clients and what to call for them; records and batches are the producers' own.
"""
from kafkapp.config.properties import Properties
from kafkapp.producer.transactions import Transaction

cimport cython

from kafkapp.client.blocking_calls cimport fetch_cluster, fetch_metadata, list_topics
from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport abandon, close
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.producer.record cimport checked_topic
from kafkapp.producer.send cimport read_size_limits
from kafkapp.producer.service cimport ProducerService, flush, purge
from kafkapp.producer.transactions cimport (
    abort_transaction,
    begin_transaction,
    commit_transaction,
    init_transactions,
    send_offsets_to_transaction,
)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object thing)


cdef class Producer:
    """Base of both producers: owns their client, and has their common methods. Not instantiated itself."""

    cdef int open_client(self, properties, int thread, dict defaults) except -1:
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        cdef Client client = Client(properties, thread, ProducerService.__new__(ProducerService), defaults)
        try:
            read_size_limits(client)
        except:             # no memory, or Ctrl-C: nobody else can close this client
            close(client, 0)
            raise
        with cython.critical_section(self):
            if self.client is None:
                self.client, client = client, None
        if client is not None:
            close(client, 0)
            raise RuntimeError(f"{type(self).__name__}.__init__() was called by two threads at once: one of "
                               "them keeps its client")
        return 0

    cdef Client get_client(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.client

    @property
    def name(self):
        """The name of the client in librdkafka's logs, str. Source: rd_kafka_name(); KafkaClient::name."""
        return self.get_client().name

    @property
    def client_id(self):
        """The `client.id` in force, str; the program's name unless it was set. Source: KafkaClient::clientId."""
        return self.get_client().client_id

    @property
    def properties(self):
        """A copy of the Properties in force: those given, and kafkapp's defaults. Source: KafkaClient::properties."""
        return Properties(self.get_client().properties)

    @property
    def closed(self):
        """Whether `close` has been called, bool: no record is accepted any more. False again if that `close` was
        interrupted."""
        return KP_READ(self.get_client().state) != OPEN

    def get_property(self, name):
        """The value in force of any property of librdkafka.

        Args:
            name: the property's name.
        Returns:
            The value as text, also after `close`; None: it has no value, or librdkafka does not know it.
        Source: rd_kafka_conf_get(); KafkaClient::getProperty.
        """
        return self.get_client().get_property(name)

    def __len__(self):
        """How many records are outstanding: enqueued, without a delivery report yet."""
        return self.get_client().service.count()

    def __bool__(self):
        return True

    def flush(self, timeout=None):
        """End lingering, and wait until all records sent before are reported and their callbacks have returned.

        Blocks, without the GIL. Ctrl-C ends the wait and leaves the records in flight. After `close` nothing is in
        flight: it returns at once.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: some records are still in flight.
            RuntimeError: in a delivery callback of this producer, in a signal handler during its `send_batch`, or in a
                forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_flush(); KafkaProducer::flush.
        """
        flush(self.get_client(), deadline_of(timeout))

    def purge(self):
        """Fail all outstanding records: those in the queue with RD_KAFKA_RESP_ERR__PURGE_QUEUE, those sent to a broker,
        which may still be delivered, with RD_KAFKA_RESP_ERR__PURGE_INFLIGHT.

        Blocks until librdkafka has purged, at most a second: one of its threads that waits for a name server purges
        later. The delivery reports follow as always.

        Raises:
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_purge(); KafkaProducer::purge.
        """
        purge(self.get_client())

    def close(self, timeout=None):
        """Flush and close: when this returns every record has been reported and every callback has returned.

        Blocks, without the GIL. When the timeout has expired what is in flight is purged, and its callbacks run with
        RD_KAFKA_RESP_ERR__PURGE_QUEUE or RD_KAFKA_RESP_ERR__PURGE_INFLIGHT; a callback that runs for five seconds more
        is left to the background thread, with a RuntimeWarning, and so are those after it. Closing again does nothing.
        Ctrl-C leaves the producer open.

        Args:
            timeout: seconds (int, float or timedelta), None waits until the last record has expired
                (`message.timeout.ms`).
        Raises:
            RuntimeError: in a delivery callback of this producer, in a signal handler during its `send_batch`, or in a
                forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_flush(), rd_kafka_purge(), rd_kafka_destroy(); KafkaProducer::close.
        """
        close(self.get_client(), deadline_of(timeout))

    def init_transactions(self, timeout=None):
        """Initialize transactions: end those of an earlier producer with this `transactional.id`, and fence it.

        Must be called once, before the first transaction. Blocks, without the GIL; can be called again after a timeout
        or Ctrl-C, as `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, `transactional.id` is not set;
                RD_KAFKA_RESP_ERR__TIMED_OUT, or with `is_retriable` the reason why it timed out, such as
                RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS: call it again; others as `error` tells: `is_fatal`.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_init_transactions(); KafkaProducer::initTransactions.
        """
        init_transactions(self.get_client(), deadline_of(timeout))

    def begin_transaction(self):
        """Begin a transaction: records sent from now on are part of it.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__NOT_CONFIGURED, `transactional.id` is not set;
                RD_KAFKA_RESP_ERR__STATE, a transaction is open already, or `init_transactions` was not called;
                RD_KAFKA_RESP_ERR__FATAL.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_begin_transaction(); KafkaProducer::beginTransaction.
        """
        begin_transaction(self.get_client())

    def commit_transaction(self, timeout=None):
        """Flush, and commit the transaction.

        Blocks, without the GIL; can be called again after a timeout or Ctrl-C. After Ctrl-C it keeps running: a second
        call returns its result, the other calls of a transaction wait for it first.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, there is no transaction; RD_KAFKA_RESP_ERR__INCONSISTENT, a
                record was not delivered; others, where `error` says what to do: `is_retriable`: call it again;
                `transaction_requires_abort`: abort; `is_fatal`: the producer has to be replaced.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_commit_transaction(); KafkaProducer::commitTransaction.
        """
        commit_transaction(self.get_client(), deadline_of(timeout))

    def abort_transaction(self, timeout=None):
        """Purge the records in flight, and abort the transaction.

        Blocks, without the GIL; can be called again after a timeout or Ctrl-C, as `commit_transaction`.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__STATE, there is no transaction; RD_KAFKA_RESP_ERR__TIMED_OUT and others
                with `is_retriable`: call it again; `is_fatal`: the producer has to be replaced.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
            Exception: what callbacks raised, if this call ran them (several: as a BaseExceptionGroup).
        Source: rd_kafka_abort_transaction(); KafkaProducer::abortTransaction.
        """
        abort_transaction(self.get_client(), deadline_of(timeout))

    def send_offsets_to_transaction(self, offsets, group, timeout=None):
        """Commit a consumer group's offsets with the transaction.

        Blocks, without the GIL. After Ctrl-C it keeps running; until it has finished, the other calls of the
        transaction raise RD_KAFKA_RESP_ERR__CONFLICT, with `is_retriable`. `with transaction()` retries them.

        Args:
            offsets: what comes next to read, as (topic, partition, offset) tuples, as objects with these three
                (confluent-kafka's TopicPartition; one whose offset is -1001, of which nothing was read, is left out),
                or as a dict of (topic, partition) to an offset or an object with one (kafka-python's, aiokafka's).
                An object's `metadata` is committed too.
            group: the consumer's group metadata: an object or tuple of group_id, generation_id, member_id and
                group_instance_id (kafka-python's `group_metadata()`), or the bytes of confluent-kafka's
                `consumer_group_metadata()`. The broker then refuses a consumer that is no longer in its group. A str,
                the group's bare name, cannot be refused so: it works, with a UserWarning.
            timeout: seconds (int, float or timedelta), None waits for `transaction.timeout.ms`.
        Raises:
            KafkaException: as `commit_transaction`; RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID: the consumer has been put
                out of its group since; with `transaction_requires_abort`.
            TypeError, ValueError: an argument is malformed.
            UserWarning: for a str, where warnings are errors.
            RuntimeError: inside a callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_send_offsets_to_transaction(), rd_kafka_consumer_group_metadata_new_with_genid();
            KafkaProducer::sendOffsetsToTransaction.
        """
        send_offsets_to_transaction(self.get_client(), offsets, group, deadline_of(timeout))

    def transaction(self):
        """A transaction as a context manager: commits at its end, aborts when its body raises.

        A commit is retried on a retriable error; on an abortable error the transaction is aborted, and the error
        raised; a fatal error is raised.

        Returns:
            A context manager, whose value is the producer.
        """
        return Transaction(self)

    def fetch_broker_metadata(self, topic, timeout=10):
        """Ask the cluster for a topic's partitions, leaders and replicas.

        Blocks, without the GIL.

        Args:
            topic: the topic's name.
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            A BrokerMetadata.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT: no broker answered;
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and other errors of the topic.
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_metadata(); KafkaClient::fetchBrokerMetadata.
        """
        return fetch_metadata(self.get_client(), checked_topic(topic), deadline_of(timeout))

    def list_topics(self, timeout=10):
        """Ask the cluster for all topics that this client may see, internal ones too.

        Blocks, without the GIL.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            A dict of each topic's name, in their order, and how many partitions it has. `fetch_broker_metadata` has
            more of one topic.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT: no broker answered.
            RuntimeError: in a delivery callback of this producer, after `close`, or in a forked child.
        Source: rd_kafka_metadata().
        """
        return list_topics(self.get_client(), deadline_of(timeout))

    def __aenter__(self):
        raise not_for_asyncio(self)

    def __aexit__(self, *exc):
        raise not_for_asyncio(self)

    def __await__(self):
        raise not_for_asyncio(self)

    def __enter__(self):
        self.get_client().check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.client is not None:
            # The last reference is gone, unless the garbage collector or a caller of __del__ holds another.
            abandon(self.client, Py_REFCNT(self) == 1)

    def __repr__(self):
        if self.client is None:
            return f"<{type(self).__name__} without a client>"
        return (f"<{type(self).__name__} {self.client.name}: "
                f"{self.client.service.count()} outstanding{'' if KP_READ(self.client.state) == OPEN else ', closed'}>")

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it owns connections and "
                        f"threads; create one in each process")

    def _ledger(self):
        """What is held for records in flight: dict of names and counts. For tests."""
        return self.get_client().ledger()

    def _fetch_cluster(self, timeout):
        """(BrokerMetadata, its error's code) of each topic; the first is of none, for the brokers. For the command.

        Blocks, without the GIL; raises as `fetch_broker_metadata`.
        """
        return fetch_cluster(self.get_client(), deadline_of(timeout))


cdef object not_for_asyncio(Producer producer):
    return TypeError(f"{type(producer).__name__} is for threads, and asyncio's producer is kafkapp.aio.KafkaProducer: "
                     "`async with kafkapp.aio.KafkaProducer(properties) as producer`")
