"""Timestamps of a batch from Arrow, NumPy, pandas and polars: each record has its own; a bad one is named by its row."""
import ctypes
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from arrow_structs import Exporter, StreamExporter
from batches import balanced, new_producer, offline
from readback import read_messages

MS = [1_700_000_000_123, 1, 1_700_000_000_456]
TIMES = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) for ms in MS]
UNITS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
NOW = None
DATES = {"s": [1_700_000_000, 1, 2], "ms": MS, "us": [MS[0] * 1000 + 999, 1000, 1999], "ns": [MS[0] * 10**6 + 999_999, 10**6, 2 * 10**6 - 1]}
IN_MS = {"s": [1_700_000_000_000, 1000, 2000], "ms": MS, "us": [MS[0], 1, 1], "ns": [MS[0], 1, 1]}
NULLS = pa.array([*MS, None], pa.timestamp("ms"))
SOURCES = {
    **{f"Arrow, {unit}, {zone}": (pa.array(DATES[unit], pa.timestamp(unit, zone)), IN_MS[unit]) for unit in UNITS for zone in (None, "Europe/Berlin")},
    **{f"NumPy, {unit}": (np.array(DATES[unit], f"M8[{unit}]"), IN_MS[unit]) for unit in UNITS},
    "Arrow, nulls": (NULLS, [*MS, NOW]), "a slice": (NULLS[1:], [*MS[1:], NOW]), "chunks": (pa.chunked_array([NULLS, NULLS[:0], NULLS[2:]]), [*MS, NOW, MS[2], NOW]),
    "of no type": (pa.nulls(2), [NOW, NOW]), "no chunk": (pa.chunked_array([], pa.timestamp("s")), []), "Arrow, int64": (pa.array([*MS, None]), [*MS, NOW]),
    "a column of a table": (pa.table({"at": NULLS})["at"], [*MS, NOW]),
    "NumPy, NaT": (np.array([5, "NaT"], "M8[ms]"), [5, NOW]), "NumPy, empty": (np.zeros(0, "M8[ns]"), []),
    "NumPy, masked": (np.ma.array(np.array([5, 6], "M8[ms]"), mask=[0, 1]), [5, NOW]), "NumPy, nothing masked": (np.ma.array(np.array([5, 6], "M8[ms]")), [5, 6]),
    "NumPy, numbers of which none is masked": (np.ma.array([5, 6], "i8", mask=[0, 0]), [5, 6]),
    "pandas": (pd.Series([*TIMES, pd.NaT]), [*MS, NOW]), "pandas, naive": (pd.Series(np.array(MS, "M8[ms]")), MS),
    "pandas, nanoseconds": (pd.Series(TIMES).astype("datetime64[ns, UTC]"), MS), "pandas' index": (pd.DatetimeIndex(np.array(MS, "M8[ms]")), MS),
    "polars": (pl.Series([*TIMES, None]), [*MS, NOW]), "polars, ms": (pl.Series(TIMES).dt.cast_time_unit("ms"), MS),
    "polars, naive": (pl.Series([time.replace(tzinfo=None) for time in TIMES]), MS), "polars, numbers": (pl.Series(MS), MS),
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_record_has_its_own(broker, topic, name):
    given, expected = SOURCES[name]
    begin = datetime.now(UTC).timestamp() * 1000
    with new_producer("sync", broker.bootstrap_servers) as producer:
        batch = producer.send_batch(topic, [b"v"] * len(expected), timestamps=given, partition=0)
        assert batch.done and not batch.failures() and balanced(producer)
    messages = read_messages(broker.bootstrap_servers, topic) if expected else []
    for message, ms in zip(messages, expected, strict=True):
        assert message.timestamp()[1] == ms or ms is NOW and begin - 1 <= message.timestamp()[1] <= datetime.now(UTC).timestamp() * 1000 + 1


def stamps(*numbers, form=b"tsm:", length=None, **array):
    exporter = Exporter(format=form, buffers=(None, numbers), offset_type=ctypes.c_int64, length=len(numbers) if length is None else length)
    for name, value in array.items():
        setattr(exporter.array, name, value)
    return exporter


LEAST, MOST = -2**63, 2**63 - 1
BAD = {
    "zero": (lambda: pa.array([5, 0], pa.timestamp("ms")), ValueError, r"^timestamps\[1\] must be more than 0 milliseconds, not 0$"),
    "a fraction": (lambda: pa.array([5000, 999], pa.timestamp("us")), ValueError, r"^timestamps\[1\] must be more than 0 milliseconds, not 0$"),
    "before the epoch": (lambda: pa.array([1, -1], pa.timestamp("s")), ValueError, r"^timestamps\[1\] must be more than 0 milliseconds, not -1000$"),
    "the least": (lambda: pa.array([1, LEAST], pa.timestamp("s")), ValueError, rf"^timestamps\[1\] must be more .* not {LEAST * 1000}$"),
    "too many seconds": (lambda: pa.array([1, MOST // 1000 + 1], pa.timestamp("s")), ValueError, r"timestamps\[1\]: 9223372036854776 seconds are more than"),
    "in a second chunk": (lambda: pa.chunked_array([[1, 2], [3, -4]], pa.timestamp("ms")), ValueError, r"^timestamps\[3\] must be .* not -4$"),
    "NumPy, before the epoch": (lambda: np.array([10**6, -1], "M8[ns]"), ValueError, r"^timestamps\[1\] must be more than 0 milliseconds, not -1$"),
    "NumPy, days": (lambda: np.array(["2024-01-01"] * 2, "M8[D]"), TypeError, r"datetime64 of s, ms, us or ns, not <M8\[D\]: .astype"),
    "NumPy, tens": (lambda: np.array([1, 2], "M8[10ms]"), TypeError, "datetime64 of s, ms, us or ns"),
    "NumPy, no unit": (lambda: np.array(["NaT"] * 2, "M8"), TypeError, "datetime64 of s, ms, us or ns"),
    "NumPy, the other byte order": (lambda: np.array([1, 2], ">M8[ms]"), TypeError, "timestamps must be .* of int64, not of format '>q'"),
    "NumPy, gaps": (lambda: np.array([1, 2, 3, 4], "M8[ms]")[::2], BufferError, "timestamps must be C-contiguous"),
    "NumPy, a grid": (lambda: np.ones((2, 2), "M8[ms]"), TypeError, "one-dimensional buffer of int64"),
    "NumPy, masked numbers": (lambda: np.ma.array([5, 6], "i8", mask=[0, 1]), TypeError, "^timestamps has masked numbers, .* .filled"),
    "NumPy, one": (lambda: np.datetime64(5, "ms"), TypeError, "timestamp must be an int of milliseconds"),
    "NumPy, durations": (lambda: np.ones(2, "m8[ms]"), TypeError, "timestamps must be a buffer of int64"),
    "dates": (lambda: pa.array([1, 2], pa.date32()), TypeError, "not of format 'tdD': cast it first: a date has no time of day"),
    "dates in ms": (lambda: pa.array([86400000] * 2, pa.date64()), TypeError, "a date has no time of day"),
    "durations": (lambda: pa.array([1, 2], pa.duration("ms")), TypeError, "timestamps must be an Arrow array of timestamps.* not of format 'tDm'"),
    "text": (lambda: pa.array(["now", "then"]), TypeError, "not of format 'u': cast it first"),
    "float": (lambda: pd.Series([1.0, float("nan")]), TypeError, "not of format 'g': cast it first"),
    "a dictionary": (lambda: pa.array([1, 2], pa.timestamp("ms")).dictionary_encode(), TypeError, "cast it first"),
    "too few": (lambda: pa.array([1], pa.timestamp("ms")), ValueError, "timestamps: 1 entries for 2 values"),
    "too many": (lambda: pa.chunked_array([[1], [2, 3]], pa.timestamp("ms")), ValueError, "timestamps: 3 entries for 2 values"),
    "a format cut short": (lambda: stamps(1, 2, form=b"tsm"), TypeError, "not of format 'tsm'"),
    "another unit": (lambda: stamps(1, 2, form=b"tsh:"), TypeError, "not of format 'tsh:'"),
    "no format": (lambda: stamps(1, 2, form=None), ValueError, "it has no format"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    make, error, text = BAD[name]
    with offline("manual") as producer:
        with pytest.raises(error, match=text):
            producer.send_batch("t", [b"a", b"b"], timestamps=make())
        assert balanced(producer)


MALFORMED = {"length": ({"length": -1}, "its length is negative"), "offset": ({"offset": -1}, "its offset is negative"),
             "a long way": ({"offset": MOST - 5}, "more than memory"), "too many": ({"length": 2**33}, "too many for one batch"),
             "nulls": ({"null_count": 3}, "null_count"), "no bitmap": ({"null_count": 1}, "no bitmap"), "buffers": ({"n_buffers": 3}, "number of buffers"),
             "no buffers": ({"buffers": None}, "no buffers"), "children": ({"n_children": 1}, "children"), "a dictionary": ({"dictionary": 8}, "dictionary")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_array_is_refused_and_released_once(name, stream):
    fields, text = MALFORMED[name]
    exporter, values = stamps(1, 2, **fields), Exporter(length=2)
    with offline("manual") as producer:
        with pytest.raises(ValueError, match=text):
            producer.send_batch("t", values, timestamps=StreamExporter(exporter) if stream else exporter)
        assert balanced(producer)
    assert exporter.released == values.released == 1


def test_an_array_without_memory():
    exporter = Exporter(format=b"tsm:", buffers=(None, None), length=2)
    with offline("manual") as producer, pytest.raises(ValueError, match="it has no data"):
        producer.send_batch("t", [b"a", b"b"], timestamps=exporter)
    assert exporter.released == 1


@pytest.mark.parametrize("stream", [False, True])
def test_arrays_are_released_by_the_call(stream):
    chunks = [stamps(1, 2), stamps(9, length=0), stamps(3, 4)] if stream else [stamps(1, 2, 3, 4)]
    with offline("manual") as producer:
        assert producer.send_batch("t", [b"v"] * 4, timestamps=StreamExporter(*chunks) if stream else chunks[0]).accepted == 4
        assert [chunk.released for chunk in chunks] == [1] * len(chunks)


def test_numbers_need_not_be_aligned(broker, topic):
    exporter, moved = stamps(*MS), ctypes.create_string_buffer(25)
    ctypes.memmove(ctypes.addressof(moved) + 1, exporter.memory[1], 24)
    exporter.array.buffers[1] = ctypes.addressof(moved) + 1
    with new_producer("sync", broker.bootstrap_servers) as producer:
        assert not producer.send_batch(topic, [b"v"] * 3, timestamps=exporter, partition=0).failures()
    assert [message.timestamp()[1] for message in read_messages(broker.bootstrap_servers, topic)] == MS


def test_an_object_that_says_it_is_a_numpy_array():
    class Dtype:
        kind, str = "M", "<M8[ms]"

    class Liar:
        dtype, ndim = Dtype, 1

        def view(self, form):
            return b"eight bytes or more"

    with offline("manual") as producer, pytest.raises(TypeError, match="timestamps must be a one-dimensional buffer of int64"):
        producer.send_batch("t", [b"a", b"b"], timestamps=Liar())
