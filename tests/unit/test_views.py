"""Key, Value and Headers: texts, refusals, and the headers that librdkafka gets, without a broker.

The numbers in the tests' names are those of the list of bad inputs that the project keeps.
"""
import array
import ctypes
import io
import mmap
import os
import pickle
import sys

import numpy
import pytest
from helpers import exported

from kafkapp.common import headers as header_module
from kafkapp.common import views
from kafkapp import Header, Key, NullKey, NullValue, ProducerRecord, Value, _restore_consumer_record


class Text(str):
    def __str__(self):
        raise RuntimeError("the raw text is to be used")

    __hash__ = str.__hash__


def closed_mmap():
    closed = mmap.mmap(-1, 16)
    closed.close()
    return closed


def released():
    view = memoryview(b"abc")
    view.release()
    return view


def structure(kind, **fields):
    return type("Made", (kind,), {"_fields_": list(fields.items())})()


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def native_headers(headers):
    """The headers as librdkafka has them, through the function that the producer calls."""
    made = exported(header_module, "new_headers", ctypes.c_void_p, ctypes.py_object)(headers)
    if made is None:
        return None
    library = ctypes.CDLL(views.__file__)       # finds the symbols of what it is linked with, too
    key, data, size, result = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t(), []
    while not library.rd_kafka_header_get_all(ctypes.c_void_p(made), ctypes.c_size_t(len(result)), ctypes.byref(key),
                                              ctypes.byref(data), ctypes.byref(size)):
        result.append((key.value, None if data.value is None else ctypes.string_at(data.value, size.value)))
    library.rd_kafka_headers_destroy(ctypes.c_void_p(made))
    return result


BUFFERS = [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcx")[1:4], array.array("b", b"abc"),
           numpy.frombuffer(b"abc", "u1"), (ctypes.c_char * 3)(*b"abc"), "abc", Text("abc"), Value(b"abc"), Key("abc"),
           _restore_consumer_record("t", 0, 0, -1, 0, -1, None, b"abc", None).value]


@pytest.mark.parametrize("data", BUFFERS, ids=lambda data: type(data).__name__)
@pytest.mark.parametrize("kind", [Key, Value])
def test_a_view_reads_what_it_was_given(kind, data):
    view = kind(data)
    assert (len(view), view.size, bytes(view), bool(view)) == (3, 3, b"abc", True)
    assert view == b"abc" and b"abc" == view and view == bytearray(b"abc") and view == Key("abc")
    assert view != b"abd" and view != b"ab" and view != "abc" and view != 5 and view is not None
    assert hash(view) == hash(b"abc") and str(view) == "abc"
    shown = memoryview(view)
    assert (shown.tobytes(), shown.format, shown.shape, shown.readonly) == (b"abc", "B", (3,), True)
    assert ProducerRecord("t", key=data, value=data).value is data


def test_a_view_is_no_copy():
    data = bytearray(b"abc")
    view = Value(data)
    assert view.data is data and Value(view).data is data
    data[0] = ord("x")
    assert view == b"xbc" and memoryview(view)[0] == ord("x")
    shown = numpy.frombuffer(view, "u1")
    assert shown.ctypes.data == ctypes.addressof(ctypes.c_char.from_buffer(data))
    with pytest.raises(TypeError):
        memoryview(view)[0] = 1


def test_a_view_locks_its_buffer_only_while_it_is_read():
    data = bytearray(b"abc")
    record = ProducerRecord("t", value=Value(data), key=data)
    len(record.value), bytes(record.value), hash(record.value), str(record), repr(record), record.value == b"abc"
    data += b"d"
    with memoryview(record.value) as shown:
        with pytest.raises(BufferError):
            data.append(1)
        assert shown == b"abcd"
    data += b"e"
    assert record.value == b"abcde"


