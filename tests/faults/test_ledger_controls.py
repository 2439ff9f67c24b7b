"""Controls of the ledger: each planted fault is reported, exactly, and nothing else with it.

The log here is a list; the same faults in the log of a real broker are in kafka/test_kafka_ledger_controls.py.
"""

import pytest
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
    log[3] = LogRecord(0, 7, log[3].value)
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
