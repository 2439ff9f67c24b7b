"""What the members of a consumer group have written down, and what is wrong with it: pure functions over their journals.

An event is a dict: `at` (CLOCK_MONOTONIC, which all processes of a machine share), `name`, and what belongs to it:
assigned, revoked, lost: `partitions`; poll: `records` of (partition, offset, value); committed: `offsets` of (partition,
offset), when the commit had returned. At least once is: every record that was acknowledged is read, and one that is read
again was not committed when its partition was assigned.
"""
from bisect import bisect_left
from collections import defaultdict
from typing import NamedTuple

from anomalies import inconsistent_offsets, polls_out_of_order, skips


class Polled(NamedTuple):
    """A record that a member has read. Its `reader` is one tenure: a member's, of a partition, from one assignment to the next."""

    reader: tuple       # member, and the time of the assignment; None: it had not the partition
    partition: int
    offset: int
    poll: int
    value: str
    at: float


def polled(journals):
    """The records of each member's journal, a mapping of member to events, each member's in its order."""
    found = []
    for member, events in journals.items():
        tenures = {}
        for number, event in enumerate(events):
            if event["name"] == "assigned":
                tenures |= dict.fromkeys(event["partitions"], event["at"])
            elif event["name"] in ("revoked", "lost"):
                for partition in event["partitions"]:
                    tenures.pop(partition, None)
            elif event["name"] == "poll":
                found += [Polled((member, tenures[partition]) if partition in tenures else None, partition, offset, number, value, event["at"])
                          for partition, offset, value in event["records"]]
    return found


def commits(journals):
    """(partition, offset, when it had returned) of each commit."""
    return [(partition, offset, event["at"]) for events in journals.values() for event in events if event["name"] == "committed"
            for partition, offset in event["offsets"]]


def faults_of(journals, acknowledged):
    """What is wrong, by name; empty when nothing is.

    Args:
        journals: a mapping of member to its events.
        acknowledged: (partition, offset, value) of the records that the broker has taken.
    """
    found = polled(journals)
    first = {}
    for record in sorted(found, key=lambda record: record.at):
        first.setdefault((record.partition, record.offset), record.at)
    order, skipped = polls_out_of_order(found), skips(found, set(first))
    faults = {
        "lost": sorted({(partition, offset) for partition, offset, _ in acknowledged} - first.keys()),
        "inconsistent": inconsistent_offsets([(value, (partition, offset)) for partition, offset, value in acknowledged],
                                             [(record.value, (record.partition, record.offset)) for record in found]),
        "not its own": [(record.partition, record.offset) for record in found if record.reader is None],
        "twice or back in a poll": order[0], "twice or back without a rebalance": order[1],
        "skipped in a poll": skipped[0], "skipped between polls": skipped[1],
        "committed and read again": committed_and_read_again(found, commits(journals)),
        "committed unread": committed_unread(first, commits(journals)),
    }
    return {name: items for name, items in faults.items() if items}


def committed_and_read_again(found, commits):
    """Places that are read in a tenure which began after a commit above them had returned."""
    known = {}      # of (reader, partition): what was committed when it began
    for record in found:
        key = record.reader, record.partition
        if record.reader is not None and key not in known:
            known[key] = max((offset for partition, offset, at in commits if partition == record.partition and at < record.reader[1]), default=0)
    return sorted({(record.partition, record.offset) for record in found
                   if record.offset < known.get((record.reader, record.partition), 0)})


def committed_unread(first, commits):
    """Places below a commit that nobody had read when it had returned: a member that dies then has lost them."""
    offsets, latest = defaultdict(list), defaultdict(list)       # and until when all up to an offset were read
    for (partition, offset), at in sorted(first.items()):
        offsets[partition].append(offset)
        latest[partition].append(max(at, latest[partition][-1]) if latest[partition] else at)
    found = set()
    for partition, end, at in commits:
        below = bisect_left(offsets[partition], end)
        if below and latest[partition][below - 1] > at:
            found |= {(partition, offset) for offset in offsets[partition][:below] if first[partition, offset] > at}
    return sorted(found)


def repeated(journals):
    """How many records were read more than once."""
    found = polled(journals)
    return len(found) - len({(record.partition, record.offset) for record in found})
