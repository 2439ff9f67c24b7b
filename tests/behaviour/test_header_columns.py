"""Headers of each record of a batch: lists, Arrow's maps and lists of pairs. Each arrives with its record, or its row is named."""
import ctypes
import gc

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from arrow_structs import Exporter, StreamExporter, with_children
from batches import KINDS, QUEUE_FULL, balanced, new_producer, offline
from faultkit import rss, trim
from readback import read_messages

from kafkapp import ErrorCode, Header, SendOption

TOO_LARGE = ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
MAPS = pa.map_(pa.string(), pa.binary())
PAIRS = [("key", pa.string()), ("value", pa.binary())]
ROWS = [[("a", b"1"), ("b", None), ("a", b"")], None, [], [("ß", b"a value of more than twelve bytes")]]
EXPECTED = [[("a", b"1"), ("b", None), ("a", b"")], None, None, [("ß", b"a value of more than twelve bytes")]]
DICTIONARY = pa.dictionary(pa.int8(), pa.string())


def dicts(rows):
    """As the items of an array of structs."""
    return [row if row is None else [dict(zip(("key", "value"), pair, strict=True)) for pair in row] for row in rows]


def lists(kind, key="key", value="value", of=pa.list_):
    """An Arrow array of ROWS as lists of structs whose values have this type."""
    return pa.array(dicts(ROWS), of(pa.struct([(key, pa.string()), (value, kind)])))


MAP = pa.array(ROWS, MAPS)
POLARS = pl.Series(dicts(ROWS), dtype=pl.List(pl.Struct({"key": pl.String, "value": pl.Binary})))
SWAPPED = pa.array(dicts(ROWS), pa.list_(pa.struct(PAIRS[::-1])))
ENCODED = pa.MapArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array(["x", "y", "x"]).dictionary_encode(),
                                  pa.array(["1", None, "2"]).dictionary_encode())
