"""RecordQueue: what librdkafka has fetched for a consumer, taken by one thread at a time; the positions that follow.

Records that were taken from librdkafka and could not be copied are read again: the queue seeks back to them first.
"""
from kafkapp.common.errors import KafkaException
from kafkapp.consumer.topic_partition import Offset, TopicPartition

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EFBIG
from libc.stdint cimport int64_t
from posix.unistd cimport usleep

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
    RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED,
    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    rd_kafka_queue_get_consumer,
    rd_kafka_topic_partition_list_del,
    rd_kafka_topic_partition_list_fields,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_fatal_error,
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_queue_yield,
    rd_kafka_topic_partition_list_destroy,
)
from kafkapp.client.client cimport SIGNAL_CHECK_MS, Client, PyThread_get_thread_ident
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.common.atomics cimport KP_READ, KP_SET, KP_TAKE_FLAG, KP_THREAD
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable
from kafkapp.common.errors cimport new_error, new_exception
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms
from kafkapp.consumer.auto_commit cimport new_auto_commit
from kafkapp.consumer.broker_offsets cimport committed_offsets
from kafkapp.consumer.consumed_batch cimport ConsumedBatch, new_batch
from kafkapp.consumer.consumed_columns cimport (
    KP_OF_CLIENT,
    ConsumedBlock,
    kp_consume,
    kp_consume_error,
    kp_consumed,
    kp_consumed_drop_errors,
    kp_consumed_refuse,
    kp_consumed_trim,
    kp_loses_place,
    kp_spare_new,
    kp_spare_release,
    new_block,
)
from kafkapp.consumer.consumer_service cimport ConsumerService
from kafkapp.consumer.partition_calls cimport SEEK, call_partitions, offsets_of, passes
from kafkapp.consumer.subscription cimport Subscription
from kafkapp.consumer.turn cimport new_turn

cdef extern from "rebalances.h" nogil:
    void *kp_serve(void *consumer)

cdef str MAX_POLL_CURE = (
    ": the partitions are lost, and what was not committed is read again; the next polls join the group again. Poll "
    "more often, take fewer records at a time, or raise max.poll.interval.ms")
cdef enum:
    PLACE_MS = 3000            # for a broker to refuse an offset; what comes later may undo the seek
    PLACE_CHECK_US = 10000

cdef str DAMAGE_CURE = ": the next poll reads it again; seek() to an offset behind it to go on without it"
# librdkafka asks for an offset that no broker has, and stops reading when that is refused.
cdef str DAMAGE_CURE_WITHOUT_RESET = (
    ": with auto.offset.reset=error librdkafka may not go on reading this partition; a new consumer does")


