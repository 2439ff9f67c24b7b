"""KafkaConsumer: reads the partitions that it is assigned, a batch of columns at a time."""
from kafkapp.config.defaults import consumer_defaults
from kafkapp.config.properties import Properties
from kafkapp.consumer.topic_partition import (
    Offset,
    checked_integer,
    checked_offset,
    checked_partition,
    checked_partitions,
    checked_starts,
)

cimport cython
from libc.stdint cimport INT32_MAX, int64_t

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
    rd_kafka_version,
)
from kafkapp.client.client cimport DISPATCHES_ALL, Client
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport abandon, close
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.errors cimport new_exception
from kafkapp.common.numbers cimport checked_timestamp
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.consumer_service cimport ConsumerService
from kafkapp.consumer.partition_calls cimport (
    COMMITTED,
    OFFSETS_FOR_TIMES,
    SEEK,
    call_partitions,
    commit,
    new_partition_list,
    offsets_of,
)
from kafkapp.consumer.record_queue cimport RecordQueue, new_record_queue

cdef object MAX_BYTES = 1 << 30         # of one batch; its offsets have 31 bits
cdef size_t POLL_BYTES = 4 << 20        # of one poll(): more memory would not be recycled


cdef class KafkaConsumer:
    """KafkaConsumer(properties)\n--\n
    Reads records from partitions that it is assigned.

    One thread polls at a time; all other methods may be called from any. `group.id` is random unless it is set,
    `fetch.queue.backoff.ms` 10 where librdkafka has that property.

    Args:
        properties: a Properties or a mapping; `bootstrap.servers` is required.
    Raises:
        KafkaException: RD_KAFKA_RESP_ERR__INVALID_ARG: a property is unknown or has an invalid value, with librdkafka's
            reason; RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: a thread could not be started.
        TypeError, ValueError: a property has a type or value that no property can have.
    Source: rd_kafka_new(); KafkaConsumer.
    """

    def __init__(self, properties):
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        cdef Client client = Client(properties, DISPATCHES_ALL, ConsumerService.__new__(ConsumerService),
                                    consumer_defaults(rd_kafka_version()))
        with cython.critical_section(self):
            if self.client is None:
                self.queue = new_record_queue(client)
                self.client, client = client, None
        if client is not None:
            close(client, 0)
            raise RuntimeError(f"{type(self).__name__}.__init__() was called by two threads at once: one of "
                               "them keeps its client")

    cdef Client get_client(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.client

    cdef RecordQueue get_queue(self):
        self.get_client()
        return self.queue

    # -- what it is -------------------------------------------------------------------------------

    @property
    def name(self):
        """The name of the client in librdkafka's logs, str. Source: rd_kafka_name(); KafkaClient::name."""
        return self.get_client().name

    @property
    def client_id(self):
        """The `client.id` in force, str; the program's name unless it was set. Source: KafkaClient::clientId."""
        return self.get_client().client_id

    @property
    def group_id(self):
        """The `group.id` in force, str; random unless it was set. Source: KafkaConsumer::getGroupId."""
        return self.get_client().properties["group.id"]

    @property
    def properties(self):
        """A copy of the Properties in force: those given, and kafkapp's defaults. Source: KafkaClient::properties."""
        return Properties(self.get_client().properties)

    @property
    def closed(self):
        """Whether `close` has been called, bool. False again if that `close` was interrupted."""
        return KP_READ(self.get_client().state) != OPEN

    def get_property(self, name):
        """The value in force of any property of librdkafka, as text, also after `close`; None: it has none.

        Source: rd_kafka_conf_get(); KafkaClient::getProperty.
        """
        return self.get_client().get_property(name)

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
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET. What was read before it is returned first; the next poll goes on.
            RuntimeError: another thread polls; inside a callback of this consumer, after `close`, or in a forked child.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        return self.get_queue().read("poll_batch", deadline_of(timeout),
                                     checked_count("max_records", max_records, INT32_MAX),
                                     checked_count("max_bytes", max_bytes, MAX_BYTES), headers)

    def poll(self, timeout=None, max_records=500):
        """Read what has come, as records, with headers: `poll_batch` for programs that look at each record.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
            max_records: how many records at most, int.
        Returns:
            A ConsumedBatch, a sequence of ConsumerRecord; an empty one, which is false, when the timeout has expired.
        Raises:
            as `poll_batch`.
        Source: rd_kafka_consume_batch_queue(); KafkaConsumer::poll.
        """
        return self.get_queue().read("poll", deadline_of(timeout), checked_count("max_records", max_records, INT32_MAX),
                                     POLL_BYTES, True)

    def wakeup(self):
        """End the wait of the poll that waits now, else of the next one: it returns an empty batch. Thread-safe.

        Raises:
            RuntimeError: after `close`, or in a forked child.
        Source: rd_kafka_queue_yield().
        """
        self.get_queue().wake()

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
            times: a mapping of partitions to milliseconds since the epoch (int), or aware `datetime`s.
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

    def committed(self, partitions, timeout=10):
        """The offsets that the group has committed: a dict of TopicPartition to int; one without is left out.

        Args and Raises: as `beginning_offsets`. Source: rd_kafka_committed(); KafkaConsumer::committed.
        """
        found = call_partitions(self.get_client(), "committed", COMMITTED,
                                dict.fromkeys(checked_partitions(partitions), RD_KAFKA_OFFSET_INVALID),
                                deadline_of(timeout))
        return {place: offset for place, offset in found.items() if offset >= 0}

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

    # -- the end ----------------------------------------------------------------------------------

    def close(self, timeout=None):
        """Close. Records that were read stay valid, and so do positions; nothing is committed.

        Blocks, without the GIL, for a second at most, however much librdkafka has fetched. A poll that waits in another
        thread raises RuntimeError. Closing again does nothing.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Raises:
            RuntimeError: in a callback of this consumer, or in a forked child.
        Source: rd_kafka_destroy(); KafkaConsumer::close.
        """
        close(self.get_client(), deadline_of(timeout))

    def __enter__(self):
        self.get_client().check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.client is not None:
            abandon(self.client, True)

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: create one from its properties")

    def _ledger(self):
        """What is held now: counts, for tests."""
        return self.get_client().ledger()


cdef size_t checked_count(str what, object count, object limit) except? 0:
    cdef size_t number = checked_integer(what, count, limit)
    if not number:
        raise ValueError(f"{what} must be at least 1")
    return number
