# Batches: the outcome of the records of one send_batch(), and csrc/batch.h.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_t
from kafkapp.client.client cimport Client
from kafkapp.producer.columns cimport Column, kp_column
from kafkapp.producer.delivery cimport BatchTarget, kp_batch, kp_deliveries
from kafkapp.producer.headers_column cimport HeadersColumn, kp_headers
from kafkapp.producer.timestamps cimport Timestamps


cdef extern from "batch.h" nogil:
    ctypedef struct kp_records:
        kp_column values
        kp_column keys
        const void *partitions
        const void *timestamps
        int64_t timestamp
        const kp_headers *headers
        int32_t partition
        int flags

    int32_t kp_int32_at(const void *numbers, int64_t i)
    kp_batch *kp_batch_new(int64_t count)
    void kp_batch_free(kp_batch *batch)
    int64_t kp_batch_send(rd_kafka_t *rk, rd_kafka_topic_t *rkt, kp_deliveries *d, kp_batch *batch,
                          const kp_records *records, int64_t start, int64_t *accepted)
    bint kp_batch_sent(kp_batch *batch, int64_t refused)


@cython.final
cdef class Batch(BatchTarget):
    cdef kp_batch *batch            # owned: the columns of outcomes
    cdef Client client
    cdef readonly str topic
    cdef object callback            # None once it has been called
    cdef bint awaited               # the callback is a future's, and no user's: it is called whatever was reported
    cdef Column values, keys        # hold the exporters' buffers until the batch is done
    cdef readonly int64_t accepted
    cdef int reported               # `done`: every accepted record has its delivery report
    cdef int callback_done          # and the callback, if any, has returned
    cdef object __weakref__

    cdef outcomes(self, void *data, Py_ssize_t itemsize)
    cdef int note_outstanding(self, exc) except -1
    cdef bint has_failures(self) noexcept


@cython.final
cdef class BatchSend:
    cdef Client client
    cdef Batch batch
    cdef kp_records records
    cdef Py_buffer partitions       # held until all are enqueued, as the next two
    cdef Timestamps timestamps
    cdef HeadersColumn headers
    cdef rd_kafka_topic_t *rkt
    cdef bint copy

    cdef int release(self) except -1
    cdef int set_partitions(self, partition) except -1

    # begin(), enqueue() until there is no room or nothing left, end(). The sender is counted in between: close() waits
    # for it. It may pause() and resume(), which returns False when close() has begun: that completes the batch.
    cdef int begin(self) except -1
    cdef bint enqueue(self) except -1
    cdef int pause(self) except -1
    cdef bint resume(self) except -1
    cdef int end(self, rd_kafka_resp_err_t err) except -1


# A batch of checked columns, to be sent; nothing is enqueued yet. `topic`: a checked name.
cdef Batch new_batch(str topic, values, offsets, keys, key_offsets, callback)

# How it is to be sent: checks the rest of the arguments.
cdef BatchSend new_batch_send(Client client, Batch batch, partition, headers, timestamps, bint copy)

# Check the rest of the arguments, enqueue the records, wait for room if `block`.
cdef int send_batch(Client client, Batch batch, partition, headers, timestamps, bint copy, bint block,
                    int64_t deadline) except -1