@cython.final
cdef class RecordQueue:
    """The queue of one consumer, and its positions."""

    def __cinit__(self):
        self.positions, self.starts, self.paused, self.failures, self.idle = {}, {}, set(), [], True
        self.subscription, self.raised = Subscription.__new__(Subscription), []
        self.sought, self.damaged, self.moved, self.sought_since = {}, set(), set(), set()
        self.spare = kp_spare_new()
        if self.spare is NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.spare is not NULL:
            kp_spare_release(self.spare)
        if self.refused is not NULL:
            rd_kafka_topic_partition_list_destroy(self.refused)

    cdef ConsumedBatch read(self, str what, int64_t deadline, size_t max_records, size_t max_bytes, bint headers,
                            size_t view_from):
        cdef ConsumedBatch batch = None
        cdef ConsumedBlock block
        if not self.begin(what, deadline):
            return new_batch(new_block(headers))
        try:
            if self.auto is not None:
                self.auto.begin_poll(self.client, self.positions)
            while batch is None:
                if self.failures:
                    raise self.failures.pop(0)[1]
                if rd_kafka_fatal_error(self.client.rk, NULL, 0):
                    raise KafkaException(self.client.fatal_error())
                if not self.wait_placed(deadline, True):
                    return new_batch(new_block(headers))
                if self.refused is not NULL and not self.read_again(deadline):
                    return new_batch(new_block(headers))
                self.sought = {}
                self.size.rows = min(self.size.rows, max_records)
                block = new_block(headers, &self.size, self.spare)
                (<ConsumerService>self.client.service).kept.begin(block, view_from, len(self.positions))
                batch = self.read_block(block, deadline, max_records, max_bytes)
                if batch is None and expired(deadline):
                    batch = new_batch(new_block(headers))
            return batch
        finally:
            self.end()

    cdef ConsumedBatch read_block(self, ConsumedBlock block, int64_t deadline, size_t max_records, size_t max_bytes):
        """None when a rebalance, or a seek in one, has changed what is to be read: that is read again."""
        cdef int failure
        try:
            failure = self.fill(block, deadline, max_records, max_bytes)
            self.raise_what_callbacks_raised()
            if not block.columns.discarded:
                return self.take_in(block, failure)
            kp_consumed_refuse(block.columns)
            return None
        except:
            kp_consumed_refuse(block.columns)
            raise
        finally:
            self.refused, block.columns.refused = block.columns.refused, NULL
            # What a handler of a signal has sought is read from there, though its exception has ended this poll.
            if self.sought_since:
                self.forget_refused(self.sought_since.difference(self.damaged))

    # -- the thread that polls --------------------------------------------------------------------

    cdef bint begin(self, str what, int64_t deadline) except -1:
        """Become the thread that polls, until end(). False when its turn has not come in time."""
        cdef bint begun = False
        cdef Client client = self.client
        client.check_blocking(what)
        self.check_rebalancing(what)
        client.enter()
        if not KP_TAKE_FLAG(self.idle):
            client.leave()
            raise RuntimeError(f"{what}() was called while another thread polls this consumer, or in a signal "
                               "handler during a poll: only one may poll at a time")
        try:
            begun = self.turn.begin_poll(deadline)
        finally:
            if not begun:       # the turn may be that of a seek which a signal handler interrupts
                KP_SET(self.idle, True)
                client.leave()
        return begun

    cdef int end(self) except -1:
        self.turn.end_poll()
        KP_SET(self.idle, True)
        self.client.leave()
        return 0

    cdef bint in_rebalance(self) noexcept:
        """Whether this thread is in a rebalance of this consumer's, and so in on_rebalance."""
        return KP_THREAD(self.rebalancing) == PyThread_get_thread_ident()

    cdef int check_rebalancing(self, str what) except -1:
        if self.in_rebalance():
            raise RuntimeError(f"{what}() was called in on_rebalance, while a rebalance is under way: call it after "
                               "that has returned")
        return 0

    # -- taking -----------------------------------------------------------------------------------

    cdef rd_kafka_queue_t *records(self):
        """Where records lie, apart from rebalances; NULL: they come in one queue."""
        return (<ConsumerService>self.client.service).records

    cdef int consume(self, ConsumedBlock block, rd_kafka_queue_t *records, size_t max_records, size_t max_bytes,
                     int wait) except -1:
        """Take what there is, of `records` too unless that is NULL; rebalances are handled meanwhile. Returns what
        kp_consume() does."""
        cdef rd_kafka_queue_t *queue
        cdef void *me = <void *>self
        cdef void *before
        cdef int failure
        self.filling = block
        if self.sought_since:
            self.sought_since = set()
        try:
            with nogil:
                queue = rd_kafka_queue_get_consumer(self.client.rk)
                before = kp_serve(me)
                failure = kp_consume(queue, block.columns, max_records, max_bytes, wait)
                kp_serve(before)
                rd_kafka_queue_destroy(queue)
                if records is not NULL and not failure and not block.columns.count:
                    failure = kp_consume(records, block.columns, max_records, max_bytes, 0)
            return failure
        finally:
            self.filling = None

    cdef int fill(self, ConsumedBlock block, int64_t deadline, size_t max_records, size_t max_bytes) except -1:
        """Wait for something, and take it. Returns what kp_consume() does."""
        cdef kp_consumed *columns = block.columns
        cdef int failure = 0
        while self.turn.make_way(deadline):
            if not self.client.background:
                self.dispatch()
            failure = self.consume(block, self.records(), max_records, max_bytes,
                                   remaining_ms(deadline, SIGNAL_CHECK_MS))
            self.keep_errors(block)
            if failure or columns.count or columns.eofs.count or columns.discarded or self.failures or self.raised:
                break
            self.check_staying()
            if KP_TAKE_FLAG(self.woken) or expired(deadline):
                break
            PyErr_CheckSignals()
            self.client.check_open()
        with nogil:
            kp_consumed_trim(columns, &self.size)
        return failure

    cdef int check_staying(self) except -1:
        if KP_READ(self.leaving):       # close() has woken this thread
            raise RuntimeError("the consumer is closed")
        return 0

    cdef bint serve(self, int wait) except -1:
        """Handle rebalances for so long; a record that comes is read again later. Whether something came."""
        cdef ConsumedBlock block = new_block(False)
        cdef kp_consumed *columns = block.columns
        cdef bint came
        columns.refused, self.refused = self.refused, NULL
        try:
            self.consume(block, NULL, 1, 1, wait)
            came = columns.count or columns.error_count or columns.eofs.count
            self.keep_errors(block)
        finally:
            kp_consumed_refuse(columns)
            self.refused, columns.refused = columns.refused, NULL
        PyErr_CheckSignals()
        self.client.check_open()
        self.check_staying()
        return came

    cdef int dispatch(self) except -1:
        """Run the callbacks of what has come, of a client whose polls dispatch, and raise what they raise."""
        cdef list raised = []
        if KP_READ(self.client.loop_dispatches):
            return 0
        try:
            self.client.dispatch(kp_rounds(&self.client.dispatcher), 0, raised)
        except:
            report_all_unraisable(raised)
            raise
        return raise_all(raised)

    cdef ConsumedBatch take_in(self, ConsumedBlock block, int failure):
        """The batch of a block, and the positions after it. When this raises, positions are as before."""
        cdef kp_consumed *columns = block.columns
        ends, batch = block.places(&columns.ends), new_batch(block)
        positions = self.positions
        if not columns.count and self.failures:
            raise self.failures.pop(0)[1]
        if not columns.count and failure and failure != EFBIG:
            raise MemoryError("no memory for the records of a batch: they will be read again")
        PyErr_CheckSignals()        # what a handler raises would take the place of the batch
        ends = {place: offset for place, offset in ends.items()
                if place in positions and place not in self.sought_since}
        if self.auto is not None:
            self.auto.add(ends)     # first: it may find no memory, and updating what is there needs none
        positions.update(ends)
        return batch

    cdef int commit_revoked(self, object partitions) except -1:
        """For a rebalance, before partitions are revoked: commit what earlier polls have returned of them, if this
        consumer commits by itself. Blocks for some seconds at most; raises for signals and close() only."""
        return 0 if self.auto is None else self.auto.revoked(self.client, partitions)

    cdef int forget_lost(self, object partitions) except -1:
        """The same for partitions that are another's already: nothing of them is committed any more."""
        return 0 if self.auto is None else self.auto.lost(partitions)

    cdef int keep_errors(self, ConsumedBlock block) except -1:
        """Keep a block's errors for polls to raise. What passes, or is of the client, goes where its errors go."""
        cdef kp_consumed *columns = block.columns
        cdef kp_consume_error error
        for error in columns.errors[:columns.error_count]:
            text, place = error.text.decode("utf-8", "replace"), None
            if error.topic >= 0 and error.partition >= 0:
                place = TopicPartition(block.topics()[error.topic], error.partition)
                text = f"{place.topic} [{place.partition}]: {text}"
                if kp_loses_place(error.code) and place in self.positions:
                    self.damaged.add(place)
                    self.placed_from = now_ms() + PLACE_MS
                    text += (DAMAGE_CURE_WITHOUT_RESET if self.client.properties.get("auto.offset.reset") == "error"
                             else DAMAGE_CURE)
                if not (error.partition or error.offset >= 0 or error.code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET):
                    place = None        # a topic's own errors name its partition 0
            if error.topic == KP_OF_CLIENT or passes(error.code) or (
                    error.code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART):
                (<ConsumerService>self.client.service).report_error(new_error(error.code, text))
            elif error.code == RD_KAFKA_RESP_ERR__FATAL:
                self.failures.append((None, KafkaException(self.client.fatal_error())))
            elif place is None or place in self.positions:      # else this poll has seen it go
                cure = MAX_POLL_CURE if error.code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED else ""
                self.failures.append((place, new_exception(error.code, text + cure)))
        kp_consumed_drop_errors(columns)
        return 0

    cdef int raise_what_callbacks_raised(self) except -1:
        cdef list raised
        if self.raised:
            raised, self.raised = self.raised, []
            raise_all(raised)
        return 0

    # -- what is read from where ------------------------------------------------------------------

    cdef bint wait_placed(self, int64_t deadline, bint polls) except -1:
        """Wait until librdkafka, which has lost its place, has asked for some offset that no broker has:
        until the answer has come it takes a seek back. False when the deadline has expired first. A thread that `polls`
        makes way for others meanwhile, and wakeup() ends its wait."""
        while self.damaged and not expired(self.placed_from):
            if expired(deadline) or (polls and (KP_TAKE_FLAG(self.woken) or not self.turn.make_way(deadline))):
                return False
            with nogil:
                usleep(PLACE_CHECK_US)
            PyErr_CheckSignals()
            self.client.check_open()
            self.check_staying()
        return True

    cdef bint read_again(self, int64_t deadline) except -1:
        """Seek back to the records that the last poll has taken from librdkafka and not returned, or could not read.
        False when the deadline has expired first: the next poll seeks."""
        try:
            self.seek_back(offsets_of(self.refused, "poll"), deadline)
        except KafkaException as exc:
            if exc.error.code == RD_KAFKA_RESP_ERR__TIMED_OUT and expired(deadline):
                return False
            raise
        self.forget(None)
        return True

    cdef int seek_back(self, dict places, int64_t deadline) except -1:
        positions = self.positions
        # What is damaged is known by the offset of its batch, which may have been read in part.
        begins = committed_offsets(self.client, "poll", [
            place for place in self.damaged if positions.get(place, 0) is None and place not in self.starts], deadline)
        call_partitions(self.client, "poll", SEEK, {
            place: self.sought.get(place, max(offset, positions[place] or begins.get(place, 0)))
            for place, offset in places.items() if place in positions}, deadline)
        return 0

    cdef rd_kafka_topic_partition_list_t **refused_now(self) noexcept:
        """Where it is kept what is to be read again: in a rebalance amid a poll, with what that fills."""
        return &self.filling.columns.refused if self.filling is not None and self.in_rebalance() else &self.refused

    cdef int forget(self, object places) except -1:
        """Have these partitions, or all for None, not read again: they were, or somebody has said where to go on.
        For the thread whose turn it is."""
        self.damaged = self.damaged.difference(self.damaged if places is None else places)
        return self.forget_refused(places)

    cdef int forget_refused(self, object places) except -1:
        cdef bytes name
        cdef rd_kafka_topic_partition_list_t **refused = self.refused_now()
        if refused[0] is NULL:
            return 0
        for topic, partition in places or ():
            name = topic.encode()
            rd_kafka_topic_partition_list_del(refused[0], name, partition)
        if places is None or not (<rd_kafka_topic_partition_list_fields *>refused[0]).cnt:
            rd_kafka_topic_partition_list_destroy(refused[0])
            refused[0] = NULL
        return 0

    cdef int discard(self) except -1:
        """In a rebalance: the poll around it returns nothing of what it has taken."""
        cdef kp_consumed *columns
        if self.filling is not None:
            columns = self.filling.columns
            # Else all that it takes comes after this: kp_consume() takes one thing first, and waits for no more.
            columns.discarded = columns.discarded or columns.count or columns.error_count or columns.eofs.count
        return 0

    cdef int add(self, list places) except -1:
        """A rebalance has assigned these partitions, perhaps amid a poll, whose records come of them too."""
        self.positions.update(dict.fromkeys(places))
        if self.filling is not None:
            (<ConsumerService>self.client.service).kept.spread(self.filling, len(self.positions))
        return 0

    cdef int remove(self, list places) except -1:
        """These partitions are no longer assigned."""
        self.forget(places)
        self.moved.update(places)
        for place in places:
            self.positions.pop(place, None)
            self.starts.pop(place, None)
            self.sought.pop(place, None)
        self.paused = self.paused.difference(places)
        self.failures = [failure for failure in self.failures if failure[0] not in places]
        return 0

    cdef int go_on_from(self, dict starts) except -1:
        """Take new positions of assigned partitions, where librdkafka reads already: offsets, Offset.Beginning or
        Offset.End; any other negative number: as committed. What was to be read again of them is not."""
        self.moved.update(starts)
        for place, start in starts.items():
            self.positions[place] = None if start < 0 else start
            self.starts.pop(place, None)
            if start in (Offset.Beginning, Offset.End):
                self.starts[place] = start
        if self.in_rebalance():
            self.sought.update(starts)
            self.discard()
        else:
            self.sought_since = self.sought_since.union(starts)
        again = self.damaged.intersection(starts)       # once more: see wait_placed()
        self.sought.update({place: starts[place] for place in again})
        return self.forget([place for place in starts if place not in again])

    cdef int wake(self) except -1:
        """End the wait of the poll that waits now, else of the next one."""
        cdef rd_kafka_queue_t *queue
        self.client.enter()
        try:
            KP_SET(self.woken, True)
            with nogil:
                queue = rd_kafka_queue_get_consumer(self.client.rk)
                rd_kafka_queue_yield(queue)
                rd_kafka_queue_destroy(queue)
        finally:
            self.client.leave()
        return 0


cdef RecordQueue new_record_queue(Client client):
    cdef RecordQueue queue = RecordQueue.__new__(RecordQueue)
    queue.client, queue.turn = client, new_turn(client)
    queue.auto = new_auto_commit(client)
    return queue
