"""ConsumerClient: what an event loop needs of a consumer's client, and other users of it do not."""
cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport rd_kafka_queue_get_consumer
from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_queue_destroy,
    rd_kafka_queue_io_event_enable,
    rd_kafka_queue_t,
)
from kafkapp.client.dispatcher cimport kp_rounds
from kafkapp.common.callbacks cimport raise_all
from kafkapp.common.timeouts cimport deadline_of
from kafkapp.consumer.consumed_batch cimport new_batch
from kafkapp.consumer.consumed_columns cimport kp_consumed_size, new_block
from kafkapp.consumer.polling cimport PollingConsumer
from kafkapp.consumer.rebalances cimport give_up_all
from kafkapp.consumer.unread cimport touch


@cython.final
cdef class ConsumerClient(EventClient):
    def __cinit__(self, PollingConsumer consumer not None):
        self.client, self.queue = consumer.get_client(), consumer.get_queue()

    def wake_through(self, int fd, bytes payload not None):
        """As EventClient's, also when there are records. One signal until the next poll, which has to find none left or
        be followed by another one."""
        cdef const char *data = payload
        cdef size_t size = len(payload)
        cdef rd_kafka_queue_t *records
        EventClient.wake_through(self, fd, payload)
        self.client.enter()
        try:
            with nogil:
                records = rd_kafka_queue_get_consumer(self.client.rk)
                rd_kafka_queue_io_event_enable(records, fd, data, size)
                rd_kafka_queue_destroy(records)
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

    def touch(self):
        """Have `max.poll.interval.ms` begin anew: the loop runs. Takes no record, runs no callback."""
        touch(self.queue)

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
