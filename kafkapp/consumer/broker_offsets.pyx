"""Offsets that brokers have: the ends of partitions, those of times, what a group has committed; the lag."""
from kafkapp.common.timestamp import Timestamp
from kafkapp.consumer.topic_partition import Offset

from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_OFFSET_INVALID, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
from kafkapp.client.client cimport Client
from kafkapp.common.errors cimport new_exception
from kafkapp.consumer.partition_calls cimport COMMITTED, OFFSETS_FOR_TIMES, call_partitions

cdef frozenset EARLIEST = frozenset({"smallest", "earliest", "beginning"})      # of auto.offset.reset


cdef dict ends_of(Client client, str what, object places, object end, int64_t deadline):
    """The first offsets of partitions, or with Offset.End the next ones."""
    cdef dict found = call_partitions(client, what, OFFSETS_FOR_TIMES, dict.fromkeys(places, int(end)), deadline)
    for place, offset in found.items():
        if offset < 0:
            raise new_exception(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                                f"{what}() failed: no broker has {place.topic} [{place.partition}]")
    return found


cdef dict at_times(Client client, str what, dict times, int64_t deadline):
    """The offsets of the first records from these times on; a partition without one is left out."""
    cdef dict found = call_partitions(client, what, OFFSETS_FOR_TIMES, times, deadline)
    return {place: offset for place, offset in found.items() if offset >= 0}


cdef dict committed_offsets(Client client, str what, object places, int64_t deadline):
    """The offsets that the group has committed; a partition without one is left out."""
    cdef dict found = call_partitions(client, what, COMMITTED, dict.fromkeys(places, RD_KAFKA_OFFSET_INVALID), deadline)
    return {place: offset for place, offset in found.items() if offset >= 0}


cdef dict with_times_found(Client client, str what, dict starts, int64_t deadline):
    """The starts, with offsets in place of times."""
    cdef dict times = {place: start.ms for place, start in starts.items() if isinstance(start, Timestamp)}
    if not times:
        return starts
    # The ends come first: where no record is found, one that is written meanwhile is not passed over.
    ends = ends_of(client, what, times, Offset.End, deadline)
    return {**starts, **ends, **at_times(client, what, times, deadline)}


cdef dict lag_of(Client client, dict positions, dict starts, int64_t deadline):
    """How many offsets are between the positions and the ends of partitions. `starts`: where those begin that have no
    position yet, Offset; others at the committed offset."""
    cdef dict known = {place: offset for place, offset in positions.items() if offset is not None}
    cdef list first = [place for place in positions if place not in known and starts.get(place) == Offset.Beginning]
    cdef list unknown = [place for place in positions if place not in known and starts.get(place) is None]
    cdef dict ends = ends_of(client, "lag", positions, Offset.End, deadline)
    if unknown:
        committed = committed_offsets(client, "lag", unknown, deadline)
        known.update(committed)
        if client.get_property("auto.offset.reset") in EARLIEST:
            first += [place for place in unknown if place not in committed]
    known.update(ends_of(client, "lag", first, Offset.Beginning, deadline))
    return {place: max(0, ends[place] - known[place]) for place in positions if place in known}
