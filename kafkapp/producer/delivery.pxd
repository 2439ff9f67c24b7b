# C interface of kafkapp.producer.delivery, and declarations of csrc/delivery.h.

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t

from kafkapp._librdkafka.rdkafka cimport rd_kafka_message_t, rd_kafka_resp_err_t
from kafkapp.client.dispatcher cimport kp_dispatcher
from kafkapp.producer.record_metadata cimport RecordMetadata


cdef extern from "delivery.h" nogil:
    int KP_CALLBACK
    int KP_WAITER
    int KP_FUTURE

    ctypedef struct kp_view:
        Py_buffer view

    ctypedef struct kp_epoch:
        int64_t sent
        int64_t done
        uint32_t index

    ctypedef struct kp_delivery:
        PyObject *target
        PyObject *record_id
        PyObject *value
        kp_view *view
        uint32_t topic
        uint32_t epoch
        uint32_t kind
        uint32_t holds_view
        uint32_t in_use

    ctypedef struct kp_too_large:
        int64_t index
        int64_t key_size
        int64_t value_size
        int64_t headers_size

    ctypedef struct kp_batch:
        PyObject *owner
        int64_t count
        int64_t next_index
        int64_t remaining
        int64_t *offsets
        int32_t *errors
        int32_t *partitions
        void *topic
        kp_epoch *epoch
        kp_too_large *too_large
        int64_t too_large_count

    ctypedef struct kp_report:
        kp_delivery *delivery
        kp_batch *batch
        void *topic
        const rd_kafka_message_t *message
        int64_t offset
        int64_t timestamp
        rd_kafka_resp_err_t err
        int32_t partition
        uint32_t key_size
        uint32_t value_size
        int32_t latency
        int8_t timestamp_type
        int8_t status

    ctypedef struct kp_deliveries:
        kp_dispatcher *dispatcher
        size_t max_value
        int64_t open_batches
        int64_t epoch_number
        int senders
        int only_errors
        int counts_losses
        int64_t states_allocated
        int64_t states_free
        int64_t views
        kp_report *reports
        size_t report_count

    ctypedef struct kp_loss:
        void *topic
        int64_t count

    void kp_losses_begin(kp_deliveries *d)
    void kp_losses_end(kp_deliveries *d)
    void kp_loss_add(kp_deliveries *d, void *topic, int64_t count)
    bint kp_loss_at(kp_deliveries *d, size_t i, kp_loss *loss)
    void *KP_PLAIN(kp_epoch *epoch)

    void kp_enter(kp_deliveries *d)
    int kp_leave(kp_deliveries *d)
    int kp_deliveries_init(kp_deliveries *d)
    void kp_deliveries_attach(kp_deliveries *d, kp_dispatcher *dispatcher)
    void kp_deliveries_free(kp_deliveries *d)
    kp_delivery *kp_delivery_new(kp_deliveries *d)
    kp_delivery *kp_delivery_take(kp_deliveries *d)
    void kp_delivery_put(kp_deliveries *d, kp_delivery *delivery)
    void kp_install_traverse(PyObject *owner, kp_deliveries *d)
    int64_t kp_in_use(kp_deliveries *d)
    ctypedef struct kp_cursor:
        void *block
        int slot
    kp_delivery *kp_delivery_in_use(kp_deliveries *d, kp_cursor *start)
    bint kp_slot_acquire(kp_deliveries *d, kp_batch *batch, PyObject *owner)
    void kp_slot_release(kp_deliveries *d, kp_batch *batch)
    kp_batch *kp_slot_in_use(kp_deliveries *d, uint32_t *start)
    void kp_finish(kp_deliveries *d, kp_batch *batch)
    kp_epoch *kp_record_begin(kp_deliveries *d)
    void kp_record_abandon(kp_epoch *epoch)
    void kp_reported(kp_epoch *epoch, int64_t count)
    void kp_batch_begin(kp_deliveries *d, kp_batch *batch)
    void kp_batch_abandon(kp_deliveries *d, kp_batch *batch)
    void kp_batch_reported(kp_deliveries *d, kp_epoch *epoch)
    kp_epoch *kp_epoch_at(kp_deliveries *d, uint32_t index)
    int64_t kp_outstanding(kp_deliveries *d)
    int64_t kp_outstanding_records(kp_deliveries *d)
    void kp_epochs_mark_done(kp_deliveries *d)
    int64_t kp_epoch_close(kp_deliveries *d)
    bint kp_epoch_done(kp_deliveries *d, int64_t epoch)


@cython.final
cdef class Waiter:
    cdef RecordMetadata metadata    # None until the delivery report
    cdef object error               # Error, or None on success
    cdef int done                   # written last and read first: publishes the other two where there is no GIL


cdef class FutureTarget:
    """Base of an asyncio future, resolved with one record's metadata and its Error or None. Both are None when there
    was no memory for them."""
    cdef int resolve(self, RecordMetadata metadata, object error) noexcept


cdef class BatchTarget:
    """Base of a Batch, completed as a whole when its last record is reported."""
    cdef int complete(self, kp_deliveries *d, list holds, list raised) except -1


cdef int complete_reports(kp_deliveries *d, list raised) except -1
cdef int complete_without_reports(kp_deliveries *d, list topics, list holds, list raised) except -1
cdef int release_delivery(kp_deliveries *d, kp_delivery *delivery) except -1
