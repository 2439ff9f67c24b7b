"""A payload changes while it is in flight: no crash, one outcome, and only bytes that were written.

Fault F34 against the embedded cluster, which accepts any checksum; kafka/test_kafka_changed_in_flight.py has a real broker.
"""
import pytest
from changed_in_flight import NEW, OLD, forms, written_to
from helpers import consume

from kafkapp import SendOption


def log(broker, topic, count):
    return [message.value() for message in consume(broker, topic, count, crcs=False)]


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("size", [1000, 300_000])
def test_what_is_written_to_in_flight_arrives_in_some_form(broker, topic, faults, codec, size):
    count = faults.rounds(15, 500 if size == 1000 else 15)
    assert written_to(broker, topic, count, size, compression_type=codec) == [None] * count
    if codec == "none":
        seen = forms(log(broker, topic, count), size)
        assert size == 1000 or seen["new"] or seen["mixed"], "nothing was written to in flight"
        faults.figure(**seen)


def test_control_a_copy_is_what_it_was_at_the_call(broker, topic):
    assert written_to(broker, topic, 15, 300_000, SendOption.ToCopyRecordValue) == [None] * 15
    assert forms(log(broker, topic, 15), 300_000) == {"old": 15, "new": 0, "mixed": 0}


def test_control_bytes_that_nobody_wrote_are_detected():
    assert forms([bytes([OLD, NEW])], 2) == {"old": 0, "new": 0, "mixed": 1}
    for value in (b"onx", b"on"):
        with pytest.raises(AssertionError):
            forms([value], 3)
