"""PartitionConsumer: what is assigned, its positions, what is paused, and the offsets that brokers have."""
from kafkapp.consumer.topic_partition import (
    Offset,
    checked_offset,
    checked_partition,
    checked_partitions,
    checked_starts,
)

from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport (
    rd_kafka_assign,
    rd_kafka_pause_partitions,
    rd_kafka_resume_partitions,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_OFFSET_INVALID,
    RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    rd_kafka_err2str,
    rd_kafka_resp_err_t,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport new_exception
from kafkapp.common.numbers cimport checked_timestamp
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.partition_calls cimport (
    OFFSETS_FOR_TIMES,
    SEEK,
    call_partitions,
    new_partition_list,
    offsets_of,
)


cdef class PartitionConsumer(PollingConsumer):
    """Base of KafkaConsumer: what it reads, from where. Not instantiated itself."""

    # -- assigning --------------------------------------------------------------------------------

    def assign(self, partitions):
        """Read these partitions, in place of those before. None is paused then.

        Returns at once.

        Args:
            partitions: (topic, partition) tuples, or objects with `topic` and `partition`; or a mapping of these to
                where to begin: an offset (int), `Offset.Beginning` or `Offset.End`. Without one a partition begins at
                the group's committed offset, else as `auto.offset.reset` says. Empty: none.
        Raises:
            KafkaException: any error of librdkafka.
            TypeError, ValueError: an argument is malformed; what was assigned stays.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_assign(); KafkaConsumer::assign.
        """
        cdef Client client = self.get_client()
        cdef dict starts = checked_starts(partitions)
        cdef rd_kafka_topic_partition_list_t *made
        cdef rd_kafka_resp_err_t err
        client.check_blocking("assign")
        self.set_paused(self.get_queue().paused, False, "assign")
        client.enter()
        try:
            made = new_partition_list(starts)
            with nogil:
                err = rd_kafka_assign(client.rk, made)
                rd_kafka_topic_partition_list_destroy(made)
        finally:
            client.leave()
        if err:
            raise new_exception(err, f"assign() failed: {rd_kafka_err2str(err).decode()}")
        self.queue.forget(None)
        self.queue.positions = {place: None if offset < 0 else offset for place, offset in starts.items()}

    def assignment(self):
        """What is assigned: a set of TopicPartition. Source: rd_kafka_assignment(); KafkaConsumer::assignment."""
        return set(self.get_queue().positions)

    cdef dict assigned(self, object partitions, str what):
        """The positions of some assigned partitions, of all for None. Raises for one that is not assigned."""
        cdef dict positions = self.get_queue().positions
        if partitions is None:
            return dict(positions)
        for place in checked_partitions(partitions):
            if place not in positions:
                raise new_exception(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                                    f"{what}(): {place.topic} [{place.partition}] is not assigned")
        return {place: positions[place] for place in checked_partitions(partitions)}

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

        Blocks, without the GIL, until librdkafka has done so. A poll in another thread meanwhile may still return
        records from before.

        Args:
            partition: (topic, partition), or an object with these.
            offset: an int, `Offset.Beginning` or `Offset.End`.
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: it is not assigned; RD_KAFKA_RESP_ERR__TIMED_OUT.
            RuntimeError: inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_seek_partitions(); KafkaConsumer::seek.
        """
        self.seek_all([partition], checked_offset(offset), "seek", timeout)

    def seek_to_beginning(self, partitions=None, timeout=10):
        """Go on reading assigned partitions, all of them for None, from their first records. As `seek`."""
        self.seek_all(partitions, int(Offset.Beginning), "seek_to_beginning", timeout)

    def seek_to_end(self, partitions=None, timeout=10):
        """Go on reading assigned partitions, all of them for None, behind their last records. As `seek`."""
        self.seek_all(partitions, int(Offset.End), "seek_to_end", timeout)

    cdef int seek_all(self, object partitions, object offset, str what, object timeout) except -1:
        cdef dict places
        cdef int64_t deadline = deadline_of(timeout)
        self.get_client().check_open()
        places = dict.fromkeys(self.assigned(partitions, what), offset)
        call_partitions(self.client, what, SEEK, places, deadline)
        self.queue.forget(places)
        self.queue.positions.update(dict.fromkeys(places, None if offset < 0 else offset))
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
        cdef rd_kafka_topic_partition_list_t *made
        cdef set before = self.get_queue().paused
        client.check_blocking(what)
        client.enter()
        try:
            # Only what changes: librdkafka 2.0.2 reads a partition anew that is resumed without having been paused.
            places = [place for place in self.assigned(partitions, what) if (place in before) != paused]
            made = new_partition_list(dict.fromkeys(places, RD_KAFKA_OFFSET_INVALID))
            try:
                with nogil:
                    if paused:
                        rd_kafka_pause_partitions(client.rk, made)
                    else:
                        rd_kafka_resume_partitions(client.rk, made)
                offsets_of(made, what)      # raises
                self.queue.paused = before.union(places) if paused else before.difference(places)
            finally:
                rd_kafka_topic_partition_list_destroy(made)
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
        return call_partitions(self.get_client(), "beginning_offsets", OFFSETS_FOR_TIMES,
                               dict.fromkeys(checked_partitions(partitions), int(Offset.Beginning)),
                               deadline_of(timeout))

    def end_offsets(self, partitions, timeout=10):
        """The offset that the next record of each partition will have. As `beginning_offsets`.

        With `isolation.level=read_committed`, the default, that is the first one of an open transaction.
        """
        return call_partitions(self.get_client(), "end_offsets", OFFSETS_FOR_TIMES,
                               dict.fromkeys(checked_partitions(partitions), int(Offset.End)), deadline_of(timeout))

    def offsets_for_times(self, times, timeout=10):
        """The offset of the first record of each partition whose timestamp is not earlier than a time.

        Args:
            times: a mapping of partitions to milliseconds since the epoch (int), or to aware datetimes.
            timeout: as `beginning_offsets`.
        Returns:
            A dict of TopicPartition to int; a partition without such a record is left out.
        Raises:
            as `beginning_offsets`.
        Source: rd_kafka_offsets_for_times(); KafkaConsumer::offsetsForTime.
        """
        cdef dict asked = {checked_partition(place): checked_timestamp(time) for place, time in dict(times).items()}
        found = call_partitions(self.get_client(), "offsets_for_times", OFFSETS_FOR_TIMES, asked, deadline_of(timeout))
        return {place: offset for place, offset in found.items() if offset >= 0}
