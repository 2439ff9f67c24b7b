"""ProducerRecord and RecordMetadata: texts, attributes and refusals, without a broker.

The numbers in the tests' names are those of the list of bad inputs that the project keeps.
"""
import copy
import functools
import gc
import os
import pickle
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum

import numpy
import pytest

from kafkapp import Header, Key, PersistedStatus, ProducerRecord, RecordMetadata, Timestamp, Value, _restore_metadata


class Index:
    def __init__(self, number):
        self.number = number

    def __index__(self):
        if isinstance(self.number, Exception):
            raise self.number
        return self.number


class Text(str):
    def __str__(self):
        raise RuntimeError("the raw text is to be used")

    __hash__ = str.__hash__


def metadata(record_id=None, partition=0, latency=1500, offset=0, timestamp=1234, kind=1, status=2):
    return _restore_metadata("t", record_id, partition, latency, offset, timestamp, 3, 4, kind, status)


def test_u1_u2_records_print_as_in_cpp():
    record = ProducerRecord("topic1", 1, Key("key1"), Value("hello world"), 0,
                            headers=[Header("hk1", b"hv1"), Header("hk2", b"hv2")])
    assert str(record) == "topic1-1:0, headers[hk1:hv1,hk2:hv2], key1/hello world"
    record.id, record.value = None, "hello"
    assert str(record) == "topic1-1: headers[hk1:hv1,hk2:hv2], key1/hello"
    record.headers.clear()
    assert str(record) == "topic1-1: key1/hello"
    assert str(ProducerRecord("topic1", None, b"key1", b"hello world", 1000)) == "topic1-NA:1000, key1/hello world"


def by_init(*args, **kwargs):
    class Sub(ProducerRecord):
        pass

    return Sub(*args, **kwargs)


def by_equal_names(*args, **kwargs):
    """Names that are equal to the parameters' and not the same objects."""
    return ProducerRecord(*args, **{"".join(list(name)): value for name, value in kwargs.items()})


WAYS = [ProducerRecord, by_init, by_equal_names, functools.partial(ProducerRecord),
        lambda *args, **kwargs: ProducerRecord.__call__(*args, **kwargs)]


@pytest.mark.parametrize("make", WAYS)
def test_all_ways_of_making_a_record_agree(make):
    def seen(record):
        return (record.topic, record.partition, record.key, record.value, record.id, record.headers, record.timestamp)

    number, header = object(), Header("h", b"")
    full = ("t", 3, b"k", b"v", number, [header], 7)
    assert seen(make("t")) == ("t", None, None, None, None, [], None)
    assert seen(make("t", 3, b"k", b"v", number, headers=[header], timestamp=7)) == full
    assert seen(make(topic="t", partition=3, key=b"k", value=b"v", id=number, headers=[header], timestamp=7)) == full
    assert seen(make("t", value=b"v", id=number)) == ("t", None, None, b"v", number, [], None)
    assert seen(make("t", timestamp=5))[-1] == 5


@pytest.mark.parametrize("make", WAYS)
@pytest.mark.parametrize("args, names, text", [
    ((), {}, "topic|argument"), ((), {"value": b""}, "topic|argument"), (("t", None, None, None, None, []), {}, "argument"),
    (("t",), {"nope": 1}, "nope"), (("t",), {"topic": "t"}, "topic"), (("t", 1), {"partition": 1}, "partition"),
    (("t", 1, b"", b"", 1), {"headers": None, "timestamp": None, "nope": 1}, "argument"),
])
def test_106_wrong_arguments(make, args, names, text):
    with pytest.raises(TypeError, match=text):
        make(*args, **names)


BAD_TOPICS = {"43": (None, TypeError, "topic must be a str, not NoneType"), "44": (b"t", TypeError, "not bytes"),
              "45": (5, TypeError, "not int"), "49": ("a\0b", ValueError, "NUL"), "49 other": ("\u00e9\0", ValueError, "NUL"),
              "50": ("\ud800", ValueError, "topic .*UTF-8")}


@pytest.mark.parametrize("case", BAD_TOPICS)
@pytest.mark.parametrize("make", WAYS[:2])
def test_43_to_50_topics(make, case):
    topic, error, text = BAD_TOPICS[case]
    with pytest.raises(error, match=text):
        make(topic)


