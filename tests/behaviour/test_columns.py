"""Sources of a batch's keys and values: each arrives unchanged, read back by another client."""

import ctypes
import mmap
from array import array
from collections import deque

import numpy as np
import pyarrow as pa
import pytest
from batches import balanced, new_producer, offline
from readback import read_messages

from kafkapp import Key, NullValue, Value

WORDS = [b"alpha", b"", None, b"a longer value than twelve bytes", b"\0\xff"]
TEXTS = ["alpha", "", None, "ein längerer Wert als zwölf Bytes", "ß"]
MIXED = [
    b"bytes",
    "text",
    "ümläut",
    None,
    bytearray(b"array"),
    memoryview(b"view"),
    Value(b"value"),
    Value(None),
    NullValue,
    Value(bytearray(b"deep")),
    np.arange(3, dtype="u1"),
    array("b", b"ab"),
    b"",
    "",
    bytearray(),
    memoryview(b""),
]


def plain(item):
    """What arrives for an item."""
    if item is None or isinstance(item, (Key, Value)) and item.data is None:
        return None
    return item.encode() if isinstance(item, str) else bytes(item)


@pytest.fixture
def producer(broker):
    with new_producer("sync", broker.bootstrap_servers) as producer:
        yield producer
        assert balanced(producer)


@pytest.fixture
def check(producer, broker, topic):
    """Send a batch into partition 0 and compare what arrives."""

    def check(values, expected, *, expected_keys=None, **arguments):
        batch = producer.send_batch(topic, values, partition=0, timeout=20, **arguments)
        assert batch.done and not batch.failures() and len(batch) == batch.accepted == len(expected)
        messages = read_messages(broker.bootstrap_servers, topic)
        assert [m.value() for m in messages] == list(expected)
        assert [m.key() for m in messages] == list(expected_keys or [None] * len(expected))

    return check


# -- sequences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [list, tuple, deque, pytest.param(lambda items: np.array([*items, 0], "O")[:-1], id="numpy")]
)
def test_a_sequence_of_all_that_may_be_a_value(check, kind):
    values = MIXED if kind in (list, tuple, deque) else [item for item in MIXED if not isinstance(item, np.ndarray)]
    check(kind(values), [plain(item) for item in values])


def test_a_sequence_class_of_the_users_own(check):
    class Lines:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return [b"a", None, "c"][i]

    check(Lines(), [b"a", None, b"c"])


def test_a_list_that_changes_after_the_call_does_not_matter(broker, topic):
    values = [b"%d" % i for i in range(1000)]
    with new_producer("auto", broker.bootstrap_servers, linger_ms=200) as producer:
        producer.send_batch(topic, values, partition=0)
        values[:] = [b"other"] * 1000
    assert [m.value() for m in read_messages(broker.bootstrap_servers, topic)] == [b"%d" % i for i in range(1000)]


NUMPY = {
    "S": (np.array(WORDS[:2] + [b"gamma\0\0", b"\0x"]), [b"alpha", b"", b"gamma", b"\0x"]),     # as NumPy itself: NULs end no item
    "U": (np.array(["alpha", "", "ß\0", "\U0001f600"]), [b"alpha", b"", "ß".encode(), "\U0001f600".encode()]),
    "U, the other byte order": (np.array(["ab", "ß"], np.dtype("U2").newbyteorder()), [b"ab", "ß".encode()]),
    "every second": (np.array([b"a", b"b", b"cc"])[::2], [b"a", b"cc"]), "backwards": (np.array(["a", "b"])[::-1], [b"b", b"a"]),
    "no width": (np.zeros(2, "S0"), [b"", b""]), "masked": (np.ma.array(["a", "b"], mask=[True, False]), [None, b"b"]),
    "a column of two dimensions": (np.array([[b"a", b"b"], [b"c", b"d"]])[:, 1], [b"b", b"d"]),
    "chararray": (np.char.array([b"a", b"b"]), [b"a", b"b"]),
}
if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType"):
    NUMPY["T"] = np.array(["a", None, "ß"], np.dtypes.StringDType(na_object=None)), [b"a", None, "ß".encode()]


@pytest.mark.parametrize("case", NUMPY)
def test_numpy_arrays_of_strings(check, case):
    values, expected = NUMPY[case]
    check(values, expected, keys=values, expected_keys=expected)


