"""Keys and values of records that were read: views of memory that the record's batch has, which they keep by themselves."""
import copy
import ctypes
import gc
import os
import pickle
import sys

import pytest

from kafkapp import Header, Key, NullValue, ProducerRecord, Value, _restore_consumer_record


def read(value, key=None, headers=()):
    """A record that was read."""
    return _restore_consumer_record("t", 0, 0, -1, 0, -1, key, value, headers)


def overwrite():
    """Take memory that was released, and write into it."""
    return [ctypes.create_string_buffer(b"!" * size, size) for size in range(8, 300, 8) for _ in range(20)]


@pytest.mark.parametrize("kept", [lambda value: value, memoryview, Value, Key, lambda value: value.data, lambda value: memoryview(value.data)[:],
                                  lambda value: Value(value.data), lambda value: ProducerRecord("t", value=value).value, lambda value: [Header("h", value)][0].value],
                         ids=["value", "memoryview", "Value", "Key", "data", "of data", "Value of data", "record", "header"])
def test_it_keeps_its_memory(kept):
    text = bytes(range(65, 91)) * 4
    views = [kept(read(text).value) for _ in range(100)]
    gc.collect()
    overwritten = overwrite()
    assert [bytes(view) for view in views] == [text] * 100 and overwritten


def test_it_says_what_it_has():
    record = read(b"value", b"key", ((b"a", b"1"), (b"b", None), (b"c", b"")))
    value = record.value
    assert isinstance(value.data, memoryview) and value.data == b"value" and memoryview(value).obj is value
    assert (len(value), value.size, bool(value), str(value), repr(value)) == (5, 5, True, "value", "Value(<memoryview of b'value'>)")
    assert bytes(record.key) == b"key" and isinstance(record.key, Key) and record.key == Value("key") == Value(record.key)
    assert record.headers == [Header("a", b"1"), Header("b", None), Header("c", b"")]
    assert [header.value.data for header in record.headers] == [b"1", None, b""]


def test_it_equals_the_same_bytes():
    value = read(b"value").value
    for same in (b"value", bytearray(b"value"), memoryview(b"value"), Value(b"value"), Key("value"), Value(bytearray(b"value")), read(b"value").value, value):
        assert value == same and same == value and not value != same
    for other in (b"", b"val", b"values", "value", None, NullValue, 5, Value(b"values"), read(None).value, read(b"").value):
        assert value != other and other != value
    assert hash(value) == hash(b"value") and {value: 1}[b"value"]


def test_null_is_not_empty():
    null, empty = read(None).value, read(b"").value
    assert null.data is None and null == NullValue and null == None and not null and str(null) == "[null]"
    assert empty.data == b"" == empty and empty != null and empty != None and not empty and str(empty) == "[empty]"
    assert bytes(null) == bytes(empty) == b"" == memoryview(empty) and hash(null) == hash(None) and hash(empty) == hash(b"")


def test_copies_have_bytes_of_their_own():
    value = read(b"value").value
    assert copy.copy(value) is value
    for made in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert made == value and type(made) is Value and type(made.data) is bytes


def test_nobody_may_write():
    value = read(b"value").value
    with pytest.raises(BufferError, match="a Value is read-only"):
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(value), ctypes.create_string_buffer(200), 1)
    with pytest.raises(TypeError):
        memoryview(value)[0] = 1
    with pytest.raises(TypeError):
        value.data[0] = 1
    with pytest.raises(AttributeError):
        value.data = b"other"


def test_the_collector_does_not_look_at_them():
    record = read(b"value")
    assert not gc.is_tracked(record) and not gc.is_tracked(record.value)
    assert gc.is_tracked(Value(bytearray()))        # what it reads may refer to it


def test_a_cycle_through_its_owner_ends():
    """A view of something mutable, from which one comes back to it."""
    class Mine(bytearray):
        pass
    data = Mine(b"x")
    data.view, data.read = Value(data), read(b"value").value
    gone = []
    data.last = type("Last", (), {"__del__": lambda self: gone.append(True)})()
    del data
    gc.collect()
    assert gone == [True]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_reading_leaks_nothing():
    record, nothing = read(b"value" * 20, b"key", ((b"a", b"1"),)), sys.getrefcount(None)

    def use(times):
        for _ in range(times):
            value = record.value
            assert memoryview(value) == bytes(value) == value.data and value == record.value and hash(value) and record.headers[0].value

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    use(1000)
    before = resident()
    use(50_000)
    assert resident() - before < 1_500_000          # 32 bytes each would show
    assert abs(sys.getrefcount(None) - nothing) < 1000 or sys.version_info >= (3, 12)
