"""A payload changes while it is in flight, and the broker verifies checksums: what the user gets (F34).

librdkafka copies small and compressed values into the request and computes the checksum of the copy; larger ones are sent from
the user's memory, and what was changed after the checksum was computed the broker refuses. librdkafka 2.0.2 fails it at once,
newer ones try again, with a new checksum, until it holds or the record's time is over.
"""
import pytest
from changed_in_flight import forms, written_to
from proxy import PRODUCE
from readback import read_log_with_kafka_python, read_messages

from kafkapp import ErrorCode, SendOption

REFUSED = ErrorCode.RD_KAFKA_RESP_ERR_INVALID_MSG        # Kafka's CORRUPT_MESSAGE
CASES = [("none", 1000, False), ("none", 300_000, False), ("none", 300_000, True), ("lz4", 1000, False), ("lz4", 300_000, False)]


@pytest.mark.parametrize("codec, size, idempotent", CASES)
def test_written_to_in_flight(kafka_nodes, make_topic, proxies, faults, codec, size, idempotent):
    topic, count = make_topic(), faults.rounds(12 if size > 65_535 else 4, 300)
    before = proxies.count("request", PRODUCE)
    errors = written_to(proxies.bootstrap_servers, topic, count, size, compression_type=codec, enable_idempotence=idempotent)
    requests = proxies.count("request", PRODUCE) - before
    messages = read_messages(kafka_nodes.bootstrap_servers, topic)        # checks checksums
    again = read_log_with_kafka_python(kafka_nodes.bootstrap_servers, topic)
    assert [m.value() for m in messages] == [record.value for record in again]
    codes = {error.code for error in errors if error}
    there = [int(m.key()) for m in messages]
    outcomes = {code: {number for number, error in enumerate(errors) if (error and error.code) == code} for code in (None, REFUSED)}
    assert len(set(there)) == len(there) and outcomes[None] <= set(there) and not outcomes[REFUSED] & set(there)
    if codec == "none" and size > 65_535:       # message.copy.max.bytes
        assert codes <= {REFUSED, ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT}, codes
        assert codes or requests > count, "nothing was refused, so nothing was tried"
    else:
        assert not codes, "copied before its checksum was computed"
    faults.figure(**forms([m.value() for m in messages], size), failed=sum(map(bool, errors)),
                  codes=sorted(code.name for code in codes), requests=requests)


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_copy_is_what_it_was_at_the_call(kafka_nodes, make_topic, faults, size):
    topic, count = make_topic(), faults.rounds(5, 200)
    errors = written_to(kafka_nodes.bootstrap_servers, topic, count, size, SendOption.ToCopyRecordValue)
    assert errors == [None] * count
    assert forms([m.value() for m in read_messages(kafka_nodes.bootstrap_servers, topic)], size) == {"old": count, "new": 0, "mixed": 0}
