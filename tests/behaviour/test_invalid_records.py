"""Invalid records: the rows of the numbered fault list on a record's way through a producer.

The ids are the list's numbers. Each is refused by the call, which names the argument; nothing is queued, no callback
runs, no reference and no buffer stays behind. test_invalid_properties.py and test_invalid_calls.py have the other numbers.
"""
import ctypes
import datetime
import gc
import io
import mmap
import sys
import tempfile

import numpy
import pytest
from helpers import held_for_records

from kafkapp import (
    ErrorCode,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    Key,
    ProducerRecord,
    SendOption,
    Value,
)

UTC = datetime.UTC
INVALID_ARG = ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
TOO_LARGE = ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
ROUNDS = 8          # times that each bad call is made: a leak of one reference a call shows as so many


class Index:
    def __init__(self, answer):
        self.answer = answer

    def __index__(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Lying(str):
    def __str__(self):
        raise OSError("asked for its text")


class Broken(list):
    def __iter__(self):
        yield ("a", b"b")
        raise OSError("midway")


@pytest.fixture(scope="module", params=["send", "try_send", "sync"])
def sender(request, broker):
    """A producer and a way to send with it: send(record, callback)."""
    properties = {"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 0}
    if request.param == "sync":
        with KafkaSyncProducer(properties) as producer:
            yield producer, lambda record, callback: producer.send(record, 10)
        return
    with KafkaAsyncProducer(properties) as producer:
        yield producer, getattr(producer, request.param)


def refused(send, record, callback):
    """What the call raised, or, where it returns its errors, what it returned."""
    try:
        error = send(record, callback)
    except Exception as exc:
        exc.__traceback__ = None        # it would hold the arguments
        return exc
    return KafkaException(error) if error is not None else None


def check_refusal(sender, make_record, kind, text):
    """The call fails with this error, again and again, and leaves nothing behind."""
    producer, send = sender
    calls = []

    def callback(metadata, error):
        calls.append(error)

    count = sys.getrefcount(callback)
    for _ in range(ROUNDS):
        try:
            record = make_record()
        except Exception as exc:
            record, error = None, exc.with_traceback(None)
        else:
            error = refused(send, record, callback)
        assert error is not None, "accepted"
        if isinstance(kind, ErrorCode):
            assert isinstance(error, KafkaException) and error.error.code == kind, repr(error)
        else:
            assert type(error) is kind, repr(error)
        for word in text.split("|"):
            assert word in str(error), str(error)
    producer.flush(10)
    assert len(producer) == 0 and not calls
    assert not held_for_records(producer)
    del record, error
    assert sys.getrefcount(callback) == count


# -- topic -------------------------------------------------------------------------------------------------------------

TOPICS = {
    "43": (None, TypeError, "topic|str|NoneType"), "44": (b"t", TypeError, "topic|str|bytes"),
    "45": (5, TypeError, "topic|str|int"), "46": ("", INVALID_ARG, "topic|0 bytes|1 to 512"),
    "49": ("a\0b", ValueError, "topic|NUL"), "50": ("\ud800", ValueError, "topic|UTF-8|surrogate"),
    "52": ("t" * 513, INVALID_ARG, "topic|513 bytes|249"), "52-bytes": ("\u00e9" * 257, INVALID_ARG, "topic|514 bytes"),
}


@pytest.mark.parametrize("number", TOPICS)
def test_topic(sender, number):
    topic, kind, text = TOPICS[number]
    topics = sender[0]._ledger()["topics"]
    check_refusal(sender, lambda: ProducerRecord(topic, value=b"v"), kind, text)
    assert sender[0]._ledger()["topics"] == topics


# What librdkafka and the brokers decide (the embedded ones take any name): sent, with an outcome of its own.
DECIDED = {"47-.": ".", "47-..": "..", "48-space": "a b", "48-slash": "a/b", "48-accent": "\u00e9", "48-emoji": "\U0001f600",
           "51-249": "t" * 249, "51-250": "t" * 250, "52-512": "t" * 512, "53": Lying("t-53"), "54": "__consumer_offsets"}


@pytest.mark.parametrize("number", DECIDED)
def test_topic_that_the_broker_decides(broker, number):
    topic = DECIDED[number]
    properties = {"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 3000, "linger.ms": 0}
    outcomes = []
    with KafkaAsyncProducer(properties) as producer:
        producer.send(ProducerRecord(topic, value=b"v"), lambda metadata, error: outcomes.append(metadata))
    metadata, = outcomes
    assert metadata.topic == topic and type(metadata.topic) is str


# -- partition, timestamp, option and the record itself ----------------------------------------------------------------

FIELDS = {
    "55": ("partition", -1, ValueError, "partition|None"), "56": ("partition", -2, ValueError, "partition|2147483647|-2"),
    "57": ("partition", 2**31, ValueError, "partition|2147483648"),
    "57-low": ("partition", -2**31, ValueError, "partition|-2147483648"),
    "57-63": ("partition", 2**63, ValueError, "partition|9223372036854775808"),
    "57-huge": ("partition", 10**100, ValueError, "partition|333 bits"),
    "57-endless": ("partition", 1 << 10**6, ValueError, "partition|1000001 bits"),
    "58": ("partition", 1.0, TypeError, "partition|float"), "59": ("partition", "1", TypeError, "partition|str"),
    "60": ("partition", True, TypeError, "partition|bool"),
    "61": ("partition", Index(OSError("mine")), OSError, "mine"),
    "61-wrong": ("partition", Index("1"), TypeError, "__index__"),
    "83-str": ("headers", "ab", TypeError, "headers|list|str"), "83-set": ("headers", {("a", b"")}, TypeError, "headers|set"),
    "83-iterator": ("headers", iter([("a", b"")]), TypeError, "headers|list|list_iterator"),
    "84": ("headers", [("a",)], ValueError, "header|pair|1"), "84-3": ("headers", [("a", b"", 1)], ValueError, "header|pair|3"),
    "85": ("headers", [(b"a", b"")], TypeError, "header|name|bytes"),
    "87": ("headers", [("a\0b", b"")], ValueError, "header|name|NUL"),
    "88": ("headers", [("\ud800", b"")], ValueError, "header|name|UTF-8"),
    "89": ("headers", [("a", 5)], TypeError, "header|'a'|int"), "90": ("headers", [("a", "\ud800")], ValueError, "header|'a'|UTF-8"),
    "92": ("headers", Broken(), OSError, "midway"),
    "95": ("timestamp", 0, ValueError, "timestamp|None: now"), "96": ("timestamp", -1, ValueError, "timestamp|-1"),
    "96-5": ("timestamp", -5, ValueError, "timestamp|-5"), "97": ("timestamp", 2**63, ValueError, "timestamp|9223372036854775807"),
    "98": ("timestamp", 1.5, TypeError, "timestamp|float"), "98-nan": ("timestamp", float("nan"), TypeError, "timestamp|float"),
    "98-bool": ("timestamp", True, TypeError, "timestamp|bool"),
    "99": ("timestamp", datetime.datetime(2024, 1, 1), ValueError, "timestamp|aware"),
    "99-old": ("timestamp", datetime.datetime(1969, 1, 1, tzinfo=UTC), ValueError, "timestamp"),
    "106": ("colour", 1, TypeError, "colour"),
}


@pytest.mark.parametrize("number", FIELDS)
def test_field(sender, topic, number):
    name, what, kind, text = FIELDS[number]
    check_refusal(sender, lambda: ProducerRecord(topic, value=b"v", **{name: what}), kind, text)

    def changed():
        record = ProducerRecord(topic, value=bytearray(b"v"), headers=[("good", bytearray(b"g"))])
        setattr(record, name, what)
        return record

    check_refusal(sender, changed, AttributeError if number == "106" else kind, text)


# Accepted: the value that does, after the number of the bad one beside it.
GOOD = {"61": ("partition", Index(1)), "63": ("partition", numpy.int64(1)), "83": ("headers", {"b": b"1", "a": None}),
        "86": ("headers", [("", b"")]), "94": ("headers", [("a", b"1"), ("a", b"2")]), "99": ("timestamp",
        datetime.datetime(2024, 1, 1, tzinfo=UTC)), "100": ("timestamp", 1_700_000_000), "67": ("value", None),
        "68": ("value", b""), "82": ("key", b""), "82-null": ("key", None), "81-str": ("key", "k"), "65": ("value", "text"),
        "61-zero": ("partition", 0), "70-whole": ("value", memoryview(b"abc")), "71-C": ("value", numpy.ones((2, 3)))}


@pytest.mark.parametrize("number", GOOD)
def test_field_that_will_do(sender, topic, number):
    producer, send = sender
    name, what = GOOD[number]
    outcomes = []
    answer = send(ProducerRecord(topic, **{name: what}), lambda metadata, error: outcomes.append((metadata, error)))
    producer.flush(10)
    metadata, error = outcomes[0] if outcomes else (answer, None)
    assert error is None and metadata.offset is not None and (name != "partition" or metadata.partition == int(what.__index__()))
    assert not held_for_records(producer)


@pytest.mark.parametrize("number", [n for n in FIELDS if n[:2] in ("84", "85", "87", "88", "89", "90")])
def test_header_that_was_put_into_the_list(sender, topic, number):
    """The list is the user's to change: the send finds what the record could not."""
    _, headers, kind, text = FIELDS[number]
    held = bytearray(b"held")

    def changed():
        record = ProducerRecord(topic, value=held, headers=[("good", held)])
        record.headers.extend(headers)
        return record

    check_refusal(sender, changed, kind, text)
    held.append(1)                      # its buffer is not pinned any more


def test_91_headers_without_end(sender, topic):
    producer, send = sender
    outcomes = []
    headers = [("name", b"x" * 8)] * 200_000          # 3 MB: more than message.max.bytes
    error = refused(send, ProducerRecord(topic, value=b"v", headers=headers), lambda _, error: outcomes.append(error))
    producer.flush(10)
    codes = [one.code for one in outcomes] or [error.error.code]
    assert codes == [TOO_LARGE]
    assert producer._ledger()["states"] == 0


@pytest.mark.parametrize("what", [None, b"t", {"topic": "t"}, ("t", b"v"), ProducerRecord, object()],
                         ids=lambda what: f"107-{type(what).__name__}")
def test_no_record(sender, what):
    check_refusal(sender, lambda: what, TypeError, "record|ProducerRecord")


def test_108_a_record_changed_after_the_send(sender, topic):
    producer, send = sender
    record, outcomes = ProducerRecord(topic, 1, b"k", b"value", id=1, headers=[("a", b"b")]), []
    answer = send(record, lambda metadata, error: outcomes.append(metadata))
    record.partition, record.key, record.value, record.id, record.headers = 0, None, None, 2, None
    producer.flush(10)
    metadata = outcomes[0] if outcomes else answer
    assert (metadata.partition, metadata.key_size, metadata.value_size, metadata.record_id) == (1, 1, 5, 1)


# -- key and value -----------------------------------------------------------------------------------------------------

def released():
    view = memoryview(b"abc")
    view.release()
    return view


def closed_mmap():
    with mmap.mmap(-1, 10) as memory:
        return memory


DATA = {
    "64": (lambda: 5, TypeError, "bytes-like|int"), "64-float": (lambda: 1.5, TypeError, "bytes-like|float"),
    "65": (lambda: "a\ud800", ValueError, "UTF-8"), "66": (lambda: [b"a"], TypeError, "bytes-like|list"),
    "66-dict": (dict, TypeError, "bytes-like|dict"), "69": (released, ValueError, "released"),
    "70": (lambda: memoryview(b"abcdef")[::2], BufferError, "C-contiguous|.tobytes()"),
    "71": (lambda: numpy.asfortranarray(numpy.ones((2, 3))), BufferError, "C-contiguous|.tobytes()"),
    "72": (lambda: numpy.array([1, "a"], dtype=object), TypeError, "objects|ndarray"),
    "72-ctypes": (lambda: (ctypes.py_object * 2)(1, 2), TypeError, "objects"),
    "73": (lambda: (x for x in b""), TypeError, "bytes-like|generator"),
    "73-file": (lambda: io.BytesIO(b"a"), TypeError, "bytes-like|BytesIO"),
    "78": (closed_mmap, ValueError, "closed"),
}


@pytest.mark.parametrize("name", ["value", "key"])
@pytest.mark.parametrize("number", DATA)
def test_data(sender, topic, number, name):
    make, kind, text = DATA[number]
    text += "" if number in ("69", "78") else f"|{name}"    # those are Python's own words
    held = bytearray(b"held")
    other = "key" if name == "value" else "value"
    count = sys.getrefcount(held)
    check_refusal(sender, lambda: ProducerRecord(topic, **{name: make(), other: held}), kind, text)
    gc.collect()
    assert sys.getrefcount(held) == count
    held.append(1)


@pytest.mark.parametrize("wrap", [lambda data: data, Value, Key], ids=["raw", "Value", "Key"])
@pytest.mark.parametrize("name", ["value", "key"])
@pytest.mark.parametrize("number", ["69", "78"])
def test_data_that_went_away_after_the_record_was_made(sender, topic, number, name, wrap):
    held = bytearray(b"held")

    def spoiled():
        data = memoryview(b"abc") if number == "69" else mmap.mmap(-1, 10)
        record = ProducerRecord(topic, **{"key": held, "value": held, name: wrap(data)}, headers=[("h", held)])
        data.release() if number == "69" else data.close()
        return record

    check_refusal(sender, spoiled, ValueError, "released" if number == "69" else "closed")
    held.append(1)


def test_74_a_bytearray_in_flight_cannot_be_resized():
    with KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "linger.ms": 60000}) as producer:
        value = bytearray(b"value")
        producer.send(ProducerRecord("t", value=value))
        with pytest.raises(BufferError):
            value.append(1)
        producer.purge()
        producer.close(0)
    value.append(1)


def large(size):
    """So much memory of zeros that nobody has written to: a file with a hole."""
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


@pytest.mark.parametrize("option", SendOption, ids=["no-copy", "copy"])
@pytest.mark.parametrize("name", ["value", "key"])
@pytest.mark.parametrize(("number", "size"), [("75", 2_000_000), ("76", 2**31), ("76-max", 2**31 - 1), ("76-4G", 2**32 + 5),
                                              ("77", 3 * 2**30)])
def test_size(broker, topic, number, size, name, option):
    calls = []
    with KafkaAsyncProducer({"bootstrap.servers": broker.bootstrap_servers}) as producer, large(size) as memory:
        record = ProducerRecord(topic, **{name: memory})
        for _ in range(3):
            with pytest.raises(KafkaException, match=f"{size}.*message.max.bytes is 1000000") as caught:
                producer.send(record, lambda *report: calls.append(report), option)
            assert caught.value.error.code == TOO_LARGE and isinstance(caught.value, ValueError)
            error = producer.try_send(record, lambda *report: calls.append(report), option)
            assert error.code == TOO_LARGE and str(size) in error.message
        assert len(producer) == 0 and producer._ledger()["states"] == producer._ledger()["buffers"] == 0
        producer.flush(10)
        assert not calls
        del record, caught              # the memory can be unmapped, below: nothing holds it


def test_62_a_partition_that_the_topic_does_not_have(sender, topic):
    """Before the topic's partitions are known the report says so; then the call does."""
    producer, send = sender
    outcomes = []

    def outcome():
        error = refused(send, ProducerRecord(topic, 5, value=b"v"), lambda _, error: outcomes.append(error))
        producer.flush(10)
        return error.error if error is not None else outcomes.pop()

    first, second = outcome(), outcome()
    assert first.code == second.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    assert "5" in second.message and topic in second.message and not outcomes
    assert producer._ledger()["states"] == 0
