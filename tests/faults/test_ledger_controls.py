"""Controls of the ledger: each planted fault is reported, exactly, and nothing else with it.

The log here is a list; the same faults in the log of a real broker are in kafka/test_kafka_ledger_controls.py.
"""

import pytest
from anomalies import ABORTED, COMMITTED, OPEN, inconsistent_offsets, polls_out_of_order, skips
from ledger import NOT_PERSISTED, UNKNOWN, Ledger, LogRecord, out_of_order, pack, unpack


def run_of(count, partition=0, producer=0, ledger=None):
    """A ledger of `count` delivered records and the log that belongs to it."""
    ledger = ledger or Ledger()
    log = []
    for offset in range(count):
        identity, payload = ledger.stamp(producer)
        ledger.delivered(identity, partition, offset)
        log.append(LogRecord(partition, offset, payload))
    return ledger, log


def test_a_faultless_run_has_no_faults():
    ledger, log = run_of(50)
    run_of(20, partition=1, producer=1, ledger=ledger)
    log += run_of(0)[1] + [LogRecord(1, n, pack(ledger.run, 1, n)) for n in range(20)]
    verdict = ledger.verdict(log)
    assert verdict.faults() == {}
    assert (verdict.sent, verdict.delivered, verdict.failed) == (70, 70, 0)


def test_a_dropped_record_is_lost():
    ledger, log = run_of(50)
    del log[17]
    assert ledger.verdict(log).faults() == {"lost": 1}
    assert ledger.verdict(log).lost == [(0, 17)]


def test_a_doubled_record_is_a_duplicate():
    ledger, log = run_of(50)
    log.append(LogRecord(0, 50, log[17].value))
    assert ledger.verdict(log).faults() == {"duplicate": 1}
    log.append(LogRecord(0, 51, log[17].value))
    assert ledger.verdict(log).duplicate == [(0, 17), (0, 17)]


def test_two_swapped_records_are_reordered():
    ledger = Ledger()
    stamped = [ledger.stamp() for _ in range(50)]
    stamped[17], stamped[18] = stamped[18], stamped[17]
    log = []
    for offset, (identity, payload) in enumerate(stamped):
        ledger.delivered(identity, 0, offset)
        log.append(LogRecord(0, offset, payload))
    assert ledger.verdict(log).faults() == {"reordered": 1}


@pytest.mark.parametrize(
    "byte", [0, 5, 13, 20, 30, 99], ids=["magic", "run", "producer", "sequence", "body", "checksum"]
)
@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_flipped_bit_is_corrupt_and_not_lost_too(byte, acknowledged):
    ledger = Ledger()
    log = []
    for offset in range(50):
        identity, payload = ledger.stamp()
        if acknowledged or offset != 17:
            ledger.delivered(identity, 0, offset)
        else:
            ledger.report(identity, UNKNOWN)
        log.append(LogRecord(0, offset, payload))
    damaged = bytearray(log[17].value)
    damaged[byte] ^= 0x10
    log[17] = LogRecord(0, 17, bytes(damaged))
    verdict = ledger.verdict(log)
    assert verdict.faults() == {"corrupt": 1}
    assert verdict.corrupt == [(0, 17)]


@pytest.mark.parametrize("value", [None, b"", b"short", b"x" * 100])
def test_a_value_that_is_none_of_ours_is_corrupt(value):
    ledger, log = run_of(5)
    log.append(LogRecord(0, 5, value))
    assert ledger.verdict(log).faults() == {"corrupt": 1}


def test_a_record_nobody_sent_is_a_phantom():
    ledger, log = run_of(5)
    log.append(LogRecord(0, 5, pack(ledger.run, 0, 5)))  # the sequence after the last
    log.append(LogRecord(0, 6, pack(ledger.run + 1, 0, 2)))  # another run's
    assert ledger.verdict(log).faults() == {"phantom": 2}


def test_a_refused_record_in_the_log_is_a_phantom_and_needs_no_report():
    ledger, log = run_of(5)
    identity, payload = ledger.stamp()
    ledger.refused(identity)
    assert ledger.verdict(log).faults() == {}
    assert ledger.verdict([*log, LogRecord(0, 5, payload)]).faults() == {"phantom": 1}


def test_a_missing_report_is_unreported_whether_the_record_arrived_or_not():
    ledger, log = run_of(5)
    _, payload = ledger.stamp()
    assert ledger.verdict(log).faults() == {"unreported": 1}
    assert ledger.verdict([*log, LogRecord(0, 5, payload)]).faults() == {"unreported": 1}


def test_a_second_report_is_seen():
    ledger, log = run_of(5)
    ledger.delivered((0, 3), 0, 3)
    assert ledger.verdict(log).faults() == {"overreported": 1}


def test_an_unknown_outcome_may_be_in_the_log_and_a_not_persisted_one_may_not():
    for kind, faults in ((UNKNOWN, {}), (NOT_PERSISTED, {"contradicted": 1})):
        ledger, log = run_of(5)
        identity, payload = ledger.stamp()
        ledger.report(identity, kind, code=-192)
        assert ledger.verdict(log).faults() == {}
        assert ledger.verdict([*log, LogRecord(0, 5, payload)]).faults() == faults


def test_a_report_of_another_place_than_the_records_own_is_contradicted():
    ledger, log = run_of(5)
    log[4] = LogRecord(0, 7, log[4].value)
    assert ledger.verdict(log).faults() == {"contradicted": 1}


def test_nothing_is_called_lost_in_a_log_that_is_incomplete():
    ledger, log = run_of(5)
    assert ledger.verdict(log[2:], complete=False).faults() == {}


