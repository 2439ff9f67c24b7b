"""PollingConsumer: a consumer's queue, its polls, and its end. What is read, and for whom: the classes above it."""
from kafkapp.consumer.topic_partition import checked_integer

from libc.stdint cimport INT32_MAX, SIZE_MAX, int64_t

from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport close
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.auto_commit cimport last_commit_deadline
from kafkapp.consumer.consumed_columns cimport kp_spare_close
from kafkapp.consumer.consumer_service cimport ConsumerService
from kafkapp.consumer.rebalances cimport give_up_all
from kafkapp.consumer.record_queue cimport RecordQueue, new_record_queue

cdef object MAX_BYTES = 1 << 30         # of one batch; its offsets have 31 bits
cdef size_t POLL_BYTES = 4 << 20        # of one poll(): more memory would not be recycled


cdef class PollingConsumer(KafkaClient):
    """Base of KafkaConsumer: what it reads. Not instantiated itself."""

    cdef int begin(self, Client client) except -1:
        self.queue = new_record_queue(client)
        return 0

    cdef RecordQueue get_queue(self):
        self.get_client()
        return self.queue

    @property
    def group_id(self):
        """The `group.id` in force, str; random unless it was set. Source: KafkaConsumer::getGroupId."""
        return self.get_client().properties["group.id"]

    # -- reading ----------------------------------------------------------------------------------

    def poll_batch(self, timeout=None, *, max_records=100_000, max_bytes=4194304, headers=False):
        """Read what has come, as columns: one acquisition of the GIL, and no Python object for a record.

        Blocks, without the GIL, until there is something; never for a full batch. Ctrl-C and `wakeup` end the wait.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
            max_records: how many records at most, int.
            max_bytes: of keys, values and headers, int, up to 1 GiB. May be exceeded by the records that librdkafka
                gives at a time; a record that is larger comes alone.
            headers: whether the records' headers are read too, bool.
        Returns:
            A ConsumedBatch; an empty one, which is false, when the timeout has expired.
        Raises:
            KafkaException: what librdkafka reports of a partition, such as
                RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET. What was read before
                it is returned first; the next poll goes on. What is damaged, RD_KAFKA_RESP_ERR__BAD_MSG and
                RD_KAFKA_RESP_ERR__BAD_COMPRESSION, it reads again, 3 s later; `seek` leaves it out. What may pass,
                such as RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION of what is
                missing, goes to `error_cb`, else to `logging`.
            RuntimeError: another thread polls; inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        return self.get_queue().read("poll_batch", deadline_of(timeout),
                                     checked_count("max_records", max_records, INT32_MAX),
                                     checked_count("max_bytes", max_bytes, MAX_BYTES), headers, SIZE_MAX)

    def poll(self, timeout=None, max_records=None, *, view_from=4096):
        """Read what has come, as records, with headers: `poll_batch` for programs that look at each record.

        Large values are not copied: they are views of librdkafka's memory, which holds whole fetch responses until the
        last record, value or memoryview of the batch is gone; `detach()` copies one record. See `pinned_bytes`.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
            max_records: how many records at most, int; None: the property `max.poll.records`, 500 unless it is set.
            view_from: values of at least so many bytes (int) are views; None copies all. What would exceed
                `max.pinned.bytes` is copied.
        Returns:
            A ConsumedBatch, a sequence of ConsumerRecord; an empty one, which is false, when the timeout has expired.
        Raises:
            as `poll_batch`.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        cdef RecordQueue queue = self.get_queue()
        cdef size_t most = ((<ConsumerService>self.client.service).poll_records if max_records is None
                            else checked_count("max_records", max_records, INT32_MAX))
        return queue.read("poll", deadline_of(timeout), most, POLL_BYTES, True,
                          SIZE_MAX if view_from is None else checked_count("view_from", view_from, INT32_MAX))

    @property
    def pinned_bytes(self):
        """How much of librdkafka's memory live views hold, int, at most; 0: no batch of `poll` with views is left.

        For each such batch: the bytes of its records up to the last view, 80 for each of them, 320 for each view, and
        two fetch responses, whose other records may be gone: `fetch.max.bytes`, or `fetch.message.max.bytes` for each
        assigned partition where that is less. Producers' batches that are larger when they are unpacked, and records of
        aborted transactions, are not in it, nor more responses that a batch of several brokers shares. Also after
        `close`.
        """
        return (<ConsumerService>self.get_client().service).kept.bytes()

    def wakeup(self):
        """End the wait of the poll that waits now, else of the next one: it returns an empty batch. Thread-safe.

        Raises:
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_queue_yield().
        """
        self.get_queue().wake()

    # -- the end ----------------------------------------------------------------------------------

    def poll_events(self, timeout=0):
        """Dispatch the commits that brokers have answered: run their callbacks. With EventsPollingOption.Manual only,
        where polls do so too.

        Blocks up to `timeout`, without the GIL.

        Args:
            timeout: seconds to wait for the first of them (int, float or timedelta), None waits forever.
        Returns:
            How many commits were answered (int), with or without a callback.
        Raises:
            RuntimeError: with Auto, inside a callback of this consumer, after `close`, or in a forked child.
            Exception: what callbacks raised (several: as a BaseExceptionGroup).
        Source: rd_kafka_queue_poll(); KafkaConsumer::pollEvents.
        """
        return self.get_client().poll_events(deadline_of(timeout))

    def close(self, timeout=None):
        """Close, when commits are answered and their callbacks have returned.

        A consumer that is subscribed leaves its group: `on_rebalance` is called first, as for a rebalance, but not in a
        signal handler during a poll. With `enable.auto.commit` it then commits what polls have returned; of the last
        poll only in the thread that has polled. Records that were read stay valid, and so do positions; librdkafka's
        threads end with the last view.

        Blocks, without the GIL. What is not answered in time fails with RD_KAFKA_RESP_ERR__DESTROY, or is logged. A
        poll that waits in another thread raises RuntimeError. Closing again does nothing.

        Args:
            timeout: seconds (int, float or timedelta) for the answers of brokers; None: 5, while none can be reached 1.
        Raises:
            RuntimeError: in a callback of this consumer, or in a forked child.
            Exception: what `on_rebalance` raised, and with Manual what other callbacks did (several: as a
                BaseExceptionGroup); the consumer is closed then.
        Source: rd_kafka_destroy(); KafkaConsumer::close.
        """
        self.end(deadline_of(timeout), True)

    def __exit__(self, kind, *exc):
        """`close()`; after an exception it leaves out what the last poll has returned: it will be read again."""
        self.end(-1, kind is None)

    cdef int end(self, int64_t deadline, bint processed) except -1:
        cdef Client client = self.get_client()
        cdef list raised = []
        if deadline < 0:
            deadline = last_commit_deadline(client)
        cdef bint commits = self.queue.auto is not None and KP_READ(client.state) == OPEN and not (
            client.foreign() or client.in_callback())
        if commits:
            self.queue.auto.end_polls(self.queue.positions, processed)      # before partitions are revoked
        give_up_all(self.queue, deadline, True, raised)
        try:
            if commits:
                self.queue.auto.close(client, deadline, raised)
            close(client, deadline)
            kp_spare_close(self.queue.spare)
        except:
            report_all_unraisable(raised)
            raise
        return raise_all(raised)


cdef size_t checked_count(str what, object count, object limit) except? 0:
    cdef size_t number = checked_integer(what, count, limit)
    if not number:
        raise ValueError(f"{what} must be at least 1")
    return number
