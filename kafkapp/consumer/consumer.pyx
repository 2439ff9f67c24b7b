"""KafkaConsumer: reads the partitions that it is assigned, a batch of columns at a time; what its group commits."""
from kafkapp.common.options import EventsPollingOption
from kafkapp.config.defaults import consumer_defaults
from kafkapp.consumer.groups import checked_topics
from kafkapp.consumer.topic_partition import checked_partitions

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_version
from kafkapp.client.client cimport DISPATCHES_ALL, KEEPS_EVENTS, Client
from kafkapp.client.kafka_client cimport is_auto
from kafkapp.common.callbacks cimport check_callback
from kafkapp.common.public_names cimport export_as
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.broker_offsets cimport committed_offsets
from kafkapp.consumer.commits cimport offsets_to_commit
from kafkapp.consumer.consumer_service cimport ConsumerService
from kafkapp.consumer.group_metadata cimport group_metadata
from kafkapp.consumer.rebalances cimport subscribe, unsubscribe


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
        self.open_client(properties, DISPATCHES_ALL if is_auto(events_polling) else KEEPS_EVENTS,
                         ConsumerService.__new__(ConsumerService), consumer_defaults(rd_kafka_version()))

    # -- groups ---------------------------------------------------------------------------------------

    def subscribe(self, topics, on_rebalance=None, timeout=None):
        """Read these topics as a member of the group, which gives each of its members a part of their partitions.

        Returns at once; polls serve the group. With a timeout it blocks, without the GIL, until the group has assigned
        partitions; where some of the topics were subscribed to before, until the group has answered, of whichever of
        them the partitions are then. The same topics again change nothing but `on_rebalance`; others take the place of
        those before.

        `on_rebalance(event, partitions)` is called with a RebalanceEvent and a list of TopicPartition, in the thread
        that polls. Partitions are assigned before it is called, and revoked after it: in it `seek`, `pause`,
        `position`, `commit_sync` and `committed` work; calls that poll, subscribe or close raise RuntimeError. What it
        raises is raised by that poll. What `pause` has paused stays paused, also when a rebalance takes all partitions
        and gives them back; not what was lost.

        A poll that comes later than `max.poll.interval.ms` raises RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED, and the next
        ones join the group again. librdkafka 2.0 does not notice it.

        Args:
            topics: a list of str: names, or regular expressions that begin with `^`.
            on_rebalance: a callable, or None.
            timeout: None, or the seconds (int, float or timedelta) to wait for the first assignment.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__FAIL: partitions were assigned by `assign`;
                RD_KAFKA_RESP_ERR__INVALID_ARG: a regular expression is wrong; RD_KAFKA_RESP_ERR__TIMED_OUT: nothing was
                assigned in time, and the subscription stands.
            TypeError, ValueError: an argument is malformed.
            RuntimeError: another thread polls; inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_subscribe(); KafkaConsumer::subscribe.
        """
        cdef list names = checked_topics(topics)
        cdef int64_t deadline = deadline_of(timeout)
        if on_rebalance is not None and not callable(on_rebalance):
            raise TypeError(f"on_rebalance must be callable or None, not {type(on_rebalance).__name__}")
        subscribe(self.get_queue(), names, on_rebalance, deadline, timeout is not None)

    def unsubscribe(self, timeout=10):
        """Leave the group, or end what `assign` has assigned: nothing is read any more.

        Blocks, without the GIL, until the partitions are revoked; `on_rebalance` is called before.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT.
            RuntimeError: as `subscribe`. What `on_rebalance` raises is raised when it is done.

        Amid an eager rebalance the group is left when that is over. It takes with it what was assigned by `assign`
        meanwhile: a poll raises RD_KAFKA_RESP_ERR__STATE then.

        Source: rd_kafka_unsubscribe(); KafkaConsumer::unsubscribe.
        """
        unsubscribe(self.get_queue(), deadline_of(timeout))

    def subscription(self):
        """The topics that it is subscribed to, names and patterns: a set of str.

        Source: rd_kafka_subscription(); KafkaConsumer::subscription.
        """
        return set(self.get_queue().subscription.topics)

    def group_metadata(self):
        """Which member of its group it is: a ConsumerGroupMetadata, for a producer's `send_offsets_to_transaction`.

        Returns at once. Without a subscription there is no member: generation -1 and no member's id, which does not
        fence.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID: it is subscribed, and the group has not taken it in yet
                or has put it out: the offsets that it has read to may be another member's.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_consumer_group_metadata(); KafkaConsumer::groupMetadata.
        """
        return group_metadata(self.get_queue())

    # -- commits --------------------------------------------------------------------------------------

    def committed(self, partitions, timeout=10):
        """The offsets that the group has committed: a dict of TopicPartition to int; one without is left out.

        Args and Raises: as `beginning_offsets`. Source: rd_kafka_committed(); KafkaConsumer::committed.
        """
        return committed_offsets(self.get_client(), "committed", checked_partitions(partitions), deadline_of(timeout))

    def commit_sync(self, what=None, timeout=None):
        """Commit for the group what was read, and wait until the broker has it. Nothing to commit is success.

        Blocks, without the GIL: first until what `commit_async` has begun is answered. Also in `on_rebalance`, before
        partitions are revoked. With EventsPollingOption.Manual callbacks of commits may run, but not in `on_rebalance`;
        what they raise is raised when the commit is done.

        Args:
            what: None, the positions of all assigned partitions, as polls have returned them; a ConsumedBatch or
                ConsumerRecords, what comes after them; else the offsets themselves, each what is to be read next: a
                mapping of partitions to ints, (topic, partition, offset) tuples, or objects with topic, partition,
                offset and perhaps metadata, a text.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT: it may still be committed.
                RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID: the partitions are lost to
                another member, which reads the records again. RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION: go on polling, and commit what stays assigned.
                RD_KAFKA_RESP_ERR__WAIT_COORD: the group's broker could not be reached for `session.timeout.ms`. Others.
            TypeError, ValueError: the offsets are malformed; nothing is committed.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_commit_queue(); KafkaConsumer::commitSync.
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        client.check_open()
        offsets, texts = self.what(what)
        if offsets:
            # Inside a poll that dispatches no callback of a commit may run.
            (<ConsumerService>client.service).commit_in_order(client, "commit_sync", offsets, texts, deadline,
                                                              client.background or not self.queue.in_rebalance())

    def commit_async(self, what=None, callback=None):
        """Commit for the group what was read, and go on at once.

        A later `commit_sync` waits for it first.

        Args:
            what: as `commit_sync`.
            callback: callback(offsets, error), called once, before `close` returns: on the background thread, with
                Manual in `poll_events`, in polls and in `close`. `offsets`: a dict of TopicPartition to int, what was
                to be committed. `error`: None for success, else an Error, as `commit_sync` raises;
                RD_KAFKA_RESP_ERR__DESTROY: closed before a broker has answered. None: a failure is logged.
        Raises:
            TypeError, ValueError: an argument is malformed; nothing is committed.
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_commit_queue(); KafkaConsumer::commitAsync.
        """
        cdef Client client = self.get_client()
        client.check_open()
        check_callback(callback)
        offsets, texts = self.what(what)
        if offsets or callback is not None:
            (<ConsumerService>client.service).begin_commit(client, offsets, texts, callback, callback is None)

    cdef tuple what(self, object what):
        """The offsets to commit, and their metadata."""
        if what is not None:
            return offsets_to_commit(what)
        return {place: offset for place, offset in dict(self.queue.positions).items() if offset is not None}, {}


export_as(KafkaConsumer, "kafkapp.KafkaConsumer")