def test_null_and_empty_are_two_things():
    assert Key() == NullKey == NullValue == Value(None) and Value() == None
    assert Value() != b"" and Value() != Value(b"") and Value(b"") != None and Value(b"") == b"" == Value("")
    for view in (NullValue, Value(b""), Value(bytearray()), Value(numpy.zeros(0, "u1"))):
        assert not view and len(view) == view.size == 0 and bytes(view) == b"" == memoryview(view)
    assert hash(Value()) == hash(None) and hash(Value(b"")) == hash(b"")
    assert (str(NullKey), str(Value(b""))) == ("[null]", "[empty]")


def test_nothing_at_no_address_is_not_null():
    make = ctypes.pythonapi.PyMemoryView_FromMemory
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
    nothing = make(None, 0, 0x100)
    assert native_headers([("a", nothing), ("b", None)]) == [(b"a", b""), (b"b", None)]
    assert str(Value(nothing)) == "[empty]" and Value(nothing) == b""


def test_views_print_as_in_cpp():
    assert str(Value(b"hello\0world")) == "hello[0x00]world"
    assert str(Value(b"\x1f ~\x7f\xff")) == "[0x1f] ~[0x7f][0xff]"
    assert repr(Value(b"abc")) == "Value(b'abc')" and repr(Key("abc")) == "Key('abc')" and repr(Key()) == "Key(None)"
    assert len(repr(ProducerRecord("t", value=b"x" * 10**6, key=bytearray(10**6)))) < 500
    assert "1000000 bytes" in repr(Value(b"x" * 10**6))


def test_a_view_of_many_dimensions_is_flat():
    grid = numpy.arange(6, dtype="<i4").reshape(2, 3)
    assert len(Value(grid)) == 24 and memoryview(Value(grid)).shape == (24,) and Value(grid) == grid.tobytes()
    assert Value(numpy.array(["2020-01-01"], "M8[ms]")).size == 8       # a type that no buffer format can express
    assert Value(numpy.zeros(1, [("O", "i8")])).size == 8               # a name, not objects


HARMLESS = [numpy.zeros(2, form) for form in ("?", "c16", "c8", "f2", "g", "U3", "S9", "V16", "M8[s]", "m8[ns]", [("t", "M8[s]"), ("n", "i8")],
            [("O", "i8"), ("P", "f8")], [("a:b", "i8")], [("a<b", "i8")], [("a", "i1"), ("b", "i8")], [("n", "i4", (2, 3))],
            [("s", [("x", "i2"), ("y", "f8")], 2)], numpy.dtype([("a", "i1"), ("b", "i8")], align=True),
            numpy.dtype({"names": ["a"], "formats": ["i4"], "itemsize": 24}))]
HARMLESS += [(ctypes.c_longdouble * 2)(), (ctypes.c_wchar * 3)(), structure(ctypes.Structure, a=ctypes.c_char, b=ctypes.c_long * 2, c=ctypes.c_short),
             structure(ctypes.Union, n=ctypes.c_long, d=ctypes.c_double), memoryview(structure(ctypes.Union, n=ctypes.c_long)),
             type("Packed", (ctypes.Structure,), {"_pack_": 1, "_fields_": [("a", ctypes.c_char), ("b", ctypes.c_long)]})(),
             (type(structure(ctypes.Union, n=ctypes.c_longlong, u=ctypes.c_wchar)) * 2)(), array.array("d", [1]), memoryview(numpy.zeros((2, 2), "f8")), numpy.int64(5), numpy.float64(5)]


@pytest.mark.parametrize("data", HARMLESS, ids=lambda data: str(getattr(data, "dtype", type(data).__name__)))
def test_what_has_no_pointers_is_sent_as_it_is_in_memory(data):
    expected = data.tobytes() if hasattr(data, "tobytes") else bytes(data)
    assert bytes(Value(data)) == expected and native_headers([("h", data)]) == [(b"h", expected)]


def test_what_says_nothing_of_its_items_can_be_copied():
    class Untold(numpy.ndarray):
        dtype = None        # what it is made of, it does not say

    dates = numpy.zeros(2, "M8[s]").view(Untold)
    with pytest.raises(TypeError, match=r"does not tell.*\.tobytes\(\) or bytes\(\) makes a copy"):
        Value(dates)
    assert Value(dates.tobytes()).size == 16


