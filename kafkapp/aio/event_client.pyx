"""EventClient: what an event loop needs of any client; librdkafka writes to a descriptor when there are events."""
from kafkapp._librdkafka.rdkafka cimport rd_kafka_queue_io_event_enable, rd_kafka_queue_length
from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport OPEN
from kafkapp.client.shutdown cimport abandon
from kafkapp.common.atomics cimport KP_READ, KP_SET


cdef class EventClient:
    """Base of LoopClient and ConsumerClient. Does not refer to what the user has: that ends by itself when dropped."""

    cdef Client opened(self):
        if self.client is None:
            raise RuntimeError("this EventClient is of no client: a LoopClient or a ConsumerClient is")
        return self.client

    def wake_through(self, int fd, bytes payload not None):
        """Have librdkafka write `payload` to a descriptor when there are events to poll; -1: stop that."""
        cdef Client client = self.opened()
        cdef const char *data = payload
        cdef size_t size = len(payload)
        client.enter()
        KP_SET(client.loop_dispatches, fd >= 0)
        try:
            with nogil:
                rd_kafka_queue_io_event_enable(client.dispatcher.queue, fd, data, size)
        finally:
            client.leave()

    def has_events(self):
        """Whether there are events to poll now: librdkafka signals only the first event in an empty queue."""
        cdef Client client = self.opened()
        cdef size_t length
        client.enter()
        try:
            with nogil:
                length = rd_kafka_queue_length(client.dispatcher.queue)
        finally:
            client.leave()
        # Reports that a dispatcher has drained, or drains now, are no longer in the queue.
        return length > 0 or KP_READ(client.dispatcher.kept) > 0 or KP_READ(client.dispatcher.round_open) != 0

    def check_process(self):
        """Raise in a forked child, which has no part in it."""
        cdef Client client = self.opened()
        if client.foreign():
            client.check_open()

    def warn_unclosed(self):
        self.opened().warn_open()

    def is_closed(self):
        return KP_READ(self.opened().state) != OPEN

    def abandon(self):
        """As the end of one that was dropped without close()."""
        abandon(self.opened(), True)