@pytest.mark.parametrize("kind", ["S5", "U5"])
def test_a_numpy_array_of_no_strings(producer, topic, kind):
    assert len(producer.send_batch(topic, np.zeros(0, kind), keys=np.zeros(0, kind))) == 0


# -- one buffer and offsets -----------------------------------------------------------------------

DATA = b"alphabetagamma"
BOUNDS = [0, 5, 5, 9, 14]
PARTS = [b"alpha", b"", b"beta", b"gamma"]


@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, Value, lambda d: np.frombuffer(d, "u1"), lambda d: array("b", d)],
    ids=["bytes", "bytearray", "memoryview", "Value", "numpy", "array"],
)
@pytest.mark.parametrize(
    "offsets",
    [
        array("i", BOUNDS),
        array("q", BOUNDS),
        array("l", BOUNDS),
        np.array(BOUNDS, "i4"),
        np.array(BOUNDS, "i8"),
        memoryview(np.array(BOUNDS, "i8").tobytes()).cast("q"),
    ],
    ids=["i", "q", "l", "int32", "int64", "cast"],
)
def test_one_buffer_and_offsets(producer, topic, wrap, offsets):
    batch = producer.send_batch(topic, wrap(DATA), offsets=offsets, partition=1)
    assert batch.done and not batch.failures() and len(batch) == 4


def test_what_one_buffer_and_offsets_send(check):
    check(DATA, PARTS, offsets=array("q", BOUNDS))


def test_offsets_need_not_begin_at_zero_nor_end_at_the_end(check):
    check(DATA, [b"", b"beta"], offsets=np.array(BOUNDS, "i4")[1:4])


def test_a_file_in_memory(check, tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        check(memory, PARTS, offsets=array("q", BOUNDS))


def test_nothing_in_an_empty_buffer(check):
    check(np.zeros(0, "u1"), [b"", b""], offsets=array("i", [0, 0, 0]))


# -- Arrow ----------------------------------------------------------------------------------------

BINARY = [pa.binary(), pa.large_binary(), pa.binary_view()]
STRING = [pa.string(), pa.large_string(), pa.string_view()]


@pytest.mark.parametrize("kind", BINARY + STRING, ids=str)
@pytest.mark.parametrize("sliced", [False, True], ids=["whole", "sliced"])
@pytest.mark.parametrize("nulls", [False, True], ids=["full", "nulls"])
def test_arrow_arrays(check, kind, sliced, nulls):
    items = WORDS if kind in BINARY else TEXTS
    items = [item for item in items * 5 if nulls or item is not None]
    values = pa.array(items, kind)
    if sliced:
        values, items = values[3:-2], items[3:-2]
    check(values, [plain(item) for item in items])


@pytest.mark.parametrize("sliced", [False, True], ids=["whole", "sliced"])
def test_arrow_fixed_size_binary(check, sliced):
    items = [b"abc", None, b"def", b"\0\0\0"] * 4
    values = pa.array(items, pa.binary(3))
    check(values[5:14] if sliced else values, items[5:14] if sliced else items)


def test_arrow_nulls_only(check):
    check(pa.nulls(3), [None] * 3)


def test_arrow_of_no_width(check):
    check(pa.array([b"", None, b""], pa.binary(0)), [b"", None, b""])


@pytest.mark.parametrize("kind", [*BINARY, *STRING, pa.binary(4), pa.null()], ids=str)
def test_an_empty_arrow_array(producer, topic, kind):
    batch = producer.send_batch(topic, pa.array([], kind))
    assert batch.done and len(batch) == 0


def test_arrow_memory_is_not_copied_and_held_until_the_batch_is_done():
    before = pa.total_allocated_bytes()
    values = pa.array([b"x" * 5000] * 100)
    with offline("manual") as producer:
        batch = producer.send_batch("t", values)
        assert pa.total_allocated_bytes() - before < 600_000, "copied"
        del values
        assert pa.total_allocated_bytes() - before > 500_000, "not held while the batch is in flight"
        producer.purge()
        assert batch.wait(10)
        assert pa.total_allocated_bytes() == before, "held on after the batch was done"


def test_polars(check):
    polars = pytest.importorskip("polars")
    series = polars.Series([b"a", None, b"a value of more than twelve bytes"])
    check(series if hasattr(series, "__arrow_c_array__") else series.to_arrow(), series.to_list())


def test_nanoarrow(check):
    nanoarrow = pytest.importorskip("nanoarrow")
    check(nanoarrow.c_array([b"a", None, b"c"], nanoarrow.binary()), [b"a", None, b"c"])


def test_a_bitmap_that_the_exporter_left_out(check):
    """null_count may be -1, unknown, where there is no bitmap at all."""
    data, offsets = pa.py_buffer(b"abcd"), pa.py_buffer(array("i", [0, 1, 4]))
    check(pa.Array.from_buffers(pa.binary(), 2, [None, offsets, data], null_count=-1), [b"a", b"bcd"])


def test_what_stands_in_a_null_view_is_not_looked_at(check):
    views = np.zeros((3, 4), "i4")
    views[0] = [3, int.from_bytes(b"abc\0", "little"), 0, 0]
    views[1] = [1 << 30, 0, 1 << 30, 1 << 30]  # nowhere: but null
    values = pa.Array.from_buffers(pa.binary_view(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(views)])
    check(values, [b"abc", None, b""])


@pytest.mark.parametrize(
    "view", [[20, 0, 1, 0], [20, 0, 0, 90], [20, 0, -1, 0], [20, 0, 0, -5], [-1, 0, 0, 0]], ids=str
)
def test_a_view_to_nowhere_is_refused(producer, topic, view):
    buffers = [None, pa.py_buffer(np.array([view], "i4")), pa.py_buffer(bytes(100))]
    with pytest.raises(ValueError, match=r"values's views\[0\] is beyond its buffer"):
        producer.send_batch(topic, pa.Array.from_buffers(pa.binary_view(), 1, buffers))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2]),
        pa.array([[b"a"]]),
        pa.array([{"a": b"b"}]),
        pa.array([True]),
        pa.RecordBatch.from_pydict({"a": [b"x"]}),
    ],
    ids=lambda values: str(getattr(values, "type", "record batch")),
)
def test_arrow_arrays_of_other_types_are_refused(producer, topic, values):
    with pytest.raises(TypeError, match="values must be an Arrow array of binary, string or fixed-size"):
        producer.send_batch(topic, values)