def test_each_producer_and_partition_has_an_order_of_its_own():
    ledger = Ledger()
    log = []
    for offset in range(10):
        for producer in (0, 1):
            identity, payload = ledger.stamp(producer)
            partition = offset % 2
            ledger.delivered(identity)
            log.append(LogRecord(partition, len(log), payload))
    assert ledger.verdict(log).faults() == {}


def test_out_of_order_names_the_fewest_that_have_to_move():
    assert out_of_order([]) == []
    assert out_of_order([1, 2, 3]) == []
    assert len(out_of_order([1, 3, 2, 4])) == 1
    assert out_of_order([9, 1, 2, 3]) == [9]
    assert len(out_of_order([5, 1, 2, 3, 4, 0])) == 2
    assert len(out_of_order([3, 2, 1])) == 2


def test_a_payload_says_who_it_is():
    payload = pack(7, 1, 2, size=64)
    assert len(payload) == 64
    assert unpack(payload) == (7, 1, 2, True)
    assert len(pack(7, 1, 2, size=0)) == len(pack(7, 1, 2, size=28))


def test_the_ledger_is_restored_from_its_journal(tmp_path):
    path = tmp_path / "journal"
    ledger = Ledger(path)
    kinds = [ledger.stamp() for _ in range(4)]
    ledger.delivered(kinds[0][0], 0, 0)
    ledger.refused(kinds[1][0], -184)
    ledger.report(kinds[2][0], NOT_PERSISTED, code=-192)
    again = Ledger.load(path, ledger.run)  # while the other is still open: nothing may be buffered
    log = [LogRecord(0, 0, kinds[0][1]), LogRecord(0, 1, kinds[2][1])]
    assert again.verdict(log) == ledger.verdict(log)
    assert again.verdict(log).faults() == {"contradicted": 1, "unreported": 1}
    assert again.codes() == {-184, -192}
    ledger.close()


# -- jepsen's rules ----------------------------------------------------------------------------------------------------

def in_transactions(**ends):
    """A ledger of transactions of three delivered records each, and what a reader of all of them finds."""
    ledger, log = Ledger(), []
    for transaction, end in ends.items():
        for _ in range(3):
            identity, payload = ledger.stamp(transaction=transaction)
            ledger.delivered(identity, 0, len(log))
            log.append(LogRecord(0, len(log), payload))
        if end != OPEN:
            ledger.ended(transaction, end)
    return ledger, log


@pytest.mark.parametrize("open_ones", ["read", "not read"])
def test_committed_transactions_are_read_and_aborted_ones_are_not(open_ones):
    ledger, log = in_transactions(a=COMMITTED, b=ABORTED, c=OPEN)
    assert ledger.verdict(log[:3] + (log[6:] if open_ones == "read" else [])).faults() == {}


def test_a_record_of_an_aborted_transaction_is_an_aborted_read():
    ledger, log = in_transactions(a=COMMITTED, b=ABORTED)
    verdict = ledger.verdict(log[:4])
    assert verdict.faults() == {"aborted_read": 1}
    assert verdict.aborted_read == [(0, 3)]


@pytest.mark.parametrize("end, more", [(COMMITTED, {"lost": 1}), (OPEN, {})])
def test_a_transaction_of_which_a_part_is_read_is_torn(end, more):
    ledger, log = in_transactions(a=end)
    verdict = ledger.verdict(log[:2])
    assert verdict.faults() == {"torn": 1, **more}
    assert verdict.torn == [("a", [(0, 0), (0, 1)], [(0, 2)])]


def test_two_records_at_one_place_are_inconsistent():
    ledger, log = run_of(5)
    log.append(LogRecord(0, 4, log[3].value, reader="another"))     # two readers disagree about offset 4
    verdict = ledger.verdict(log)
    assert verdict.faults() == {"inconsistent": 1, "duplicate": 1}
    assert verdict.inconsistent == [((0, 4), (0, 3), (0, 4))]


def test_two_acknowledgements_of_one_place_are_inconsistent():
    acknowledged = [((0, 1), (0, 7)), ((0, 2), (0, 7)), ((0, 3), (1, 7))]
    assert inconsistent_offsets(acknowledged, []) == [((0, 7), (0, 1), (0, 2))]


@pytest.mark.parametrize("polls, place", [((1, 1), "inside"), ((1, 2), "between")])
def test_an_offset_that_goes_back_is_out_of_order(polls, place):
    log = [LogRecord(0, 5, b"", poll=polls[0]), LogRecord(1, 3, b"", poll=polls[0]), LogRecord(0, 4, b"", poll=polls[1])]
    inside, between = polls_out_of_order(log)
    assert (inside, between) == (([(0, 4)], []) if place == "inside" else ([], [(0, 4)]))
    assert polls_out_of_order(sorted(log, key=lambda record: record.offset)) == ([], [])
    ledger, log = run_of(5)
    assert ledger.verdict([*log[:3], log[4], log[3]]).faults() == {"poll_order": 1, "reordered": 1}


@pytest.mark.parametrize("polls, place", [((1, 1), "inside"), ((1, 2), "between")])
def test_what_one_reader_passes_by_and_another_got_is_skipped(polls, place):
    known = {(0, offset) for offset in (1, 2, 4, 9)} | {(1, 3)}
    log = [LogRecord(0, 1, b"", poll=polls[0]), LogRecord(0, 4, b"", poll=polls[1])]
    inside, between = skips(log, known)
    assert (inside, between) == (([(0, 2)], []) if place == "inside" else ([], [(0, 2)]))
    assert skips(log, known - {(0, 2)}) == ([], [])         # a gap that nobody knows a record of: control records
    ledger, log = run_of(5)
    another = [LogRecord(r.partition, r.offset, r.value, reader="another") for r in log if r.offset != 2]
    assert ledger.verdict(log + another).faults() == {"skipped": 1}
