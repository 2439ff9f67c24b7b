"""Faulty Arrow arrays: every field of both structs is checked, and every array is released once."""
import ctypes
import gc
import sys

import pyarrow as pa
import pytest
from arrow_structs import RELEASE_ARRAY, RELEASE_SCHEMA, Exporter
from batches import balanced, new_producer, offline
from readback import read_messages

HUGE = 2**63 - 1
BINARY = (None, (0, 1, 3, 6), b"abbccc")
LARGE = {"format": b"Z", "offset_type": ctypes.c_int64}
FIXED = {"format": b"w:2", "buffers": (None, b"aabbcc")}
# Three views: two short ones, and one of 20 bytes in the only buffer.
SHORT = (1).to_bytes(4, "little") + b"a" + bytes(11)
LONG = b"".join(number.to_bytes(4, "little") for number in (20, 0, 0, 0))
SIZES = (20).to_bytes(8, sys.byteorder)
VIEWS = {"format": b"vz", "buffers": (None, SHORT + SHORT + LONG, b"x" * 20, SIZES)}


@pytest.fixture(scope="module")
def producer():
    with offline("manual") as producer:
        yield producer


def test_what_the_exporter_makes_is_right(broker, topic):
    for kind in ({}, LARGE, FIXED, VIEWS, {"format": b"u"}):
        exporter = Exporter(**kind)
        with new_producer("sync", broker.bootstrap_servers) as producer:
            assert producer.send_batch(topic, exporter, partition=0).accepted == 3
        assert exporter.released == 1
    expected = 2 * [b"a", b"bb", b"ccc"] + [b"aa", b"bb", b"cc"] + [b"a", b"a", b"x" * 20] + [b"a", b"bb", b"ccc"]
    assert [message.value() for message in read_messages(broker.bootstrap_servers, topic)] == expected


