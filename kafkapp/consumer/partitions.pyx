"""PartitionConsumer: what is assigned, its positions, what is paused, and the offsets that brokers have."""
from kafkapp.consumer.topic_partition import (
    Offset,
    checked_partitions,
    checked_start,
    checked_starts,
    checked_times,
)

from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport (
    rd_kafka_pause_partitions,
    rd_kafka_resume_partitions,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_OFFSET_INVALID,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.broker_offsets cimport at_times, ends_of, lag_of, with_times_found
from kafkapp.consumer.partition_calls cimport SEEK, call_partitions, new_partition_list, offsets_of
from kafkapp.consumer.rebalances cimport replace_assignment
from kafkapp.consumer.record_queue cimport RecordQueue


cdef class PartitionConsumer(PollingConsumer):
    """Base of KafkaConsumer: what it reads, from where. Not instantiated itself."""

    # -- assigning --------------------------------------------------------------------------------

    def assign(self, partitions, timeout=10):
        """Read these partitions, in place of those before. None is paused then.

        Returns at once, unless a start is a time: then the brokers are asked for its offset first. After a poll that
        has met damage it waits, up to 3 s, until librdkafka has found its place again: that would undo where to begin.

        Args:
            partitions: (topic, partition) tuples, or objects with `topic` and `partition`; or a mapping of these to
                where to begin: an offset (int), `Offset.Beginning`, `Offset.End`, or a time (Timestamp or aware
                datetime): the first record from then on, else the end. Without a start a partition begins at the
                group's committed offset, else as `auto.offset.reset` says. Empty: none.
            timeout: seconds (int, float or timedelta) for times, None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__FAIL: the consumer is subscribed; RD_KAFKA_RESP_ERR__TIMED_OUT; any error
                of librdkafka.
            TypeError, ValueError: an argument is malformed; what was assigned stays.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_assign(); KafkaConsumer::assign.
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        cdef dict starts = checked_starts(partitions)
        client.check_blocking("assign")
        self.queue.check_rebalancing("assign")
        starts = with_times_found(client, "assign", starts, deadline)
        client.enter()
        try:
            taken = self.queue.turn.begin("assign", deadline)
            try:
                replace_assignment(self.queue, starts)
            finally:
                self.queue.turn.end(taken)
        finally:
            client.leave()

    def assignment(self):
        """What is assigned: a set of TopicPartition. Source: rd_kafka_assignment(); KafkaConsumer::assignment."""
        return set(self.get_queue().positions)

    cdef dict assigned(self, object partitions, str what):
        """The positions of some assigned partitions, of all for None. Raises for one that is not assigned."""
        cdef dict positions = self.get_queue().positions
        cdef dict found = {}
        if partitions is None:
            return dict(positions)
        for place in checked_partitions(partitions):
            found[place] = positions.get(place, found)      # once: another thread may be in a rebalance
            if found[place] is found:
                raise new_exception(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                                    f"{what}(): {place.topic} [{place.partition}] is not assigned")
        return found

    # -- positions --------------------------------------------------------------------------------

    def position(self, partition):
        """The next offset that polls will return of an assigned partition, int; None: unknown before the first record.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: it is not assigned.
        Source: KafkaConsumer::position.
        """
        self.get_client().check_open()
        return self.assigned([partition], "position").popitem()[1]

    def seek(self, partition, offset, timeout=10):
        """Go on reading an assigned partition from another offset, right after `assign` too.

        Blocks, without the GIL, until librdkafka has done so; a poll that waits in another thread makes way. Polls that
        begin afterwards return no record from before.

        Args:
            partition: (topic, partition), or an object with these.
            offset: where to go on, as `assign` takes it.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: it is not assigned; RD_KAFKA_RESP_ERR__TIMED_OUT;
                RD_KAFKA_RESP_ERR__STATE: nothing is known of it yet, as while no broker answers.
            TypeError, ValueError: an argument is malformed.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_seek_partitions(); KafkaConsumer::seek.
        """
        self.seek_all([partition], checked_start(offset), "seek", timeout)

    def seek_to_beginning(self, partitions=None, timeout=10):
        """Go on reading assigned partitions, all of them for None, from their first records. As `seek`."""
        self.seek_all(partitions, Offset.Beginning, "seek_to_beginning", timeout)

    def seek_to_end(self, partitions=None, timeout=10):
        """Go on reading assigned partitions, all of them for None, behind their last records. As `seek`."""
        self.seek_all(partitions, Offset.End, "seek_to_end", timeout)

    cdef int seek_all(self, object partitions, object start, str what, object timeout) except -1:
        cdef Client client = self.get_client()
        cdef dict starts
        cdef int64_t deadline = deadline_of(timeout)
        client.check_blocking(what)
        starts = with_times_found(client, what, dict.fromkeys(self.assigned(partitions, what), start), deadline)
        client.enter()
        try:
            taken = self.queue.turn.begin(what, deadline)
            try:
                self.assigned(starts, what)     # another thread may have assigned others meanwhile
                call_partitions(client, what, SEEK, starts, deadline)
                self.queue.go_on_from(starts)
            finally:
                self.queue.turn.end(taken)
        finally:
            client.leave()
        return 0

    def pause(self, partitions=None):
        """Return no records of assigned partitions, all of them for None, until `resume`. Returns at once.

        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: one is not assigned.
        Source: rd_kafka_pause_partitions(); KafkaConsumer::pause.
        """
        self.set_paused(partitions, True, "pause")

    def resume(self, partitions=None):
        """End what `pause` has begun. Returns at once. Source: rd_kafka_resume_partitions(); KafkaConsumer::resume."""
        self.set_paused(partitions, False, "resume")

    cdef int set_paused(self, object partitions, bint paused, str what) except -1:
        cdef Client client = self.get_client()
        cdef RecordQueue queue = self.queue
        cdef rd_kafka_topic_partition_list_t *made
        client.check_blocking(what)
        client.enter()
        try:
            taken = queue.turn.begin(what, -1)
            try:
                # Only what changes: librdkafka 2.0.2 reads a partition anew that is resumed without having been paused.
                places = [place for place in self.assigned(partitions, what) if (place in queue.paused) != paused]
                made = new_partition_list(dict.fromkeys(places, RD_KAFKA_OFFSET_INVALID))
                try:
                    with nogil:
                        if paused:
                            rd_kafka_pause_partitions(client.rk, made)
                        else:
                            rd_kafka_resume_partitions(client.rk, made)
                    offsets_of(made, what)      # raises
                    queue.paused = queue.paused.union(places) if paused else queue.paused.difference(places)
                    if paused and queue.in_rebalance():
                        queue.discard()
                finally:
                    rd_kafka_topic_partition_list_destroy(made)
            finally:
                queue.turn.end(taken)
        finally:
            client.leave()
        return 0

    # -- offsets on brokers -----------------------------------------------------------------------

    def beginning_offsets(self, partitions, timeout=10):
        """The offset of the first record that each partition has: a dict of TopicPartition to int.

        Blocks, without the GIL. All partitions are asked of their brokers at once, assigned or not.

        Args:
            partitions: (topic, partition) tuples, or objects with these.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT; RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION and others of librdkafka.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_offsets_for_times(); KafkaConsumer::beginningOffsets.
        """
        return ends_of(self.get_client(), "beginning_offsets", checked_partitions(partitions), Offset.Beginning,
                       deadline_of(timeout))

    def end_offsets(self, partitions, timeout=10):
        """The offset that the next record of each partition will have. As `beginning_offsets`.

        With `isolation.level=read_committed`, the default, that is the first one of an open transaction.
        """
        return ends_of(self.get_client(), "end_offsets", checked_partitions(partitions), Offset.End,
                       deadline_of(timeout))

    def offsets_for_times(self, times, timeout=10):
        """The offset of the first record of each partition whose timestamp is not earlier than a time.

        Args:
            times: a mapping of partitions to milliseconds since the epoch (int), to Timestamps, or to aware datetimes.
            timeout: as `beginning_offsets`.
        Returns:
            A dict of TopicPartition to int; a partition without such a record is left out.
        Raises:
            as `beginning_offsets`.
        Source: rd_kafka_offsets_for_times(); KafkaConsumer::offsetsForTime.
        """
        return at_times(self.get_client(), "offsets_for_times", checked_times(times), deadline_of(timeout))

    def lag(self, timeout=10):
        """How many offsets lie between the position of each assigned partition and its end: a dict of TopicPartition
        to int. It counts offsets: some have no record, after compaction or of transactions.

        Before the first record a position is where the partition begins: its beginning or the committed offset. One
        that begins at its end, for `Offset.End` or for want of a committed offset, is left out until then. Blocks as
        `end_offsets`, for all partitions at once.

        Args and Raises: as `end_offsets`.
        """
        cdef Client client = self.get_client()
        cdef int64_t deadline = deadline_of(timeout)
        client.check_blocking("lag")
        return lag_of(client, dict(self.queue.positions), dict(self.queue.starts), deadline)
