"""ConsumerClient: what an event loop needs of a consumer's client, and other users of it do not."""
cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport rd_kafka_queue_get_consumer
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_queue_destroy,
    rd_kafka_queue_io_event_enable,
    rd_kafka_queue_length,
    rd_kafka_queue_t,
)
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.common.callbacks cimport raise_all
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.commits cimport offsets_to_commit
from kafkapp.consumer.consumed_batch cimport new_batch
from kafkapp.consumer.consumed_columns cimport kp_consumed_size, new_block
from kafkapp.consumer.polling cimport PollingConsumer
from kafkapp.consumer.consumer_service cimport ConsumerService
from kafkapp.consumer.rebalances cimport give_up_all, rebalances_of, wait_for_assignment
from kafkapp.consumer.unread cimport touch


@cython.final
cdef class ConsumerClient(EventClient):
    def __cinit__(self, PollingConsumer consumer not None):
        self.client, self.queue = consumer.get_client(), consumer.get_queue()
        self.client.enter()
        try:
            (<ConsumerService>self.client.service).part_records(self.client)
        finally:
            self.client.leave()

    def wake_through(self, int fd, bytes payload not None):
        """As EventClient's, also when there are rebalances or errors; -1: stop that, and what wake_polls_through() has
        begun."""
        cdef const char *data = payload
        cdef size_t size = len(payload)
        cdef rd_kafka_queue_t *queue
        cdef rd_kafka_queue_t *records
        EventClient.wake_through(self, fd, payload)
        self.client.enter()
        try:
            records = self.queue.records()
            with nogil:
                queue = rd_kafka_queue_get_consumer(self.client.rk)
                rd_kafka_queue_io_event_enable(queue, fd, data, size)
                rd_kafka_queue_destroy(queue)
                if fd < 0:
                    rd_kafka_queue_io_event_enable(records, fd, data, size)
        finally:
            self.client.leave()

    def wake_polls_through(self, int fd, bytes payload not None):
        """Have librdkafka write `payload` to a descriptor when there are records. One signal until the next poll, which
        has to find no record left or be followed by another one."""
        cdef const char *data = payload
        cdef size_t size = len(payload)
        cdef rd_kafka_queue_t *records
        self.client.enter()
        try:
            records = self.queue.records()
            with nogil:
                rd_kafka_queue_io_event_enable(records, fd, data, size)
        finally:
            self.client.leave()

    def dispatch_events(self):
        """Run the callbacks for logs, errors, statistics and tokens that are due. Returns how many operations ended."""
        cdef list raised = []
        self.client.enter()
        try:
            reported = self.client.dispatch(kp_rounds(&self.client.dispatcher), 0, raised)
        finally:
            self.client.leave()
        raise_all(raised)
        return reported

    def has_records(self):
        """Whether a poll would find records."""
        cdef size_t length
        self.client.enter()
        try:
            with nogil:
                length = rd_kafka_queue_length((<ConsumerService>self.client.service).records)
        finally:
            self.client.leave()
        return length > 0

    def has_rebalances(self):
        """Whether serve() has something to do: a rebalance or an error, which wait behind no record."""
        cdef rd_kafka_queue_t *queue
        cdef size_t length
        self.client.enter()
        try:
            with nogil:
                queue = rd_kafka_queue_get_consumer(self.client.rk)
                length = rd_kafka_queue_length(queue)
                rd_kafka_queue_destroy(queue)
        finally:
            self.client.leave()
        return length > 0

    def serve(self):
        """Handle the rebalances that have come; errors, and what on_rebalance raises, are for the next poll to raise.
        Takes no record. Does nothing while a thread seeks."""
        if not self.queue.begin("poll", 0):
            return
        try:
            while self.queue.serve(0):
                pass
            for raised in self.queue.raised:
                if isinstance(raised, (KeyboardInterrupt, SystemExit)):
                    self.queue.raise_what_callbacks_raised()
        finally:
            self.queue.end()

    def rebalances(self):
        """What wait_assigned() takes, of the moment before subscribe()."""
        return rebalances_of(self.queue)

    def wait_assigned(self, tuple before not None, timeout):
        """As the end of subscribe(); polls raise what was reported meanwhile, unless forget_failures() is called.
        Blocks."""
        cdef int64_t deadline = deadline_of(timeout)
        if not self.queue.begin("subscribe", deadline):
            raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, "subscribe() has waited in vain for a seek to end")
        try:
            wait_for_assignment(self.queue, before, deadline, False)
        finally:
            self.queue.end()

    def forget_failures(self):
        """Have polls raise nothing of what was reported until now."""
        self.queue.failures = []

    def touch(self):
        """Have `max.poll.interval.ms` begin anew: the loop runs. Takes no record, runs no callback."""
        touch(self.queue)

    def has_commits(self):
        """Whether commits that were begun are not answered yet."""
        return bool((<ConsumerService>self.client.service).pending)

    def what_to_commit(self, what):
        """What commit_async() would commit now: offsets and their metadata."""
        if what is not None:
            return offsets_to_commit(what)
        return {place: offset for place, offset in dict(self.queue.positions).items() if offset is not None}, {}

    def begin_commit(self, tuple what not None, bint mine, callback):
        """Commit what what_to_commit() has returned, as commit_async() does. `mine`: of what is still assigned only."""
        offsets, texts = what
        if mine:
            offsets = {place: offset for place, offset in offsets.items() if place in self.queue.positions}
        (<ConsumerService>self.client.service).begin_commit(self.client, offsets, texts, callback, False)

    def empty_batch(self):
        """What a poll returns that has read nothing."""
        cdef kp_consumed_size room = kp_consumed_size(0, 0, 0)
        return new_batch(new_block(False, &room))

    def has_to_read_again(self):
        """Whether read_again() has something to do before the next poll."""
        return self.queue.refused is not NULL

    def read_again(self, timeout):
        """Seek back to what polls have not returned. Blocks; no poll may run meanwhile."""
        cdef int64_t deadline = deadline_of(timeout)
        cdef bint taken
        self.client.enter()
        try:
            taken = self.queue.turn.begin("poll", deadline)
            try:
                if self.queue.wait_placed(deadline, True) and self.queue.refused is not NULL:
                    self.queue.read_again(deadline)
            finally:
                self.queue.turn.end(taken)
        finally:
            self.client.leave()

    def release(self):
        """Have close() commit what the last poll has returned, where the consumer commits by itself: by itself it does
        so for the thread that has polled only."""
        if self.queue.auto is not None:
            with cython.critical_section(self.queue.auto):
                self.queue.auto.release(self.queue.positions)

    def give_up(self):
        """close() begins: on_rebalance hears that the partitions go. What is committed by itself then, close() does."""
        cdef list raised = []
        give_up_all(self.queue, -1, False, raised)
        raise_all(raised)
