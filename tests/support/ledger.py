"""The ledger: what a run sent, what was reported of each record, what the log holds, and the verdict that compares them.

Must not import kafkapp: the log is read back by another client, and the checks are plain Python.
Every claim about lost or doubled records is made through this one checker, which has control tests of its own.
"""

import bisect
import collections
import dataclasses
import hashlib
import os
import struct
import threading
import zlib

from anomalies import ABORTED, OPEN, aborted_reads, inconsistent_offsets, polls_out_of_order, skips, torn_transactions

# magic, run, producer, sequence; then the body, then the CRC-32 of all before it.
HEAD = struct.Struct(">4sQIQ")
CRC = struct.Struct(">I")
MAGIC = b"KPLG"
SMALLEST = HEAD.size + CRC.size

# Outcomes that were reported of a record. NOT_PERSISTED must not be in the log, UNKNOWN may or may not.
DELIVERED, NOT_PERSISTED, UNKNOWN, REFUSED = "delivered", "not-persisted", "unknown", "refused"


def pack(run, producer, sequence, size=100):
    """The payload of one record: its identity, a body that depends on it, and a checksum over both."""
    head = HEAD.pack(MAGIC, run, producer, sequence)
    room = max(0, size - SMALLEST)
    body = (hashlib.blake2b(head, digest_size=32).digest() * (room // 32 + 1))[:room]
    return head + body + CRC.pack(zlib.crc32(head + body))


def unpack(payload):
    """(run, producer, sequence, intact): the identity that the bytes claim, and whether the checksum agrees."""
    if payload is None or len(payload) < SMALLEST:
        return None, None, None, False
    magic, run, producer, sequence = HEAD.unpack_from(payload)
    intact = magic == MAGIC and CRC.unpack_from(payload, len(payload) - CRC.size)[0] == zlib.crc32(payload[: -CRC.size])
    return run, producer, sequence, intact


@dataclasses.dataclass(frozen=True)
class LogRecord:
    """One record as the independent reader found it."""

    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    reader: str = dataclasses.field(default="", compare=False)
    poll: int = dataclasses.field(default=0, compare=False)  # the number of the reader's poll that gave it


@dataclasses.dataclass
class Verdict:
    """The counts, and for each the culprits (identities, or partition and offset where there is none)."""

    sent: int
    delivered: int
    failed: int
    lost: list  # reported as delivered, not in the log
    duplicate: list  # in the log more than once: one entry for each copy too many
    reordered: list  # one entry for each record that would have to move to restore a producer's order in a partition
    corrupt: list  # in the log with bytes that do not match their checksum
    phantom: list  # in the log, but never sent by this run, or refused at the call
    unreported: list  # sent, and never reported
    overreported: list  # reported more than once
    contradicted: list  # reported as not persisted, yet in the log; or reported at another place than it is
    # jepsen's: see anomalies.py
    aborted_read: list
    torn: list
    inconsistent: list
    poll_order: list  # inside and between polls
    skipped: list  # inside and between polls

    FAULTS = ("lost", "duplicate", "reordered", "corrupt", "phantom", "unreported", "overreported", "contradicted",
              "aborted_read", "torn", "inconsistent", "poll_order", "skipped")

    def faults(self):
        """The counts that are not zero."""
        return {name: len(getattr(self, name)) for name in self.FAULTS if getattr(self, name)}

    def __str__(self):
        examples = {name: getattr(self, name)[:5] for name in self.faults()}
        return f"{self.sent} sent, {self.delivered} delivered, {self.failed} failed; {self.faults() or 'no fault'} {examples or ''}"


class Ledger:
    """Records what is sent and what is reported of it. Thread-safe.

    Args:
        path: also keep a journal there, line by line and unbuffered, so that it outlives a process that is killed.
    """

    def __init__(self, path=None, run=None):
        self.run = int.from_bytes(os.urandom(8)) if run is None else run
        self._lock = threading.Lock()
        self._next = {}  # producer -> its next sequence
        self._outcomes = {}  # (producer, sequence) -> [(kind, partition, offset, code)]
        self._transactions = {}  # (producer, sequence) -> its transaction
        self._ends = {}  # transaction -> COMMITTED, ABORTED; not there: its end was not reported
        self._journal = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def stamp(self, producer=0, size=100, transaction=None):
        """Enter one more record and return (identity, payload). Call it right before the send.

        Args:
            transaction: the name of the one that it is sent in; its log is then read by read_committed.
        """
        with self._lock:
            sequence = self._next.get(producer, 0)
            self._next[producer] = sequence + 1
            identity = (producer, sequence)
            self._outcomes[identity] = []
            if transaction is not None:
                self._transactions[identity] = transaction
            self._write("sent", identity)
        return identity, pack(self.run, producer, sequence, size)

    def report(self, identity, kind, partition=None, offset=None, code=0):
        """Write down one outcome; every call counts, so a second report of a record is seen."""
        with self._lock:
            self._outcomes[identity].append((kind, partition, offset, code))
            self._write(kind, identity, partition, offset, code)

    def delivered(self, identity, partition=None, offset=None):
        self.report(identity, DELIVERED, partition, offset)

    def refused(self, identity, code=0):
        """The send itself failed: there is to be no report, and no record in the log."""
        self.report(identity, REFUSED, code=code)

    def ended(self, transaction, end):
        """A transaction is reported as COMMITTED or ABORTED."""
        with self._lock:
            self._ends[transaction] = end

    def _write(self, kind, identity, *more):
        if self._journal is not None:
            os.write(self._journal, " ".join(map(str, (kind, *identity, *more))).encode() + b"\n")

    @classmethod
    def load(cls, path, run):
        """The ledger of a process that is gone, from its journal."""
        ledger = cls(run=run)
        with open(path, encoding="ascii") as journal:
            for line in journal:
                kind, producer, sequence, *more = line.split()
                identity = int(producer), int(sequence)
                if kind == "sent":
                    ledger._outcomes[identity] = []
                    ledger._next[identity[0]] = identity[1] + 1
                else:
                    partition, offset, code = (None if text == "None" else int(text) for text in more)
                    ledger._outcomes[identity].append((kind, partition, offset, code))
        return ledger

    def counts(self):
        """The number of records by the last report of each (None: no report yet)."""
        return collections.Counter(said[-1][0] if said else None for said in self.outcomes().values())

    def outcomes(self):
        """A copy of the reports: identity to a list of (kind, partition, offset, code)."""
        with self._lock:
            return {identity: list(said) for identity, said in self._outcomes.items()}

    def codes(self):
        """The set of error codes that were reported."""
        return {code for outcomes in self.outcomes().values() for _, _, _, code in outcomes if code}

    def close(self):
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def verdict(self, log, *, complete=True):
        """Compare with the log.

        Args:
            log: LogRecords, those of one partition in the order of their offsets.
            complete: False when the topic was deleted or trimmed meanwhile: then nothing can be called lost.
        """
        outcomes = self.outcomes()
        by_place = {
            (p, o): identity
            for identity, said in outcomes.items()
            for kind, p, o, _ in said
            if kind == DELIVERED and o is not None
        }
        places, corrupt, phantom, contradicted, read = {}, [], [], [], []
        log = list(log)
        order = {}  # (producer, partition) -> the sequences, in the log's order, first copies only
        for record in log:
            place = record.partition, record.offset
            run, producer, sequence, intact = unpack(record.value)
            identity = producer, sequence
            if not intact:
                corrupt.append(place)
                # Whose bytes were these? The report's offset knows best, then what is left of the identity. So a
                # damaged record counts as corrupt and not as lost too.
                owner = by_place.get(place) or (identity if run == self.run and identity in outcomes else None)
                if owner is not None:
                    places.setdefault(owner, []).append(place)
                continue
            if run != self.run or identity not in outcomes or any(said[0] == REFUSED for said in outcomes[identity]):
                phantom.append((producer, sequence, *place))
                continue
            if identity not in places:
                order.setdefault((producer, record.partition), []).append(sequence)
            read.append((identity, place))
            if place not in places.setdefault(identity, []):  # two readers, or one twice: poll_order tells
                places[identity].append(place)
        lost, unreported, overreported = [], [], []
        for identity, said in outcomes.items():
            kinds = [kind for kind, *_ in said]
            found = places.get(identity, [])
            if not kinds:
                unreported.append(identity)
            if len(kinds) > 1:
                overreported.append(identity)
            if DELIVERED in kinds and not found and complete and self._end_of(identity) not in (ABORTED, OPEN):
                lost.append(identity)
            if NOT_PERSISTED in kinds and found:
                contradicted.append((*identity, *found[0]))
            reported = [(p, o) for kind, p, o, _ in said if kind == DELIVERED and o is not None]
            contradicted.extend((*identity, *place) for place in reported if found and place not in found)
        final = [said[-1][0] for said in outcomes.values() if said]
        acknowledged = [(identity, place) for place, identity in by_place.items()]
        delivered = [identity for identity, said in outcomes.items() if said and said[-1][0] == DELIVERED]
        known = {place for _, place in read}  # what was acknowledged and nobody read is lost already
        return Verdict(
            sent=len(outcomes),
            delivered=final.count(DELIVERED),
            failed=len(final) - final.count(DELIVERED),
            lost=lost,
            duplicate=[identity for identity, found in places.items() for _ in found[1:]],
            reordered=[(*key, s) for key, sequences in order.items() for s in out_of_order(sequences)],
            corrupt=corrupt,
            phantom=phantom,
            unreported=unreported,
            overreported=overreported,
            contradicted=contradicted,
            aborted_read=aborted_reads(places, self._transactions, self._ends),
            torn=torn_transactions(places, delivered, self._transactions, self._ends) if complete else [],
            inconsistent=inconsistent_offsets(acknowledged if complete else [], read),  # a deleted topic begins again at 0
            poll_order=[place for found in polls_out_of_order(log) for place in found],
            skipped=[place for found in skips(log, known) for place in found],
        )

    def _end_of(self, identity):
        transaction = self._transactions.get(identity)
        return None if transaction is None else self._ends.get(transaction, OPEN)


def out_of_order(sequences):
    """The fewest elements whose removal leaves the rest ascending."""
    tails, tail_indexes, before = [], [], []
    for index, value in enumerate(sequences):
        place = bisect.bisect_left(tails, value)
        before.append(tail_indexes[place - 1] if place else None)
        if place == len(tails):
            tails.append(value)
            tail_indexes.append(index)
        else:
            tails[place], tail_indexes[place] = value, index
    keep, index = set(), tail_indexes[-1] if tail_indexes else None
    while index is not None:
        keep.add(index)
        index = before[index]
    return [value for index, value in enumerate(sequences) if index not in keep]
