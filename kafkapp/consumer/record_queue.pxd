# C interface of kafkapp.consumer.record_queue.

cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_queue_t, rd_kafka_topic_partition_list_t
from kafkapp.client.client cimport Client
from kafkapp.consumer.auto_commit cimport AutoCommit
from kafkapp.consumer.consumed_batch cimport ConsumedBatch
from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_consumed_size, kp_spare
from kafkapp.consumer.subscription cimport Subscription
from kafkapp.consumer.turn cimport Turn


@cython.final
cdef class RecordQueue:
    cdef Client client
    cdef dict positions             # {TopicPartition: the next offset, None: not known yet} of what is assigned
    cdef dict starts                # {TopicPartition: Offset}: where those without a position begin, if it was said
    cdef Turn turn                  # to change all these
    cdef set paused                 # those of them that return no records
    cdef list failures              # (TopicPartition or None, exception): what polls have still to raise
    cdef rd_kafka_topic_partition_list_t *refused   # owned; partitions to be read again from there, before any poll
    cdef AutoCommit auto            # None: the consumer commits nothing by itself
    cdef kp_spare *spare            # owned; where the memory of its blocks waits for the next one
    cdef kp_consumed_size size      # of what the last poll has returned: room for the next one
    cdef dict sought                # {TopicPartition: offset or Offset}: by on_rebalance in the last poll
    cdef set moved                  # partitions that are read from elsewhere now, or no more, since it was emptied
    cdef set sought_since           # of partitions, since records were taken last: by a handler of a signal in a poll
    cdef set damaged                # of what is to be read again: where librdkafka could not read on
    cdef int64_t placed_from        # when it knows of these where it is
    cdef Subscription subscription
    cdef list raised                # what on_rebalance has raised, for the thread that polls
    cdef ConsumedBlock filling      # what the thread that polls fills, or None
    cdef int idle                   # no thread polls; the one that takes this flag does
    cdef unsigned long rebalancing  # ident of that thread while it is in a rebalance, and so perhaps in on_rebalance
    cdef int leaving                # close() was called: no poll goes on
    cdef int woken                  # wakeup() was called since the last poll

    cdef ConsumedBatch read(self, str what, int64_t deadline, size_t max_records, size_t max_bytes, bint headers,
                            size_t view_from)
    cdef ConsumedBatch read_block(self, ConsumedBlock block, int64_t deadline, size_t max_records, size_t max_bytes)
    cdef bint begin(self, str what, int64_t deadline) except -1     # become the thread that polls
    cdef int end(self) except -1
    cdef bint in_rebalance(self) noexcept
    cdef int check_rebalancing(self, str what) except -1
    cdef rd_kafka_queue_t *records(self)
    cdef int consume(self, ConsumedBlock block, rd_kafka_queue_t *records, size_t max_records, size_t max_bytes,
                     int wait) except -1
    cdef bint serve(self, int wait) except -1
    cdef int keep_errors(self, ConsumedBlock block) except -1
    cdef int raise_what_callbacks_raised(self) except -1
    cdef int check_staying(self) except -1
    cdef int discard(self) except -1
    cdef int add(self, list places) except -1
    cdef int remove(self, list places) except -1
    cdef int fill(self, ConsumedBlock block, int64_t deadline, size_t max_records, size_t max_bytes) except -1
    cdef int dispatch(self) except -1
    cdef ConsumedBatch take_in(self, ConsumedBlock block, int failure)
    cdef int commit_revoked(self, object partitions) except -1
    cdef int forget_lost(self, object partitions) except -1
    cdef bint wait_placed(self, int64_t deadline, bint polls) except -1
    cdef bint read_again(self, int64_t deadline) except -1
    cdef int seek_back(self, dict places, int64_t deadline) except -1
    cdef rd_kafka_topic_partition_list_t **refused_now(self) noexcept
    cdef int forget(self, object places) except -1
    cdef int forget_refused(self, object places) except -1
    cdef int go_on_from(self, dict starts) except -1
    cdef int wake(self) except -1


cdef RecordQueue new_record_queue(Client client)