def test_an_exporter_that_exports_something_else(producer, topic):
    class Wrong:
        def __arrow_c_array__(self, requested_schema=None):
            return object(), object()

    with pytest.raises(TypeError, match="did not return a schema and an array"):
        producer.send_batch(topic, Wrong())


# -- keys -----------------------------------------------------------------------------------------

VALUES = [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "key",
    [
        b"one",
        "ëins",
        bytearray(b"one"),
        memoryview(b"one"),
        Key(b"one"),
        np.arange(3, dtype="u1"),
        b"",
        "",
        Key(""),
        Key(None),
        None,
    ],
    ids=lambda key: f"{type(key).__name__}-{plain(key)}",
)
def test_one_key_for_all(check, key):
    check(VALUES, VALUES, keys=key, expected_keys=[plain(key)] * 3)


@pytest.mark.parametrize(
    "keys",
    [
        ["k", None, b""],
        (b"k", Key(None), Key("")),
        pa.array(["k", None, ""]),
        pa.array([b"k", None, b""], pa.binary_view()),
    ],
    ids=lambda keys: type(keys).__name__,
)
def test_a_key_for_each(check, keys):
    check(VALUES, VALUES, keys=keys, expected_keys=[b"k", None, b""])


@pytest.mark.parametrize(
    "key",
    [ctypes.create_string_buffer(b"key", 3), (ctypes.c_ubyte * 3)(*b"key"), (ctypes.c_byte * 3)(*b"key"), array("B", b"key"),
     np.frombuffer(b"key", "u1"), memoryview(b"key").cast("@B"), memoryview(b"key").cast("c")],
    ids=lambda key: f"{type(key).__name__} {memoryview(key).format}",
)
def test_a_buffer_of_bytes_is_one_key_for_all(check, key):
    check(VALUES, VALUES, keys=key, expected_keys=[b"key"] * 3)


def test_keys_in_one_buffer(check):
    check(VALUES, VALUES, keys=b"keykey", key_offsets=array("i", [0, 3, 3, 6]), expected_keys=[b"key", b"", b"key"])


def test_keys_and_values_in_buffers(check):
    check(DATA, PARTS, offsets=array("i", BOUNDS), keys=DATA, key_offsets=np.array(BOUNDS, "i8"), expected_keys=PARTS)
