"""What jepsen's checkers of Kafka and Redpanda look for in a history of writes, transactions and polls, as pure functions.

A place is (partition, offset). Polls are LogRecords in the order in which a reader got them; each has the number of its poll.
Lost, doubled and phantom records are the ledger's own (`Ledger.verdict`); these are the rest.
"""
from bisect import bisect_left, bisect_right
from collections import defaultdict

COMMITTED, ABORTED, OPEN = "committed", "aborted", "open"      # of a transaction; open: its end was not reported


def aborted_reads(read, transactions, ends):
    """Records of a transaction that was aborted, and were read all the same (read_committed)."""
    return sorted(identity for identity in read if ends.get(transactions.get(identity)) == ABORTED)


def torn_transactions(read, delivered, transactions, ends):
    """Transactions of which some records were read and some were not: (transaction, read, not read)."""
    parts = defaultdict(lambda: ([], []))
    for identity in delivered:
        transaction = transactions.get(identity)
        if transaction is not None and ends.get(transaction) != ABORTED:
            parts[transaction][identity not in read].append(identity)
    return [(transaction, found, missing) for transaction, (found, missing) in parts.items() if found and missing]


def inconsistent_offsets(acknowledged, polled):
    """Places that hold different records: by two acknowledgements, by two readers, or by an acknowledgement and a reader.

    Args:
        acknowledged: (identity, place) of each acknowledgement.
        polled: (identity, place) of each record that was read.
    """
    holders = defaultdict(set)
    for identity, place in [*acknowledged, *polled]:
        holders[place].add(identity)
    return [(place, *sorted(identities, key=str)) for place, identities in holders.items() if len(identities) > 1]


def polls_out_of_order(log):
    """(inside, between): places that a reader got behind a later one of the same partition, in one poll or in two."""
    inside, between, last = [], [], {}
    for record in log:
        key = record.reader, record.partition
        if key in last:
            offset, poll = last[key]
            if record.offset <= offset:
                (inside if record.poll == poll else between).append((record.partition, record.offset))
        last[key] = record.offset, record.poll
    return inside, between


def skips(log, known):
    """(inside, between): places that are known to hold a record, and that a reader passed by without getting it.

    Args:
        known: the places of the records that some reader got.
    """
    offsets = defaultdict(list)
    for partition, offset in sorted(known):
        offsets[partition].append(offset)
    got = defaultdict(set)
    for record in log:
        got[record.reader, record.partition].add(record.offset)
    inside, between, last = [], [], {}
    for record in log:
        key = record.reader, record.partition
        if key in last:
            before, poll = last[key]
            passed = [(record.partition, offset) for offset in between_offsets(offsets[record.partition], before, record.offset)
                      if offset not in got[key]]
            (inside if record.poll == poll else between).extend(passed)
        last[key] = record.offset, record.poll
    return inside, between


def between_offsets(offsets, low, high):
    """Those of a sorted list that are above `low` and below `high`."""
    return offsets[bisect_right(offsets, low):bisect_left(offsets, high)]
