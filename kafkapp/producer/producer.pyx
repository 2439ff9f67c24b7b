"""Producer: the base of both producers: flush, purge, close, transactions.

Knows clients and what to call for them; records and batches are the producers' own.
"""
from kafkapp.producer.transactions import Transaction

from kafkapp.client.blocking_calls cimport fetch_cluster
from kafkapp.client.shutdown cimport close
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.producer.service cimport flush, purge
from kafkapp.producer.transactions cimport (
    abort_transaction,
    begin_transaction,
    commit_transaction,
    init_transactions,
    send_offsets_to_transaction,
)

cdef class Producer(KafkaClient):
    """Base of both producers: their common methods. Not instantiated itself."""

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

    def __aenter__(self):
        raise not_for_asyncio(self)

    def __aexit__(self, *exc):
        raise not_for_asyncio(self)

    def __await__(self):
        raise not_for_asyncio(self)

    def __exit__(self, *exc):
        self.close()

    def _fetch_cluster(self, timeout):
        """(BrokerMetadata, its error's code) of each topic; the first is of none, for the brokers. For the command.

        Blocks, without the GIL; raises as `fetch_broker_metadata`.
        """
        return fetch_cluster(self.get_client(), deadline_of(timeout))


cdef object not_for_asyncio(Producer producer):
    return TypeError(f"{type(producer).__name__} is for threads, and asyncio's producer is kafkapp.aio.KafkaProducer: "
                     "`async with kafkapp.aio.KafkaProducer(properties) as producer`")
