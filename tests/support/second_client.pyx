# cython: language_level=3, freethreading_compatible=True
"""The smallest other client on kafkapp.client: a consumer that assigns one partition and counts what comes.

tests/behaviour/test_second_client.py compiles it. Nothing here is a producer's.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_CONSUMER,
    rd_kafka_event_t,
    rd_kafka_message_t,
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.blocking_calls cimport fetch_metadata
from kafkapp.client.client cimport DISPATCHES_ALL, DISPATCHES_EVENTS, Client
from kafkapp.client.dispatcher cimport kp_dispatcher, kp_service
from kafkapp.client.handle cimport Service
from kafkapp.client.shutdown cimport abandon, close
from kafkapp.common.atomics cimport KP_READ, KP_SET
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, run_callback_1
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport deadline_of

cdef extern from "<librdkafka/rdkafka.h>" nogil:
    const int RD_KAFKA_EVENT_FETCH
    const int64_t RD_KAFKA_OFFSET_BEGINNING
    const rd_kafka_message_t *rd_kafka_event_message_next(rd_kafka_event_t *event)
    rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *rk)
    void rd_kafka_queue_forward(rd_kafka_queue_t *source, rd_kafka_queue_t *destination)
    rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)


cdef struct Counts:
    kp_dispatcher *dispatcher
    int64_t new             # messages of this round


cdef void nothing(void *data) noexcept nogil:
    pass


cdef int64_t count_messages(void *data, rd_kafka_event_t *event) noexcept nogil:
    cdef Counts *counts = <Counts *>data
    cdef const rd_kafka_message_t *message = rd_kafka_event_message_next(event)
    cdef int64_t good = 0
    while message is not NULL:
        good += not message.err
        message = rd_kafka_event_message_next(event)
    counts.new += good
    counts.dispatcher.pending += good
    return good


cdef kp_service COUNTING
COUNTING.event = RD_KAFKA_EVENT_FETCH
COUNTING.begin = COUNTING.collect = COUNTING.end = nothing
COUNTING.read = count_messages


@cython.final
cdef class CounterService(Service):
    cdef Counts counts
    cdef object callback
    cdef int64_t wanted
    cdef int64_t total
    cdef int enough         # `total` has reached `wanted`

    def __cinit__(self):
        self.name, self.unit, self.type, self.events = "consumer", "messages", RD_KAFKA_CONSUMER, RD_KAFKA_EVENT_FETCH

    cdef int attach(self, kp_dispatcher *dispatcher) except -1:
        self.counts.dispatcher = dispatcher
        dispatcher.service, dispatcher.service_data = &COUNTING, &self.counts
        return 0

    cdef int complete(self, list raised) except -1:
        self.total += self.counts.new
        self.counts.new = 0
        run_callback_1(self.callback, self.total, raised)
        if self.total >= self.wanted:
            KP_SET(self.enough, True)
        return 0


cdef class Counter:
    """Counts the messages of one partition, until `wanted` have come; callback(total) after each round."""
    cdef Client client
    cdef CounterService service

    def __init__(self, properties, callback, int64_t wanted, bint background=True):
        self.service = CounterService.__new__(CounterService)
        self.service.callback, self.service.wanted = callback, wanted
        self.client = Client(properties, DISPATCHES_ALL if background else DISPATCHES_EVENTS, self.service, {})

    def assign(self, str topic, int32_t partition):
        cdef rd_kafka_topic_partition_list_t *partitions
        cdef rd_kafka_queue_t *queue
        cdef rd_kafka_resp_err_t err
        cdef bytes name = topic.encode()
        self.client.check_blocking("assign")
        self.client.enter()
        try:
            queue = rd_kafka_queue_get_consumer(self.client.rk)
            rd_kafka_queue_forward(queue, self.client.dispatcher.queue)
            rd_kafka_queue_destroy(queue)
            partitions = rd_kafka_topic_partition_list_new(1)
            rd_kafka_topic_partition_list_add(partitions, name, partition).offset = RD_KAFKA_OFFSET_BEGINNING
            with nogil:
                err = rd_kafka_assign(self.client.rk, partitions)
            rd_kafka_topic_partition_list_destroy(partitions)
        finally:
            self.client.leave()
        if err:
            raise new_exception(err, "assign")

    def wait(self, timeout):
        """Whether enough has come before the timeout."""
        cdef list raised = None if self.client.background else []
        cdef bint enough
        self.client.check_blocking("wait")
        try:
            enough = self.client.wait_for(&self.service.enough, deadline_of(timeout), raised)
        except:
            report_all_unraisable(raised)
            raise
        raise_all(raised)
        return enough

    def partitions(self, topic):
        return len(fetch_metadata(self.client, topic, deadline_of(10)).partitions)

    @property
    def total(self):
        return KP_READ(self.service.total)

    def ledger(self):
        return self.client.ledger()

    def close(self, timeout=None):
        close(self.client, deadline_of(timeout))

    def __del__(self):
        if self.client is not None:
            abandon(self.client, True)
