"""KafkaConsumer: reads the partitions that it is assigned, a batch of columns at a time; what its group commits."""
from kafkapp.common.options import EventsPollingOption
from kafkapp.consumer.topic_partition import checked_integer, checked_partition, checked_partitions

from libc.stdint cimport int64_t

from kafkapp.client.client cimport Client
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.broker_offsets cimport committed_offsets
from kafkapp.consumer.partition_calls cimport commit


cdef class KafkaConsumer(PartitionConsumer):
    """KafkaConsumer(properties, events_polling=EventsPollingOption.Auto)\n--\n
    Reads records from partitions that it is assigned.

    One thread polls at a time; all other methods may be called from any. `group.id` is random unless it is set,
    `fetch.queue.backoff.ms` 10 where librdkafka has that property.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
        events_polling: EventsPollingOption.Auto: a background thread runs the callbacks; Manual: the polls and
            `poll_events` do.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value, with librdkafka's
            reason; RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaConsumer.
    """

    def __init__(self, properties, events_polling=EventsPollingOption.Auto):
        self.open_client(properties, events_polling)

    # -- commits --------------------------------------------------------------------------------------

    def committed(self, partitions, timeout=10):
        """The offsets that the group has committed: a dict of TopicPartition to int; one without is left out.

        Args and Raises: as `beginning_offsets`. Source: rd_kafka_committed(); KafkaConsumer::committed.
        """
        return committed_offsets(self.get_client(), "committed", checked_partitions(partitions), deadline_of(timeout))

    def commit_sync(self, what=None, timeout=None):
        """Commit for the group what was read, and wait until the broker has it.

        Blocks, without the GIL. Nothing to commit is success.

        Args:
            what: None, the positions of all assigned partitions; a ConsumedBatch or a ConsumerRecord, what comes after
                it; or a mapping of partitions to offsets.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: it may still be committed; others of librdkafka and brokers.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_commit_queue(); KafkaConsumer::commitSync.
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef dict offsets
        client.check_open()
        if what is None:
            offsets = {place: offset for place, offset in self.queue.positions.items() if offset is not None}
        elif isinstance(what, ConsumedBatch):
            offsets = what.ends
        elif hasattr(what, "offset"):
            offsets = {checked_partition(what): checked_integer("offset", what.offset, 2**63 - 2) + 1}
        else:
            offsets = {checked_partition(place): checked_integer("offset", offset, 2**63 - 1)
                       for place, offset in dict(what).items()}
        if offsets:
            commit(client, "commit_sync", offsets, deadline)


export_as(KafkaConsumer, "kafkapp.KafkaConsumer")