@pytest.mark.parametrize("topic", ["", "x" * 600, ".", "a b", "\u00e9", "\U0001f600", "__consumer_offsets"])
def test_46_to_54_topics_that_are_decided_at_send(topic):
    assert ProducerRecord(topic).topic == topic


def test_53_a_subclass_of_str_counts_for_its_text():
    assert ProducerRecord(Text("t")).topic == "t" and type(ProducerRecord(Text("t")).topic) is str
    with pytest.raises(AttributeError):
        ProducerRecord("t").topic = "u"


class Five(IntEnum):
    VALUE = 5


NUMBERS = {
    "55": (-1, ValueError, "None"), "56": (-2, ValueError, "0 to 2147483647"), "57": (2**31, ValueError, "not 2147483648"),
    "57 a": (-2**31, ValueError, "0 to"), "57 b": (2**63, ValueError, "0 to"), "57 c": (10**100, ValueError, "333 bits"),
    "57 d": (Index(2**64), ValueError, "0 to"), "58": (1.0, TypeError, "not float"), "59": ("1", TypeError, "not str"),
    "60": (True, TypeError, "not bool"), "61": (Index(OSError("mine")), OSError, "mine"),
}


@pytest.mark.parametrize("case", NUMBERS)
@pytest.mark.parametrize("make", WAYS[:2])
def test_55_to_61_partitions(make, case):
    partition, error, text = NUMBERS[case]
    record = make("t", 1)
    for refused in (lambda: make("t", partition), lambda: make("t", partition=partition),
                    lambda: setattr(record, "partition", partition)):
        with pytest.raises(error, match=text) as caught:
            refused()
        assert "partition" in str(caught.value) or error is OSError
    assert record.partition == 1


def test_61_63_partitions_that_will_do():
    record = ProducerRecord("t")
    for given, partition in ((0, 0), (2**31 - 1, 2**31 - 1), (Index(3), 3), (numpy.int64(1), 1), (Five.VALUE, 5), (None, None)):
        record.partition = given
        assert record.partition == partition == ProducerRecord("t", given).partition


BAD_TIMES = {
    "95": (0, ValueError, "None: now"), "96": (-5, ValueError, "not -5"), "97": (2**63, ValueError, "not 9223372036854775808"),
    "97 a": (10**100, ValueError, "bits"), "98": (1.5, TypeError, "not float"), "98 nan": (float("nan"), TypeError, "float"),
    "98 bool": (True, TypeError, "not bool"), "98 str": ("1", TypeError, "not str"),
    "99": (datetime(2020, 1, 1), ValueError, r"aware datetime: \.astimezone"),
    "99 early": (datetime(1969, 1, 1, tzinfo=UTC), ValueError, "1969"),
}


@pytest.mark.parametrize("case", BAD_TIMES)
def test_95_to_99_timestamps(case):
    timestamp, error, text = BAD_TIMES[case]
    record = ProducerRecord("t", timestamp=9)
    for refused in (lambda: ProducerRecord("t", timestamp=timestamp), lambda: setattr(record, "timestamp", timestamp)):
        with pytest.raises(error, match=text) as caught:
            refused()
        assert "timestamp" in str(caught.value)
    assert record.timestamp == 9


def test_99_timestamps_that_will_do():
    record = ProducerRecord("t", timestamp=1)
    east = timezone(timedelta(hours=2))
    for given, ms in ((2**63 - 1, 2**63 - 1), (None, None), (numpy.int64(7), 7), (1_700_000_000, 1700000000),
                      (datetime(1970, 1, 1, 2, 0, 1, 234999, tzinfo=east), 1234),
                      (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253402300799999)):
        record.timestamp = given
        assert record.timestamp == ms


def test_subclasses_and_objects_without_init():
    class Mine(ProducerRecord):
        def __init__(self, value):
            super().__init__("mine", value=value)
            self.extra = 1

    assert str(Mine(b"v")) == "mine-NA: [null]/v" and Mine(b"v").extra == 1 and type(Mine(b"v")) is Mine
    bare = ProducerRecord.__new__(ProducerRecord)
    assert (bare.topic, bare.partition, bare.headers, str(bare)) == ("", None, [], "-NA: [null]/[null]")
    record = ProducerRecord("t", id=1, headers=[("a", b"")], timestamp=5)
    record.__init__("u")
    assert (record.topic, record.id, record.headers, record.timestamp) == ("u", None, [], None)


