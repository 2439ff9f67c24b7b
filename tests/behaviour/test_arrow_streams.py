"""Arrow streams and dictionaries as keys and values: each item arrives, each chunk is released once, a fault is an error."""
import ctypes

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from arrow_structs import RELEASE_SCHEMA, Exporter, Schema, StreamExporter
from batches import balanced, new_producer, offline
from readback import read_messages

from kafkapp import SendOption

WORDS = [b"alpha", b"", None, b"a longer value than twelve bytes", b"\0\xff"]
TEXTS = ["alpha", "", None, "ein längerer Wert als zwölf Bytes", "ß"]


def encoded(items):
    return [item.encode() if isinstance(item, str) else item for item in items]


def chunks(items, kind=None):
    return pa.chunked_array([pa.array(items, kind), pa.array([], kind or pa.array(items).type), pa.array(items[::-1], kind)[1:]])


def both(items):
    return encoded(items + items[::-1][1:])


DICTIONARY = pa.array(TEXTS).dictionary_encode()
ONE_NULL = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 1], pa.int8()), pa.array([b"x", None]))
SOURCES = {
    **{f"chunks of {kind}": (lambda kind=kind: chunks(WORDS, kind), both(WORDS)) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())},
    **{f"chunks of {kind}": (lambda kind=kind: chunks(TEXTS, kind), both(TEXTS)) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    "chunks of fixed size": (lambda: chunks([b"abc", None, b"def"], pa.binary(3)), both([b"abc", None, b"def"])),
    "chunks of nulls": (lambda: chunks([None, None], pa.null()), [None] * 3),
    "one chunk": (lambda: pa.chunked_array([WORDS]), WORDS), "no chunk": (lambda: pa.chunked_array([], pa.binary()), []),
    "a sliced column": (lambda: chunks(WORDS)[3:7], both(WORDS)[3:7]),
    "a column of a table": (lambda: pa.table({"x": chunks(TEXTS)})["x"], both(TEXTS)),
    "polars, bytes": (lambda: pl.Series(WORDS), WORDS), "polars, text": (lambda: pl.Series(TEXTS), encoded(TEXTS)),
    "polars, appended": (lambda: pl.Series(TEXTS).append(pl.Series(TEXTS)), encoded(TEXTS * 2)),
    "polars, categories": (lambda: pl.Series(["a", "b", None, "a"], dtype=pl.Categorical), [b"a", b"b", None, b"a"]),
    "pandas, text": (lambda: pd.Series(TEXTS), encoded(TEXTS)), "pandas, bytes": (lambda: pd.Series(WORDS), WORDS),
    "pandas, NaN": (lambda: pd.Series(["a", float("nan")]), [b"a", None]),
    "pandas, categories": (lambda: pd.Series(["a", "b", None, "a"]).astype("category"), [b"a", b"b", None, b"a"]),
    "a dictionary": (lambda: DICTIONARY, encoded(TEXTS)), "a dictionary with a null in it": (lambda: ONE_NULL, [b"x", None, None, None]),
    "a sliced dictionary": (lambda: DICTIONARY[1:4], encoded(TEXTS[1:4])),
    **{f"indices of {kind}": (lambda kind=kind: DICTIONARY.cast(pa.dictionary(kind, pa.string())), encoded(TEXTS))
       for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64())},
    "chunks with dictionaries of their own": (lambda: pa.chunked_array([DICTIONARY, pa.array(["z", "a"]).dictionary_encode()]), [*encoded(TEXTS), b"z", b"a"]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_item_arrives(broker, topic, name):
    make, expected = SOURCES[name]
    with new_producer("auto", broker.bootstrap_servers) as producer:
        for option in SendOption:
            batch = producer.send_batch(topic, make(), keys=make(), partition=0, option=option)
            assert batch.wait(30) and not batch.failures() and len(batch) == len(expected)
        assert balanced(producer)
    messages = read_messages(broker.bootstrap_servers, topic) if expected else []
    assert [message.value() for message in messages] == [message.key() for message in messages] == expected * 2


def test_memory_is_not_copied_and_held_until_the_batch_is_done():
    before = pa.total_allocated_bytes()
    values = pa.chunked_array([pa.array([b"x" * 5000] * 100) for _ in range(3)])
    held = pa.total_allocated_bytes() - before
    with offline("manual") as producer:
        batch = producer.send_batch("t", values)
        del values
        assert held <= pa.total_allocated_bytes() - before < held + 100_000
        producer.purge()
        assert batch.wait(10)
        assert pa.total_allocated_bytes() == before, "held on after the batch was done"


def binary(*items):
    offsets = [sum(map(len, items[:n])) for n in range(len(items) + 1)]
    return Exporter(buffers=(None, tuple(offsets), b"".join(items)), length=len(items))


def without_schema(chunk):
    chunk.schema.release = RELEASE_SCHEMA()
    return StreamExporter(chunk)


FAULTS = {
    "no schema": (lambda: StreamExporter(binary(b"a"), schema_error=22), OSError, "values: the Arrow stream failed: the source is gone", [0]),
    "no text": (lambda: StreamExporter(binary(b"a"), error_at=0, text=None), OSError, "Input/output error", [0]),
    "ends midway": (lambda: StreamExporter(binary(b"a"), binary(b"b"), error_at=1), OSError, "the source is gone", [1, 0]),
    "a malformed chunk": (lambda: StreamExporter(binary(b"a"), Exporter(length=-1)), ValueError, "its length is negative", [1, 1]),
    "no bytes": (lambda: StreamExporter(Exporter(format=b"l")), TypeError, "not of format 'l': cast it first", [0]),
    "a table": (lambda: StreamExporter(Exporter(format=b"+s")), TypeError, "choose one of its columns", [0]),
    "no schema in it": (lambda: without_schema(binary(b"a")), ValueError, "the Arrow schema was consumed", [0]),
    "more than a batch takes": (lambda: StreamExporter(Exporter(length=2**40)), ValueError, "too many for one batch", [1]),
    "another capsule": (lambda: StreamExporter(binary(b"a"), name=b"arrow_array"), TypeError, "did not return a stream", [0]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_stream(name):
    make, kind, text, released = FAULTS[name]
    exporter = make()
    with offline("manual") as producer:
        with pytest.raises(kind, match=text):
            producer.send_batch("t", exporter)
        assert balanced(producer)
    assert [chunk.released for chunk in exporter.chunks] == released
    assert exporter.released == (name != "another capsule")


def test_each_chunk_and_the_stream_are_released_once():
    exporter = StreamExporter(binary(b"a", b"b"), binary(), binary(b"c"))
    with offline("manual") as producer:
        batch = producer.send_batch("t", exporter)
        assert exporter.released == 1 and [chunk.released for chunk in exporter.chunks] == [0, 0, 0]
        assert batch.accepted == 3
        producer.purge()
        assert batch.wait(10)
        assert [chunk.released for chunk in exporter.chunks] == [1, 1, 1]
        with pytest.raises(ValueError, match="the Arrow stream was consumed or released already"):
            producer.send_batch("t", exporter)


def dictionary(indices, words=(b"x", b"yy"), form=b"i", offset_type=ctypes.c_int32, **more):
    values = binary(*words)
    exporter = Exporter(format=form, buffers=(None, tuple(indices)), length=len(indices), offset_type=offset_type)
    exporter.values = values
    exporter.schema.dictionary = ctypes.addressof(values.schema)
    exporter.array.dictionary = ctypes.addressof(values.array)
    for name, value in more.items():
        setattr(exporter.array, name, value)
    return exporter


BAD = {"beyond": (lambda: dictionary([0, 2]), "an index is outside of its dictionary"),
       "negative": (lambda: dictionary([0, -1]), "an index is outside"),
       "huge": (lambda: dictionary([0, 2**64 - 1], form=b"L", offset_type=ctypes.c_uint64), "an index is outside"),
       "no dictionary": (lambda: dictionary([0], dictionary=None), "it has no dictionary"),
       "no integers": (lambda: dictionary([0], form=b"g"), "no integers"), "no indices": (lambda: dictionary([0], n_buffers=1), "no indices"),
       "children": (lambda: dictionary([0], n_children=1), "children"), "no length": (lambda: dictionary([0], length=-1), "its length is negative"),
       "no bitmap": (lambda: dictionary([0], null_count=1), "no bitmap")}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_dictionary(name):
    make, text = BAD[name]
    exporter = make()
    with offline("manual") as producer:
        with pytest.raises(ValueError, match=text):
            producer.send_batch("t", exporter)
        assert balanced(producer)
    assert exporter.released == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_dictionary_whose_schema_has_no_format(stream):
    exporter = dictionary([0, 1])
    exporter.values.schema = Schema(release=exporter.values.schema.release)
    exporter.schema.dictionary = ctypes.addressof(exporter.values.schema)
    with offline("manual") as producer, pytest.raises(ValueError, match="it has no format"):
        producer.send_batch("t", StreamExporter(exporter) if stream else exporter)


@pytest.mark.parametrize("of", ["array", "dictionary"])
def test_a_length_that_no_batch_takes_is_refused_before_its_end_is_looked_at(of):
    exporter = dictionary([0, 1])
    (exporter.array if of == "array" else exporter.values.array).length = 2**40
    with offline("manual") as producer, pytest.raises(ValueError, match="too many for one batch"):
        producer.send_batch("t", exporter)


def test_a_dictionary_of_numbers():
    with offline("manual") as producer, pytest.raises(TypeError, match="cast it first"):
        producer.send_batch("t", pa.array([1, 2]).dictionary_encode())
