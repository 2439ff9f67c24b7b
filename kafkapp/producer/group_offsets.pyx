"""A consumer group's offsets in a transaction: the forms in which consumers have them, and librdkafka's call.

A consumer that was put out of its group must not move the group's offsets (KIP-447). The broker tells it by the
generation and the member's id, which every consumer's group metadata has; a group's bare name has neither.
"""
import warnings
from collections.abc import Mapping

from kafkapp.common.group_metadata import unpacked
from kafkapp.common.texts import check_text

cimport cython
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_OFFSET_INVALID,
    rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_new_with_genid,
    rd_kafka_consumer_group_metadata_t,
    rd_kafka_error_t,
    rd_kafka_send_offsets_to_transaction,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
    rd_kafka_topic_partition_t,
)
from kafkapp.client.blocking_calls cimport BlockingCall, still_running_error, with_grace
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport take_error
from kafkapp.common.numbers cimport exact_int, short_int

GROUP_FIELDS = ("group_id", "generation_id", "member_id", "group_instance_id")
NOT_FENCED = (
    "send_offsets_to_transaction: a group's bare name does not fence: a consumer that a rebalance has put out of the "
    "group can still commit. Give the consumer's group metadata, or (name, -1, '', None) where that cannot happen")


# -- offsets --------------------------------------------------------------------------------------------------

cdef list checked_offsets(offsets):
    """(topic, partition, offset, metadata or None) as (bytes, int, int, bytes), of all forms that consumers give."""
    if isinstance(offsets, Mapping):
        items = [offset_of_mapping(key, value) for key, value in offsets.items()]
    else:
        items = [offset_of(item) for item in offsets]
    # A position of which nothing was read is left out, as librdkafka does; in a tuple it is a mistake.
    return [check_offset(item) for item in items if item is not None]


cdef tuple offset_of_mapping(key, value):
    """An item of kafka-python's and aiokafka's {TopicPartition: OffsetAndMetadata or int}."""
    if not isinstance(key, tuple) or len(key) != 2:
        raise TypeError(f"offsets: keys must be (topic, partition), not {repr(key)[:200]}")
    return *key, getattr(value, "offset", value), getattr(value, "metadata", None)


cdef tuple offset_of(item):
    if isinstance(item, (tuple, list)) and not hasattr(item, "offset"):
        if len(item) != 3:
            raise TypeError(f"offsets must be (topic, partition, offset) tuples, not {repr(item)[:200]}")
        return *item, None
    try:
        found = item.topic, item.partition, item.offset, getattr(item, "metadata", None)
    except AttributeError:
        raise TypeError("offsets must be (topic, partition, offset) tuples, or objects with topic, partition and "
                        f"offset, not {repr(item)[:200]}") from None
    return None if found[2] == RD_KAFKA_OFFSET_INVALID else found


cdef tuple check_offset(tuple item):
    topic, partition, offset, metadata = item
    numbers = []
    for name, number, limit in (("partition", partition, 2**31 - 1), ("offset", offset, 2**63 - 1)):
        number = exact_int(number, f"offsets: {name} must be an int")
        if not 0 <= number <= limit:
            raise ValueError(f"offsets: {name} must be from 0 to {limit}, not {short_int(number)}")
        numbers.append(number)
    text = b"" if metadata is None else check_text("offsets: metadata", metadata).encode()
    return check_name("offsets: topic", topic).encode(), *numbers, text or None     # consumers' "" is no metadata


cdef str check_name(str what, text):
    text = check_text(what, text)
    if not text:
        raise ValueError(f"{what} must not be empty")
    return text


# -- the group ------------------------------------------------------------------------------------------------

cdef tuple checked_group(group):
    """(group_id, generation_id, member_id, group_instance_id or None) as (bytes, int, bytes, bytes)."""
    if isinstance(group, str):
        name = check_name("group", group)
        warnings.warn(NOT_FENCED, UserWarning)
        return name.encode(), -1, b"", None
    if isinstance(group, bytes):
        return unpacked(group)
    if isinstance(group, (tuple, list)):
        # A named tuple may have more: kafka-python's has the group's state too
        fields = [getattr(group, name, None) for name in GROUP_FIELDS] if hasattr(group, "group_id") else list(group)
    else:
        try:
            fields = [getattr(group, name) for name in GROUP_FIELDS]
        except AttributeError:
            raise TypeError(f"group must be the consumer's group metadata (with {', '.join(GROUP_FIELDS)}) or a str, "
                            f"not {type(group).__name__}") from None
    if len(fields) != len(GROUP_FIELDS):
        raise TypeError(f"group must be ({', '.join(GROUP_FIELDS)}), not {len(fields)} things")
    group_id, generation, member, instance = fields
    generation = exact_int(generation, "group: generation_id must be an int")
    if not -1 <= generation < 2**31:
        raise ValueError(f"group: generation_id must be from -1 to {2**31 - 1}, not {short_int(generation)}")
    return (check_name("group: group_id", group_id).encode(), generation,
            check_text("group: member_id", member).encode(),
            None if instance is None else check_name("group: group_instance_id", instance).encode())


# -- librdkafka's call ----------------------------------------------------------------------------------------

@cython.final
cdef class BlockingOffsetsCall(BlockingCall):
    cdef list offsets
    cdef tuple group

    cdef int perform(self) except -1:
        cdef rd_kafka_topic_partition_list_t *c = rd_kafka_topic_partition_list_new(<int>len(self.offsets))
        cdef rd_kafka_topic_partition_t *place
        cdef rd_kafka_consumer_group_metadata_t *group
        cdef rd_kafka_error_t *error
        cdef rd_kafka_t *rk = self.client.rk
        cdef bytes name, member, instance, text
        cdef int32_t generation
        name, generation, member, instance = self.group
        for topic, partition, offset, metadata in self.offsets:
            place = rd_kafka_topic_partition_list_add(c, topic, partition)
            place.offset = offset
            if metadata is not None:
                text = metadata
                place.metadata = malloc(len(text))      # the list frees it
                if place.metadata is NULL:
                    rd_kafka_topic_partition_list_destroy(c)
                    raise MemoryError
                place.metadata_size = len(text)
                memcpy(place.metadata, <const char *>text, len(text))
        group = rd_kafka_consumer_group_metadata_new_with_genid(
            name, generation, member, NULL if instance is None else <const char *>instance)
        with nogil:
            error = rd_kafka_send_offsets_to_transaction(rk, c, group, self.timeout_ms)
            rd_kafka_consumer_group_metadata_destroy(group)
            rd_kafka_topic_partition_list_destroy(c)
        self.error = take_error(error)
        return 0


cdef BlockingCall new_offsets_call(offsets, group):
    cdef BlockingOffsetsCall request = BlockingOffsetsCall.__new__(BlockingOffsetsCall)
    request.offsets = checked_offsets(offsets)
    request.group = checked_group(group)
    return request


cdef object send_offsets(Client client, BlockingCall request, int64_t deadline):
    """Returns the Error, or None."""
    client.check_blocking("send_offsets_to_transaction")
    client.enter()
    try:
        request.start(client, deadline)
        if not request.wait(with_grace(deadline), None):
            return still_running_error()
    finally:
        client.leave()
    return request.error