def test_text_is_its_utf8_form():
    assert Value("h\u00e9") == b"h\xc3\xa9" and len(Value("\U0001f600")) == 4 and Value("a\0b") == b"a\0b"


def test_views_can_be_pickled():
    assert pickle.loads(pickle.dumps([Value(b"a"), Key(), Header("k", b"v")])) == [Value(b"a"), Key(), Header("k", b"v")]


def test_only_keys_and_values_are_made():
    with pytest.raises(TypeError, match="Key or a Value"):
        views.View(b"")


BAD_DATA = {
    "64 int": (lambda: 5, TypeError, "bytes-like, str, Key, Value or None, not int"),
    "64 float": (lambda: 1.5, TypeError, "not float"),
    "64 bool": (lambda: True, TypeError, "not bool"),
    "65 lone surrogate": (lambda: "a\ud800", ValueError, "UTF-8.*position 1"),
    "66 list": (lambda: [b"a"], TypeError, "not list"),
    "66 dict": (dict, TypeError, "not dict"),
    "69 released": (released, ValueError, "released"),
    "70 gaps": (lambda: memoryview(b"abcdef")[::2], BufferError, r"\.tobytes\(\)"),
    "70 gaps of NumPy": (lambda: numpy.arange(9)[::2], BufferError, r"\.tobytes\(\)"),
    "70 backwards": (lambda: memoryview(b"abcdef")[::-1], BufferError, r"\.tobytes\(\)"),
    "71 F order": (lambda: numpy.asfortranarray(numpy.ones((2, 3))), BufferError, r"\.tobytes\(\)"),
    "72 objects": (lambda: numpy.array([1, "a"], dtype=object), TypeError, "objects"),
    "72 structures of objects": (lambda: numpy.zeros(2, [("a", "i4"), ("b", "O")]), TypeError, "objects"),
    "72 ctypes": (lambda: (ctypes.py_object * 2)(1, 2), TypeError, "objects"),
    "72 objects and dates": (lambda: numpy.zeros(2, [("o", "O"), ("t", "M8[s]")]), TypeError, "pointers"),
    "72 objects of odd names": (lambda: numpy.zeros(2, [("a:b", "O")]), TypeError, "pointers"),
    "72 strings of no fixed size": (lambda: numpy.array(["a", "b"], numpy.dtypes.StringDType()), TypeError, "pointers"),
    "72 objects in a PickleBuffer": (lambda: pickle.PickleBuffer(numpy.zeros(2, [("o", "O"), ("n", "i8")])), TypeError, "pointers"),
    "72 pointers": (lambda: (ctypes.POINTER(ctypes.c_int) * 2)(), TypeError, "pointers"),
    "72 char pointers": (lambda: (ctypes.c_char_p * 2)(), TypeError, "pointers"),
    "72 wide char pointers": (lambda: (ctypes.c_wchar_p * 2)(), TypeError, "pointers"),
    "72 void pointers": (lambda: memoryview((ctypes.c_void_p * 2)()), TypeError, "pointers"),
    "72 functions": (lambda: (ctypes.CFUNCTYPE(None) * 2)(), TypeError, "pointers"),
    "72 a structure with a pointer": (lambda: structure(ctypes.Structure, n=ctypes.c_long, p=ctypes.c_void_p), TypeError, "pointers"),
    "72 a structure in another": (lambda: structure(ctypes.Structure, n=type(structure(ctypes.Structure, p=ctypes.c_char_p))), TypeError, "pointers"),
    "72 a union with a pointer": (lambda: structure(ctypes.Union, n=ctypes.c_long, p=ctypes.py_object), TypeError, "pointers"),
    "72 a union in a structure": (lambda: structure(ctypes.Structure, u=type(structure(ctypes.Union, p=ctypes.c_void_p))), TypeError, "pointers"),
    "72 colons in names": (lambda: structure(ctypes.Structure, **{":": ctypes.c_long, "p": ctypes.py_object}), TypeError, "pointers"),
    "72 a format in a name": (lambda: structure(ctypes.Structure, **{"a:i": ctypes.c_long, "x": ctypes.py_object, "b:i": ctypes.c_long}),
                              TypeError, "pointers"),
    "73 generator": (lambda: (x for x in b""), TypeError, "not generator"),
    "73 file": (lambda: io.BytesIO(b"a"), TypeError, "not BytesIO"),
    "78 closed mmap": (closed_mmap, ValueError, "closed"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_64_to_81_data_that_cannot_be_sent(case):
    make, error, text = BAD_DATA[case]
    record = ProducerRecord("t", key=b"k", value=b"v")
    for what, refused in {
        "Key": lambda: Key(make()), "Value": lambda: Value(make()),
        "key": lambda: ProducerRecord("t", None, make()), "value": lambda: ProducerRecord("t", value=make()),
        "key ": lambda: setattr(record, "key", make()), "value ": lambda: setattr(record, "value", make()),
    }.items():
        with pytest.raises(error, match=text) as caught:
            refused()
        assert what.strip() in str(caught.value) or case[:2] in ("69", "78")     # Python's own words
    assert (record.key, record.value) == (b"k", b"v")


def test_69_a_view_whose_memory_goes_away():
    data = memoryview(b"abc")
    record = ProducerRecord("t", value=Value(data))
    data.release()
    for use in (len, bytes, hash, str, memoryview):
        with pytest.raises(ValueError, match="released"):
            use(record.value)
    assert "released" in repr(record)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ in Python is new in 3.12")
def test_79_what_the_exporter_raises_comes_through():
    class Exporter:
        def __init__(self, answer):
            self.answer = answer

        def __buffer__(self, flags):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    with pytest.raises(OSError, match="mine"):
        Value(Exporter(OSError("mine")))
    with pytest.raises(TypeError):
        Value(Exporter(5))
    assert Value(Exporter(memoryview(b"abc"))) == b"abc"


def test_a_header_keeps_its_value_and_does_not_change():
    value = bytearray(b"v1")
    header = Header("k1", value)
    assert header.value is value and (str(header), repr(header)) == ("k1:v1", "Header('k1', <bytearray of b'v1'>)")
    assert str(Header("", None)) == ":[null]" and Header("k1", b"v1") == header != Header("k1", b"v2") != Header("k1", None)
    with pytest.raises(AttributeError):
        header.key = "x"
    with pytest.raises(TypeError):
        Header.__new__(Header)


def test_headers_as_librdkafka_gets_them():
    items = [Header("a", b"1"), ("a", b"2"), ["", b""], ("n", None), ("z", b"a\0b"), ("v", Value("h\u00e9")), ("e", Value(b"")),
             ("m", memoryview(b"12")), ("null", Value()), ("x", bytearray()), ("p", numpy.zeros(0, "u1")), ("\u00e9", b"")]
    expected = [(b"a", b"1"), (b"a", b"2"), (b"", b""), (b"n", None), (b"z", b"a\0b"), (b"v", b"h\xc3\xa9"), (b"e", b""),
                (b"m", b"12"), (b"null", None), (b"x", b""), (b"p", b""), (b"\xc3\xa9", b"")]
    assert native_headers(items) == expected == native_headers(tuple(items))
    assert native_headers(ProducerRecord("t", headers=items).headers) == expected
    assert native_headers({"b": b"1", "a": None}) == [(b"b", b"1"), (b"a", None)]
    assert native_headers(None) is None and native_headers([]) is None and native_headers({}) is None


BAD_HEADERS = {
    "83 str": ("ab", TypeError, "headers must be a list"), "83 bytes": (b"ab", TypeError, "headers must be a list"),
    "83 set": ({("a", b"b")}, TypeError, "not set"), "83 int": (5, TypeError, "not int"),
    "83 item": ([5], TypeError, "pair of a name and a value, not int"), "83 text": (["ab"], TypeError, "not str"),
    "84 one": ([("a",)], ValueError, "not 1 items"), "84 three": ([("a", b"b", 1)], ValueError, "not 3 items"),
    "85 bytes": ([(b"a", b"b")], TypeError, "name must be a str, not bytes"), "85 None": ([(None, b"")], TypeError, "name"),
    "87": ([("a\0b", b"")], ValueError, "NUL"), "88": ([("\ud800", b"")], ValueError, "header's name .*UTF-8"),
    "89": ([("a", 5)], TypeError, "value of header 'a' .*not int"), "90": ([("a", "\ud800")], ValueError, "value of header 'a' .*UTF-8"),
    "90 dict": ({"a": "\ud800"}, ValueError, "UTF-8"), "70": ([("a", memoryview(b"abc")[::2])], BufferError, "'a'"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_83_to_90_headers_that_cannot_be_sent(case):
    headers, error, text = BAD_HEADERS[case]
    record = ProducerRecord("t", headers=[("good", b"")])
    for refused in (lambda: native_headers(headers), lambda: ProducerRecord("t", headers=headers),
                    lambda: setattr(record, "headers", headers)):
        with pytest.raises(error, match=text):
            refused()
    assert record.headers == [Header("good", b"")]
    if isinstance(headers, list):
        record.headers.extend(headers)
        assert "good" in str(record) and repr(record)
        with pytest.raises(error, match=text):
            native_headers(record.headers)
        if isinstance(headers[0], (tuple, list)) and len(headers[0]) == 2:
            with pytest.raises(error, match=text):
                Header(*headers[0])


def test_headers_that_no_record_can_have_are_not_copied():
    """librdkafka copies them before it looks how large they are, and ends the process where there is no memory."""
    huge = mmap.mmap(-1, 2**30, access=mmap.ACCESS_READ)       # not a page of which is there
    half = memoryview(huge)[:2**29]
    for headers in ([("h", huge)], [("h", half), ("h", half)], {"a": half, "b": Value(half)}, [Header("h", half), Header("h", half)]):
        for refused in (native_headers, lambda headers: ProducerRecord("t", headers=headers)):
            with pytest.raises(ValueError, match="headers of [0-9]+ bytes: the limit is 1000000000 bytes a record") as caught:
                refused(headers)
            assert caught.value.error.code.name == "RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE"
    with pytest.raises(ValueError, match="the limit is 1000000000 bytes a record"):
        Header("h", huge)
    assert ProducerRecord("t", headers=[("h", half)]).headers[0].value is half


def test_92_an_iterator_that_raises():
    class Broken(list):
        def __iter__(self):
            yield ("a", b"b")
            raise OSError("midway")

    for refused in (native_headers, lambda headers: ProducerRecord("t", headers=headers)):
        with pytest.raises(OSError, match="midway"):
            refused(Broken())


def test_93_headers_are_a_snapshot_of_what_was_given():
    given = [("a", b"1")]
    record = ProducerRecord("t", headers=given)
    given.append(("b", b"2"))
    assert record.headers == [Header("a", b"1")]


def test_headers_can_be_changed_in_place():
    record = ProducerRecord("t", value=b"v")
    record.headers.append(("a", b"1"))
    record.headers.append(Header("b", None))
    assert record.headers == [Header("a", b"1"), Header("b", None)] and record.headers is record.headers
    assert native_headers(record.headers) == [(b"a", b"1"), (b"b", None)]
    record.headers.clear()
    assert str(record) == "t-NA: [null]/v"
    record.headers = None
    assert record.headers == []


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_reading_views_leaks_nothing():
    view = Value(bytearray(b"abc"))

    def read(times):
        for _ in range(times):
            assert memoryview(view) == b"abc" == bytes(view)

    read(1000)
    before = resident()
    read(100_000)
    assert resident() - before < 2_000_000          # 20 bytes each would show
    view.data.append(1)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_refused_headers_leak_nothing():
    held = bytearray(100_000)
    count = sys.getrefcount(held)
    before = resident()
    for _ in range(500):
        with pytest.raises(TypeError):
            native_headers([("a", held), ("b", 5)])
    assert sys.getrefcount(held) == count and held.append(1) is None
    assert resident() - before < 10_000_000           # leaked, they would hold 50 MB
