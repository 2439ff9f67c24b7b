"""EventClient: what an event loop needs of any client; librdkafka writes to a descriptor when there are events."""
from kafkapp._librdkafka.rdkafka cimport rd_kafka_queue_io_event_enable, rd_kafka_queue_length
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport abandon
from kafkapp.common.atomics cimport KP_READ, KP_SET


cdef class EventClient:
    """Base of LoopClient and ConsumerClient. Does not refer to what the user has: that ends by itself when dropped."""

    def __cinit__(self, *args):
        if type(self) is EventClient:
            raise TypeError("EventClient is a base: a LoopClient or a ConsumerClient is one of a client")

    def wake_through(self, int fd, bytes payload not None):
        """Have librdkafka write `payload` to a descriptor when there are events to poll; -1: stop that."""
        cdef const char *data = payload
        cdef size_t size = len(payload)
        self.client.enter()
        KP_SET(self.client.loop_dispatches, fd >= 0)
        try:
            with nogil:
                rd_kafka_queue_io_event_enable(self.client.dispatcher.queue, fd, data, size)
        finally:
            self.client.leave()

    def has_events(self):
        """Whether there are events to poll now: librdkafka signals only the first event in an empty queue."""
        cdef size_t length
        self.client.enter()
        try:
            with nogil:
                length = rd_kafka_queue_length(self.client.dispatcher.queue)
        finally:
            self.client.leave()
        # Reports that a dispatcher has drained, or drains now, are no longer in the queue.
        return length > 0 or KP_READ(self.client.dispatcher.kept) > 0 or KP_READ(self.client.dispatcher.round_open) != 0

    def check_process(self):
        """Raise in a forked child, which has no part in it."""
        if self.client.foreign():
            self.client.check_open()

    def warn_unclosed(self):
        self.client.warn_open()

    def is_closed(self):
        return KP_READ(self.client.state) != OPEN

    def abandon(self):
        """As the end of one that was dropped without close()."""
        abandon(self.client, True)
