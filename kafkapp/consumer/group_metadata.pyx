"""Group metadata of a consumer: which member it is. librdkafka's own form of it is packed bytes."""
from kafkapp.common.group_metadata import unpacked
from kafkapp.consumer.groups import ConsumerGroupMetadata

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    rd_kafka_consumer_group_metadata,
    rd_kafka_consumer_group_metadata_write,
    rd_kafka_mem_free,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_t,
    rd_kafka_error_t,
)
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport new_exception, take_error
from kafkapp.consumer.subscription cimport BY_GROUP


cdef bytes packed(Client client):
    cdef rd_kafka_consumer_group_metadata_t *metadata
    cdef rd_kafka_error_t *error = NULL
    cdef void *data = NULL
    cdef size_t size = 0
    client.enter()
    try:
        with nogil:
            metadata = rd_kafka_consumer_group_metadata(client.rk)
            if metadata is not NULL:
                error = rd_kafka_consumer_group_metadata_write(metadata, &data, &size)
                rd_kafka_consumer_group_metadata_destroy(metadata)
        failure = take_error(error)
        if metadata is NULL or failure is not None:
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "group_metadata(): this consumer has no group")
        try:
            return (<char *>data)[:size]
        finally:
            rd_kafka_mem_free(NULL, data)
    finally:
        client.leave()


cdef int64_t generation_of(Client client) except? -1:
    """The generation, or epoch, in which it is a member of its group; 0 or less: it is none."""
    _, generation, _, _ = unpacked(packed(client))
    return generation


cdef object group_metadata(RecordQueue queue):
    group_id, generation, member, instance = unpacked(packed(queue.client))
    if queue.subscription.mode == BY_GROUP and (generation < 0 or not member):
        raise new_exception(RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, "group_metadata(): this consumer is not a member of "
                            "its group now, and what it has read may be read by another member; poll until partitions "
                            "are assigned")
    return ConsumerGroupMetadata(group_id.decode(), generation, member.decode(),
                                 None if instance is None else instance.decode())