SOURCES = {
    "a list": (ROWS, EXPECTED), "a tuple": (tuple(ROWS), EXPECTED), "None first": ([None, [("h", b"1")]], [None, [("h", b"1")]]),
    "dicts": ([{"a": b"1", "b": "text"}, {}], [[("a", b"1"), ("b", b"text")], None]), "nothing first": ([[], {"a": None}], [None, [("a", None)]]),
    "Header": ([[Header("a", "text")], (Header("b", None), ("c", memoryview(b"3")))], [[("a", b"text")], [("b", None), ("c", b"3")]]),
    "no list": ([None, None], [None, None]), "lists of lists": ([[["a", b"1"], ["b", b"2"]]], [[("a", b"1"), ("b", b"2")]]),
    "a map": (MAP, EXPECTED), "a slice": (MAP[1:], EXPECTED[1:]), "the end": (MAP[3:], EXPECTED[3:]),
    "a map of text": (pa.array([[("k", "ß")]], pa.map_(pa.string(), pa.string())), [[("k", "ß".encode())]]),
    "a map of views": (pa.array(ROWS, pa.map_(pa.string_view(), pa.binary_view())), EXPECTED), "bytes": (pa.array(ROWS[:1], pa.map_(pa.binary(), pa.large_binary())), EXPECTED[:1]),
    "a map of fixed size": (pa.array([[("k", b"abc")], [("k", None)]], pa.map_(pa.large_string(), pa.binary(3))), [[("k", b"abc")], [("k", None)]]),
    "a map of nulls": (pa.array([[("k", None)]], pa.map_(pa.string(), pa.null())), [[("k", None)]]), "dictionaries": (ENCODED, [[("x", b"1"), ("y", None)], [("x", b"2")]]),
    "a list of structs": (lists(pa.binary()), EXPECTED), "a large list": (lists(pa.binary(), of=pa.large_list), EXPECTED),
    "value before key": (SWAPPED, EXPECTED), "a slice of structs": (pa.concat_arrays([SWAPPED, SWAPPED])[2:6], [*EXPECTED[2:], *EXPECTED[:2]]),
    "chunks": (pa.chunked_array([MAP[1:], MAP[:0], MAP]), EXPECTED[1:] + EXPECTED), "no chunk": (pa.chunked_array([], MAPS), []),
    "chunks of structs": (pa.chunked_array([SWAPPED, SWAPPED[2:]]), EXPECTED + EXPECTED[2:]), "a column of a table": (pa.table({"h": MAP})["h"], EXPECTED),
    "nothing but nulls": (pa.array([None, None], MAPS), [None, None]), "no row": (pa.array([], MAPS), []), "of no type": (pa.nulls(2), [None, None]),
    "polars": (POLARS, EXPECTED), "polars, appended": (POLARS.head(1).append(POLARS), EXPECTED[:1] + EXPECTED), "polars, a slice": (POLARS[3:], EXPECTED[3:]),
    "pandas": (pd.Series(MAP, dtype=pd.ArrowDtype(MAPS)), EXPECTED), "pandas, objects": (pd.Series([{"a": b"1"}, None]).to_list(), [[("a", b"1")], None]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_record_has_its_own(broker, topic, name):
    given, expected = SOURCES[name]
    values, stamps = [b"%d" % i for i in range(len(expected))], pa.array([7] * len(expected))
    with new_producer("sync", broker.bootstrap_servers) as producer:
        for more in ({}, {"timestamps": stamps, "option": SendOption.ToCopyRecordValue}):
            batch = producer.send_batch(topic, values, headers=given, partition=0, keys="k", **more)
            assert batch.done and not batch.failures() and balanced(producer)
    messages = read_messages(broker.bootstrap_servers, topic) if expected else []
    assert [message.headers() for message in messages] == expected * 2
    assert [message.value() for message in messages] == values * 2 and all(message.key() == b"k" for message in messages)


@pytest.mark.parametrize("headers", [[("a", b"1"), ("b", b"2")], [["a", b"1"]], (Header("a", b"1"),), {"a": b"1"}, [], None], ids=repr)
def test_those_of_all_are_told_from_those_of_each(broker, topic, headers):
    expected = [tuple(pair) for pair in (headers.items() if isinstance(headers, dict) else headers or [])
                if not isinstance(pair, Header)] or ([("a", b"1")] if headers else None)
    with new_producer("sync", broker.bootstrap_servers) as producer:
        producer.send_batch(topic, [b"1", b"2", b"3"], headers=headers, partition=0)
    assert [message.headers() for message in read_messages(broker.bootstrap_servers, topic)] == [expected] * 3


BAD = {
    "a value": ([None, [("h", 5)]], TypeError, r"^headers\[1\]: the value of header 'h' must be .*, not int$"),
    "NaN": ([[], {"h": float("nan")}], TypeError, r"^headers\[1\]: the value of header 'h' is NaN: use None for null$"),
    "a name": ([None, {5: b""}], TypeError, r"^headers\[1\]: a header's name must be a str, not int$"), "NUL": ([{"a\0b": b""}], ValueError, r"^headers\[0\]: a header's name"),
    "half a letter": ([None, {"\ud800": b""}], ValueError, r"^headers\[1\]: a header's name"), "a str": ([None, "h"], TypeError, r"^headers\[1\] must be a list of"),
    "a pair": ([[("a", b"")], ("a", b"")], TypeError, r"^headers\[1\]: a header must be a Header or a pair of a name and a value, not str$"),
    "three things": ([None, [("a", b"", 1)]], ValueError, r"^headers\[1\]: a header must be a pair of a name and a value, not 3 items$"),
    "none at all": ([None, [None]], TypeError, r"^headers\[1\]: a header must be a Header or a pair .* not NoneType$"),
    "gaps": ([None, {"h": memoryview(b"abcd")[::2]}], BufferError, r"^headers\[1\]: the value of header 'h' must be C-contiguous"),
    "too few": ([None], ValueError, "^headers: 1 entries for 2 values$"), "too many": ([{}] * 3, ValueError, "^headers: 3 entries for 2 values$"),
    "none for two": (pa.array([], MAPS), ValueError, "^headers: 0 entries for 2 values$"), "chunks": (pa.chunked_array([MAP, MAP]), ValueError, "^headers: 8 entries"),
    "a name of NUL": (pa.array([None, [("a", b""), ("a\0b", b"")]], MAPS), ValueError, r"^headers\[1\]: a name contains a NUL character$"),
    "in a second chunk": (pa.chunked_array([pa.array([[("a", b"")]], MAPS), pa.array([[("\0", b"")]], MAPS)]), ValueError, r"^headers\[1\]: a name contains a NUL"),
    "a null name": (pa.array([[], dicts([[(None, b"")]])[0]], pa.list_(pa.struct(PAIRS))), ValueError, r"^headers\[1\]: a name is null$"),
    "a null pair": (pa.array([[], [None]], pa.list_(pa.struct(PAIRS))), ValueError, r"^headers\[1\]: a pair is null$"),
    "a null pair in a second chunk": (pa.chunked_array([pa.array([[]], pa.list_(pa.struct(PAIRS))), pa.array([[None]], pa.list_(pa.struct(PAIRS)))]),
                                      ValueError, r"^headers\[1\]: a pair is null$"),
    "numbers": (pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int32())), TypeError, "^headers.value must be an Arrow array of binary, .* not of format 'i'"),
    "names of numbers": (pa.array([[(1, b"")]] * 2, pa.map_(pa.int32(), pa.binary())), TypeError, "^headers.key must be an Arrow array of"),
    "other fields": (lists(pa.binary(), "k", "v"), TypeError, r"must be an Arrow array of maps, or of lists of structs with the fields key and value, not of format '\+l'"),
    "a struct": (pd.Series([{"a": b"1"}, None]), TypeError, r"not of format '\+s'; of a column of Python objects .to_list\(\) makes a list"),
    "lists of text": (pa.array([["a"], ["b"]]), TypeError, r"not of format '\+l'"), "text": (pa.array(["a", "b"]), TypeError, "not of format 'u'"),
    "lists of fixed size": (pa.array([[]] * 2, pa.list_(pa.struct(PAIRS), 0)), TypeError, r"not of format '\+w:0'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_names_its_row(name):
    headers, error, text = BAD[name]
    with offline("manual") as producer:
        with pytest.raises(error, match=text):
            producer.send_batch("t", [b"a", b"b"], headers=headers)
        assert balanced(producer)


@pytest.mark.parametrize("name", [b"\xff", b"a\x80", b"\xc3", b"\xc0\x80", b"\xe0\x80\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80"])
def test_a_name_that_is_not_utf8(name):
    headers = pa.array([[(name, b"")]], pa.map_(pa.binary(), pa.binary()))
    with offline("manual") as producer, pytest.raises(ValueError, match=r"^headers\[0\]: a name is not UTF-8$"):
        producer.send_batch("t", [b"a"], headers=headers)


@pytest.mark.parametrize("name", ["\x7f\x80", "\u07ff\u0800", "\ud7ff\ue000", "\uffff\U00010000", "\U0010ffff", ""])
def test_a_name_that_is_utf8(broker, topic, name):
    with new_producer("sync", broker.bootstrap_servers) as producer:
        producer.send_batch(topic, [b"a"], headers=pa.array([[(name, b"v")]], MAPS), partition=0)
    assert [message.headers() for message in read_messages(broker.bootstrap_servers, topic)] == [[(name, b"v")]]


# -- what becomes of them --------------------------------------------------------------------------------------------------------

FORMS = {"list": lambda rows: rows, "map": lambda rows: pa.array(rows, MAPS), "chunks": lambda rows: pa.chunked_array([pa.array(rows[:1], MAPS), pa.array(rows[1:], MAPS)])}


@pytest.mark.parametrize("form", FORMS)
def test_a_record_that_is_too_large_is_refused_alone_with_the_size_of_its_headers(broker, topic, form):
    rows = [[("a", b"x")], [("abc", b"x" * 2000)], None]
    with new_producer("sync", broker.bootstrap_servers, message_max_bytes=1000) as producer:
        batch = producer.send_batch(topic, [b"v", b"v", b"y" * 2000], headers=FORMS[form](rows), partition=0)
        assert list(batch.errors) == [0, TOO_LARGE, TOO_LARGE]
        first, second = (error.message for _, error in batch.failures())
        assert "headers of 2003" in first and "headers" not in second
    assert [message.headers() for message in read_messages(broker.bootstrap_servers, topic)] == [[("a", b"x")]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_records_that_wait_for_room_keep_theirs(broker, topic, kind, form):
    rows = [[("n", b"%d" % i)] for i in range(200)]
    with new_producer(kind, broker.bootstrap_servers, queue_buffering_max_messages=10, linger_ms=1) as producer:
        start = 0
        while start < 200:      # with manual polling in several calls
            batch = producer.send_batch(topic, [b"v"] * (200 - start), headers=FORMS[form](rows[start:]) if start < 199 else rows[start:], partition=0)
            start += batch.next_index
            if kind == "manual":
                producer.poll_events(1)
        producer.flush(10)
    assert [message.headers() for message in read_messages(broker.bootstrap_servers, topic)] == rows


HEAVY = b"x" * 200_000
OUTCOMES = ["refused", "too large", "queue full", "purged", "malformed", "closed"]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_nothing_is_left_behind(form, outcome):
    """Each of 300 calls has 600 kB of headers: one in ten that stayed would be 18 MB."""
    rows = [[("h", HEAVY)], None, [("h", HEAVY)], [("h", HEAVY)]]
    given = FORMS[form]([*rows[:3], [("a\0b", HEAVY)]] if outcome == "malformed" else rows)
    more = {"too large": {"message_max_bytes": 100_000}, "queue full": {"queue_buffering_max_messages": 1}}.get(outcome, {})

    def once(producer):
        arguments = {"partition": -5} if outcome == "refused" else {}
        if outcome in ("refused", "malformed", "closed"):
            with pytest.raises((ValueError, RuntimeError)):
                producer.send_batch("t", [b"v"] * 4, headers=given, **arguments)
        else:
            batch = producer.send_batch("t", [b"v"] * 4, headers=given)
            assert batch.accepted == {"too large": 1, "queue full": 1, "purged": 4}[outcome] and (outcome != "queue full" or batch.errors[1] == QUEUE_FULL)
        producer.purge() if outcome != "closed" else None
        producer.poll_events() if outcome != "closed" else None

    with offline("manual", **more) as producer:
        if outcome == "closed":
            producer.close(0)
        for turns in (20, 300):
            before = rss()
            for _ in range(turns):
                once(producer)
            producer.flush(10)
            gc.collect()
            trim()
        assert rss() - before < 18_000_000


# -- malformed Arrow -------------------------------------------------------------------------------------------------------------


def named(name, exporter):
    exporter.schema.name = name
    return exporter


def binary(*items):
    return Exporter(buffers=(None, tuple(sum(map(len, items[:n])) for n in range(len(items) + 1)), b"".join(items)), length=len(items))


def maps(offsets=(0, 1, 3), form=b"+m", keys=(b"a", b"b", b"c"), values=(b"1", b"22", b""), length=None):
    keys, values = named(b"key", binary(*keys)), named(b"value", binary(*values))
    pairs = with_children(Exporter(format=b"+s", buffers=(None,), length=3), keys, values)
    exporter = with_children(Exporter(format=form, buffers=(None, tuple(offsets)), length=len(offsets) - 1 if length is None else length), pairs)
    exporter.pairs, exporter.keys, exporter.values = pairs, keys, values
    return exporter


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_exporter_makes_is_right(broker, topic, stream):
    exporters = [maps(), maps((3, 3, 3), form=b"+l")] if stream else [maps()]
    given = StreamExporter(*exporters[:1], maps((1, 1, 2))) if stream else exporters[0]
    with new_producer("sync", broker.bootstrap_servers) as producer:
        batch = producer.send_batch(topic, [b"v"] * (4 if stream else 2), headers=given, partition=0)
        assert not batch.failures() and [chunk.released for chunk in getattr(given, "chunks", [given])] == [1, 1][:1 + stream]
    expected = [[("a", b"1")], [("b", b"22"), ("c", b"")]] + [None, [("b", b"22")]] * stream
    assert [message.headers() for message in read_messages(broker.bootstrap_servers, topic)] == expected


def changed(part, **fields):
    def make():
        exporter = maps()
        for name, value in fields.items():
            setattr((exporter if part == "list" else getattr(exporter, part)).array, name, value)
        return exporter
    return make


def without(part, child):
    def make():
        exporter = maps()
        (exporter if part == "list" else exporter.pairs).pointers["array"][child] = None
        return exporter
    return make


HUGE = 2**63 - 1
MALFORMED = {
    "length": (changed("list", length=-1), "length is negative"), "many": (changed("list", length=2**33), "too many for one batch"),
    "offset": (changed("list", offset=HUGE - 9), "more than memory"), "null_count": (changed("list", null_count=9), "null_count"),
    "no bitmap": (changed("list", null_count=1), "no bitmap"), "dictionary": (changed("list", dictionary=8), "dictionary"),
    "n_buffers": (changed("list", n_buffers=3), "no offsets"), "buffers": (changed("list", buffers=None), "no offsets"),
    "no child": (changed("list", n_children=0), "number of children"), "children": (changed("list", children=None), "child is missing"),
    "a child": (without("list", 0), "child is missing"), "backwards": (lambda: maps((0, 3, 1)), "not in order"), "negative": (lambda: maps((-1, 1, 3)), "not in order"),
    "beyond": (lambda: maps((0, 1, 4)), "beyond its pairs"), "least": (lambda: maps((-2**31, 1, 3)), "not in order"),
    "pairs: length": (changed("pairs", length=2), "beyond its pairs"), "pairs: no length": (changed("pairs", length=-1), "length is negative"),
    "pairs: offset": (changed("pairs", offset=1), "shorter than they are"), "pairs: negative offset": (changed("pairs", offset=-1), "offset is negative"),
    "pairs: n_children": (changed("pairs", n_children=1), "number of children"), "pairs: children": (changed("pairs", children=None), "no children"),
    "pairs: no bitmap": (changed("pairs", null_count=1), "no bitmap"), "pairs: no buffers": (changed("pairs", null_count=1, buffers=None), "no bitmap"),
    "pairs: dictionary": (changed("pairs", dictionary=8), "dictionary"), "pairs: a child": (without("pairs", 1), "child of its pairs is missing"),
    "key: length": (changed("keys", length=2), "shorter than they are"), "key: negative": (changed("keys", length=-3), "length is negative"),
    "key: offset": (changed("keys", offset=-1), "offset is negative"), "key: far": (changed("keys", offset=HUGE // 16), "more than memory"),
    "key: no bitmap": (changed("keys", null_count=2), "no bitmap"), "key: buffers": (changed("keys", buffers=None), "no buffers"),
    "key: n_buffers": (changed("keys", n_buffers=1), "number of buffers"), "key: dictionary": (changed("keys", dictionary=8), "dictionary"),
    "key: children": (changed("keys", n_children=1), "number of children"), "value: n_buffers": (changed("values", n_buffers=2), "number of buffers"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_array_is_refused_and_released_once(name, stream):
    make, text = MALFORMED[name]
    exporter, values = make(), binary(b"a", b"b")
    with offline("manual") as producer:
        with pytest.raises(ValueError, match=f"(?s)headers.*({text})"):
            producer.send_batch("t", values, headers=StreamExporter(exporter) if stream else exporter)
        assert balanced(producer)
    assert exporter.released == values.released == 1
    assert exporter.pairs.released == exporter.keys.released == exporter.values.released == 0       # they are released by their parent


def schema(part, **fields):
    def make():
        exporter = maps()
        for name, value in fields.items():
            setattr((exporter if part == "list" else getattr(exporter, part)).schema, name, value)
        return exporter
    return make


SCHEMAS = {"no format": (schema("pairs", format=None), ValueError, "it has no format"), "no name's format": (schema("keys", format=None), ValueError, "no format"),
           "children": (schema("list", children=None), ValueError, "a child is missing"), "pairs' children": (schema("pairs", children=None), ValueError, "a child is missing"),
           "no children": (schema("list", n_children=0), TypeError, "array of maps"), "one child": (schema("pairs", n_children=1), TypeError, "array of maps"),
           "no struct": (schema("pairs", format=b"+m"), TypeError, "array of maps"), "a list in it": (schema("keys", n_children=1), TypeError, "headers.key must be"),
           }


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_cannot_be(name):
    make, error, text = SCHEMAS[name]
    exporter = make()
    with offline("manual") as producer, pytest.raises(error, match=text):
        producer.send_batch("t", [b"a", b"b"], headers=exporter)
    assert exporter.released == 0       # it was not taken


def test_names_without_a_name():
    exporter = maps(form=b"+l")
    exporter.keys.schema.name = None
    with offline("manual") as producer, pytest.raises(TypeError, match="with the fields key and value"):
        producer.send_batch("t", [b"a", b"b"], headers=exporter)


def test_memory_that_changes_after_the_call_does_no_harm():
    """A batch that finds no room is over when the call returns: nothing reads Arrow's memory any more."""
    exporter = maps()
    with offline("manual", queue_buffering_max_messages=1) as producer:
        assert producer.send_batch("t", [b"a", b"b"], headers=exporter).accepted == 1
        assert exporter.released == 1
        ctypes.memset(exporter.memory[1], 0xFF, 12)