# Of the array: what is set, and what the error says.
WRONG = {
    "length": ({}, {"length": -1}, "length is negative"), "length, least": ({}, {"length": -2**63}, "length is negative"),
    "offset": ({}, {"offset": -1}, "offset is negative"), "huge offset": ({}, {"offset": HUGE}, "more than memory"),
    "huge length": ({}, {"length": HUGE}, "more than memory|too many"), "huge both": ({}, {"length": HUGE // 16, "offset": HUGE // 8}, "more than|too many"),
    "huge nulls": ({"format": b"n", "buffers": ()}, {"length": HUGE, "offset": HUGE}, "more than memory|too many"),
    "many nulls": ({"format": b"n", "buffers": ()}, {"length": 2**33}, "too many for one batch"),
    "nulls": ({"format": b"n", "buffers": ()}, {"length": -5}, "length is negative"),
    "null_count": ({}, {"null_count": -2}, "null_count"), "null_count, more": ({}, {"null_count": 4}, "null_count"),
    "nulls without bitmap": ({}, {"null_count": 1}, "no bitmap"),
    "n_buffers": ({}, {"n_buffers": 2}, "number of buffers"), "n_buffers, more": ({}, {"n_buffers": 4}, "number of buffers"),
    "n_buffers, none": ({}, {"n_buffers": 0}, "number of buffers"), "n_buffers, negative": ({}, {"n_buffers": -3}, "number of buffers"),
    "n_buffers of views": (VIEWS, {"n_buffers": 2}, "number of buffers"), "huge n_buffers": (VIEWS, {"n_buffers": HUGE}, "number of"),
    "n_buffers of fixed": (FIXED, {"n_buffers": 3}, "number of buffers"),
    "buffers": ({}, {"buffers": None}, "no buffers"), "buffers of views": (VIEWS, {"buffers": None}, "no buffers"),
    "n_children": ({}, {"n_children": 1}, "children"), "n_children, negative": ({}, {"n_children": -1}, "children"),
    "dictionary": ({}, {"dictionary": 8}, "dictionary"),
    "no offsets": ({"buffers": (None, None, b"abc")}, {}, "no offsets"), "no data": ({"buffers": (None, (0, 1, 3, 6), None)}, {}, "no data"),
    "no large data": ({**LARGE, "buffers": (None, (0, 1, 3, 6), None)}, {}, "no data"),
    "no fixed data": ({"format": b"w:2", "buffers": (None, None)}, {}, "no data"),
    "no views": ({"format": b"vz", "buffers": (None, None, b"x", SIZES)}, {}, "no views"),
    "no sizes": ({"format": b"vz", "buffers": (None, SHORT * 3, b"x", None)}, {}, "how large"),
    "no buffer of views": ({"format": b"vz", "buffers": (None, SHORT * 3, None, SIZES)}, {}, "missing"),
    "negative size": ({"format": b"vz", "buffers": (None, SHORT * 3, b"x", b"\xff" * 8)}, {}, "negative"),
    "offsets back": ({"buffers": (None, (0, 3, 1, 6), b"abbccc")}, {}, r"offsets\[2\]"),
    "offsets beyond": ({"buffers": (None, (0, 9, 1, 6), b"abbccc")}, {}, r"offsets\[1\]"),
    "offsets negative": ({"buffers": (None, (-1, 1, 3, 6), b"abbccc")}, {}, r"offsets\[0\]"),
    "last negative": ({**LARGE, "buffers": (None, (0, 0, 0, -2**63), b"abbccc")}, {}, r"offsets\[0\]|offsets\[3\]"),
    "wide": ({"format": b"w:2147483647", "buffers": (None, b"")}, {"length": 2**33, "offset": 2**33}, "more than memory|too many"),
}


@pytest.mark.parametrize("argument", ["values", "keys"])
@pytest.mark.parametrize("case", WRONG)
def test_a_field_that_cannot_be(producer, case, argument):
    made, fields, text = WRONG[case]
    exporter = Exporter(**made)
    for name, value in fields.items():
        setattr(exporter.array, name, value)
    with pytest.raises(ValueError, match=f"(?s){argument}.*({text})") as caught:
        producer.send_batch("t", **{"values": [b"a", b"b", b"c"], argument: exporter})
    assert type(caught.value) is ValueError
    del caught
    gc.collect()
    assert exporter.released == 1 and balanced(producer)


def test_buffers_of_nothing_may_be_missing(producer):
    for made in ({"buffers": (None, None, None)}, {"format": b"w:3", "buffers": (None, None)}, {"format": b"vz", "buffers": (None, None, None)}):
        exporter = Exporter(length=0, **made)
        assert producer.send_batch("t", exporter).done and exporter.released == 1
    exporter = Exporter(buffers=(None, (5, 5, 5, 5), None))         # empty values, all of them
    batch = producer.send_batch("t", exporter)
    assert batch.accepted == 3 and exporter.released == 0
    producer.purge()
    assert batch.wait(10) and exporter.released == 1


def test_offsets_and_views_need_not_be_aligned(broker, topic):
    """As in a file that is mapped behind a header of odd size; AddressSanitizer's build says whether they are read rightly."""
    for kind, place in ((LARGE, 1), ({}, 1), (VIEWS, 1)):
        exporter = Exporter(**kind)
        size = ctypes.sizeof(exporter.memory[place])
        moved = ctypes.create_string_buffer(size + 1)
        ctypes.memmove(ctypes.addressof(moved) + 1, exporter.memory[place], size)
        exporter.array.buffers[place] = ctypes.addressof(moved) + 1
        with new_producer("sync", broker.bootstrap_servers) as producer:
            assert not producer.send_batch(topic, exporter, partition=0).failures()
    assert [m.value() for m in read_messages(broker.bootstrap_servers, topic)] == 2 * [b"a", b"bb", b"ccc"] + [b"a", b"a", b"x" * 20]


@pytest.mark.parametrize("form", [b"w:-1", b"w:", b"w:x", b"w:1_0", b"w: 3", b"w:99999999999999999999", b"zz", b"", b"v", b"vx", b"i", b"+s",
                                  b"\xff\xfe", b"tss:"])
def test_a_format_that_is_none_of_bytes(producer, form):
    exporter = Exporter(format=form)
    with pytest.raises(TypeError, match="values must be an Arrow array of binary, string or fixed-size.*not of format"):
        producer.send_batch("t", exporter)
    assert exporter.released == 0       # it was not taken: its capsule's owner has it still


def test_a_schema_that_cannot_be(producer):
    exporter = Exporter()
    exporter.schema.format = None
    with pytest.raises(ValueError, match="values: a malformed Arrow schema: it has no format"):
        producer.send_batch("t", exporter)
    exporter = Exporter()
    exporter.schema.release = RELEASE_SCHEMA()
    with pytest.raises(ValueError, match="keys: the Arrow schema was consumed or released already"):
        producer.send_batch("t", [b"a"], keys=exporter)
    exporter = Exporter()
    exporter.schema.n_children = 1
    with pytest.raises(TypeError, match="cast it first"):
        producer.send_batch("t", exporter)
    assert exporter.released == 0


@pytest.mark.parametrize("names", [(b"arrow_array", b"arrow_schema"), (b"arrow_schema", b"used_arrow_array"), (b"arrow_schema", b"arrow_array_stream"),
                                   (b"dltensor", b"arrow_array")], ids=repr)
def test_a_capsule_of_another_kind(producer, names):
    with pytest.raises(TypeError, match="values: __arrow_c_array__.. did not return a schema and an array"):
        producer.send_batch("t", Exporter(names=names))


def test_capsules_of_a_tuple_with_a_mind_of_its_own(producer):
    """What it gave when it was asked once is what is looked at, held and read: nothing else keeps that alive."""
    class Fickle(tuple):
        def __getitem__(self, place):
            asked.append(place)
            return pa.array([b"y" * 1000] * 3).__arrow_c_array__()[place]

    class Giving(Exporter):
        def __arrow_c_array__(self, requested_schema=None):
            return Fickle(super().__arrow_c_array__())

    asked, exporter = [], Giving()
    batch = producer.send_batch("t", exporter)
    assert asked == [] and batch.accepted == 3
    producer.purge()
    assert batch.wait(10) and exporter.released == 1


class Cached:
    """An exporter that gives the same capsules each time, as a careless one may."""

    def __init__(self, array):
        self.capsules = array.__arrow_c_array__()

    def __arrow_c_array__(self, requested_schema=None):
        return self.capsules


@pytest.mark.parametrize("argument", ["values", "keys"])
def test_an_array_that_another_library_has_taken(producer, argument):
    exporter = Cached(pa.array([b"x"] * 3))
    assert len(pa.array(exporter)) == 3
    with pytest.raises(ValueError, match=f"{argument}: the Arrow (schema|array) was consumed or released already"):
        producer.send_batch("t", **{"values": [b"a", b"b", b"c"], argument: exporter})


def test_what_we_have_taken_no_other_library_can_take(producer):
    """It is this batch's memory while the batch is in flight: another owner would free it under librdkafka."""
    exporter = Cached(pa.array([b"x"] * 3))
    batch = producer.send_batch("t", exporter)
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        pa.array(exporter)
    with pytest.raises(ValueError, match="values: the Arrow (schema|array) was consumed"):
        producer.send_batch("t", exporter)
    with pytest.raises(ValueError, match="keys: the Arrow array was consumed"):
        both = Cached(pa.array([b"x"] * 3))
        producer.send_batch("t", both, keys=both)
    producer.purge()
    assert batch.wait(10)


def test_an_array_is_released_once_whatever_becomes_of_the_call(producer):
    refused = [{"topic": "a\0b"}, {"topic": ""}, {"partition": -5}, {"headers": [("h", 5)]}, {"keys": [b"k"]}, {"timestamps": 0}]
    for arguments in refused:
        exporter = Exporter()
        with pytest.raises(ValueError if "headers" not in arguments else TypeError):
            producer.send_batch(**{"topic": "t", "values": exporter, **arguments})
        gc.collect()
        assert exporter.released == (0 if "a\0b" in arguments.values() else 1), arguments     # the topic is looked at first
    exporter = Exporter()
    batch = producer.send_batch("t", exporter)
    exporter.batch = batch              # a cycle, through what Arrow's struct cannot show the garbage collector
    assert exporter.released == 0
    producer.purge()
    assert batch.wait(10) and exporter.released == 1


def test_an_arrow_release_that_is_null_is_never_called():
    exporter = Exporter()
    exporter.array.release = RELEASE_ARRAY()
    with offline("manual") as producer, pytest.raises(ValueError, match="the Arrow array was consumed"):
        producer.send_batch("t", exporter)
    assert exporter.released == 0