def test_records_release_what_they_were_given():
    key, value, number, header = bytearray(b"k"), bytearray(b"v"), object(), bytearray(b"h")
    things = (key, value, number, header)
    before = [sys.getrefcount(thing) for thing in things]
    made = [ProducerRecord("t", 1, key, value, number, headers=[("h", header)]) for _ in range(100)]
    made += [by_init("t", 1, key, value, number, headers=[("h", header)])]
    assert [sys.getrefcount(thing) for thing in things] == [count + 101 for count in before]
    for record in made[:50]:
        record.key = record.value = record.id = record.headers = None
    del made, record
    gc.collect()        # a class has cycles of its own
    assert [sys.getrefcount(thing) for thing in things] == before


def test_records_in_a_cycle_are_collected():
    class Id:
        alive = 0

        def __init__(self):
            Id.alive += 1

        def __del__(self):
            Id.alive -= 1

    number = Id()
    number.record = ProducerRecord("t", id=number)
    number.record.id = [number.record, number]
    assert "ProducerRecord(...)" in repr(number.record)
    del number
    gc.collect()
    assert Id.alive == 0


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_refused_constructions_leak_nothing():
    held = b"x" * 1000
    objects = numpy.zeros(1, object)
    refusals = [((None,), {}), (("t", -1), {}), (("t", 1.0), {}), (("t", 1, held, 5), {}), (("t\0",), {}),
                (("t", 1, held, memoryview(held)[::2]), {}), (("t", 1, held, objects), {}), (("t",), {"nope": 1}),
                (("t", 1, held), {"headers": [("a", memoryview(held)), ("b", 5)]}), (("t",), {"timestamp": 0})]

    def refuse(times):
        for _ in range(times):
            for args, names in refusals:
                try:
                    ProducerRecord(*args, **names)
                except (TypeError, ValueError, BufferError):
                    continue
                raise AssertionError((args, names))

    refuse(500)
    count, before = sys.getrefcount(held), resident()
    refuse(10_000)
    assert sys.getrefcount(held) == count
    assert resident() - before < 2_000_000          # 100 000 refusals: 20 bytes each would show


def test_metadata_says_what_is_known():
    data = metadata(42)
    assert (data.topic, data.partition, data.offset, data.record_id) == ("t", 0, 0, 42)
    assert (data.key_size, data.value_size, data.latency) == (3, 4, 0.0015)
    assert data.timestamp == Timestamp(1234, Timestamp.Type.CreateTime)
    assert data.persisted_status is PersistedStatus.Done
    unknown = metadata(partition=-1, latency=-1, offset=-1001, timestamp=-1, kind=0, status=0)
    assert (unknown.partition, unknown.offset, unknown.timestamp, unknown.latency) == (-1, None, None, None)
    assert unknown.persisted_status is PersistedStatus.Not
    assert metadata(status=1).persisted_status is PersistedStatus.Possibly


def test_metadata_prints_as_in_cpp():
    assert re.fullmatch(r"t-0@0:id\[42\],LogAppendTime\[19(70|69)-\d\d-\d\d \d\d:\d\d:01\.234\],Persisted", str(metadata(42, kind=2)))
    assert re.fullmatch(r"t-0@7,CreateTime\[.*\],PossiblyPersisted", str(metadata(offset=7, status=1)))
    assert str(metadata(offset=-1001, timestamp=-1, status=0)) == "t-0@NA,NotPersisted"
    assert str(metadata(partition=-1, offset=-1001, timestamp=-1, status=0)) == "t-NA@NA,NotPersisted"
    assert str(metadata()) in repr(metadata())


def test_metadata_does_not_change_and_can_be_kept():
    data = metadata(("id", 1))
    for same in (pickle.loads(pickle.dumps(data)), copy.copy(data), copy.deepcopy(data)):
        assert same == data and hash(same) == hash(data) and str(same) == str(data)
    assert data != metadata(("id", 2)) and data != metadata(("id", 1), latency=2) and data != 5
    for name in ("topic", "partition", "offset", "record_id", "key_size", "value_size", "timestamp", "latency", "new"):
        with pytest.raises(AttributeError):
            setattr(data, name, 1)
    for make in (RecordMetadata, lambda: RecordMetadata("t"), lambda: type("Sub", (RecordMetadata,), {})):
        with pytest.raises(TypeError):
            make()
    assert str(RecordMetadata.__new__(RecordMetadata))
