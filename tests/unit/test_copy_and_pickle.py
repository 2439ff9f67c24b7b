"""Copies and pickles of records, views, metadata and the rest: what is shared, what is copied."""
import copy
import gc
import pickle
from array import array

import numpy
import pytest
from helpers import run_python

from kafkapp import (
    ActionWhileQueueIsFull,
    BrokerMetadata,
    Error,
    ErrorCode,
    EventsPollingOption,
    Header,
    KafkaException,
    Key,
    PersistedStatus,
    ProducerConfig,
    ProducerRecord,
    Properties,
    SendOption,
    Timestamp,
    Value,
)
from kafkapp.common.cluster_metadata import Node, PartitionInfo
from kafkapp.producer import record as records
from kafkapp.producer.record_metadata import _restore_metadata

DEEP = {"deepcopy": copy.deepcopy, **{f"pickle {protocol}": (lambda one, p=protocol: pickle.loads(pickle.dumps(one, p)))
                                      for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}}
PAYLOADS = {
    "bytes": lambda: b"payload", "bytearray": lambda: bytearray(b"payload"), "memoryview": lambda: memoryview(b"payload"),
    "slice": lambda: memoryview(b"xpayloadx")[1:-1], "array": lambda: array("b", b"payload"), "NumPy": lambda: numpy.frombuffer(b"payload", "u1"),
    "Value": lambda: Value(bytearray(b"payload")), "Key": lambda: Key(memoryview(b"payload")), "Bytes": lambda: Bytes(b"payload"),
}


class Bytes(bytes):
    pass


class Text(str):
    pass


class Mine(ProducerRecord):
    """A subclass with an __init__ of its own, attributes and slots."""

    __slots__ = ("slot", "__dict__")

    def __init__(self, extra):
        super().__init__("mine", value=b"v")
        self.extra, self.slot = extra, [extra]


def parts(one):
    return (one.topic, one.partition, one.key, one.value, one.id, [(header.key, header.value) for header in one.headers], one.timestamp)


@pytest.mark.parametrize("way", [*DEEP, "copy"])
def test_a_record_copied_is_the_same_record(way):
    for record in (ProducerRecord("orders", 2, b"key", "välue", ("id", 1), headers=[("h", b"x"), Header("n", None)], timestamp=1_700_000_000_000),
                   ProducerRecord("t"), ProducerRecord("", 0, "", b"", 0), ProducerRecord("t", headers={}), ProducerRecord.__new__(ProducerRecord)):
        made = DEEP.get(way, copy.copy)(record)
        assert parts(made) == parts(record) and type(made) is ProducerRecord and made is not record and str(made) == str(record)


@pytest.mark.parametrize("way", DEEP)
@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_deep_copy_has_memory_of_its_own(kind, way):
    payload = PAYLOADS[kind]()
    record = ProducerRecord("t", None, payload, payload, headers=[("h", payload), Header("g", payload)])
    record.headers.append(["i", payload])
    made = DEEP[way](record)
    wanted = {"Value": Value, "Key": Key}.get(kind, bytes)
    for part in (made.key, made.value, *(header.value for header in made.headers)):
        assert part == b"payload" and type(part) is wanted
        assert type(part.data if isinstance(part, (Key, Value)) else part) is bytes
    if isinstance(payload, bytearray):
        payload.append(1)
        assert made.value == b"payload"


def test_a_copy_shares_what_the_record_has_but_its_list_of_headers():
    payload, number = bytearray(b"v"), object()
    record = ProducerRecord("t", 1, payload, payload, number, headers=[("h", payload)], timestamp=5)
    made = copy.copy(record)
    assert made.key is payload is made.value is made.headers[0].value and made.id is number
    made.headers.append(("i", b""))
    made.partition = 2
    assert (len(record.headers), record.partition) == (1, 1)


@pytest.mark.parametrize("way", [*DEEP, "copy"])
def test_a_subclass_keeps_what_it_adds(way):
    record = Mine("more")
    record.own = record
    made = DEEP.get(way, copy.copy)(record)
    assert (type(made), made.topic, made.value, made.extra, made.slot) == (Mine, "mine", b"v", "more", ["more"])
    assert made.own is (record if way == "copy" else made) and (made.slot is record.slot) == (way == "copy")
    del record.own, made.own
    gc.collect()


@pytest.mark.parametrize("way", DEEP)
def test_an_id_that_refers_to_its_record(way):
    record = ProducerRecord("t", value=b"v", id=[])
    record.id.append(record)
    made = DEEP[way](record)
    assert made is not record and made.id[0] is made
    record.id.clear(), made.id.clear()


def test_what_cannot_be_copied_says_so():
    for number in (open, lambda: 1, (x for x in ""), memoryview(b"")):
        record = ProducerRecord("t", id=number)
        assert copy.copy(record).id is number
        if number is not open:
            with pytest.raises((TypeError, pickle.PicklingError, AttributeError), match="pickle|lambda"):
                pickle.dumps(record)
    gone = memoryview(b"gone")
    record = ProducerRecord("t", value=gone)
    gone.release()
    for way in DEEP.values():
        with pytest.raises(ValueError, match="released"):
            way(record)
    record = ProducerRecord("t")
    record.headers.append(("h", 5))
    for way in (*DEEP.values(), copy.copy):
        with pytest.raises(TypeError, match="value of header 'h'"):
            way(record)
    with pytest.raises(TypeError, match="cls must be"):
        records._restore_record(dict, "t", -1, None, None, None, 0)
    for wrong, error in ((("t", -5, None, None, None, 0), ValueError), (("t", 0, 5, None, None, 0), TypeError),
                         ((b"t", 0, None, None, None, 0), TypeError), (("t", 0, None, None, 7, 0), TypeError),
                         (("t", 0, None, None, None, -1), ValueError)):
        with pytest.raises(error):
            records._restore_record(ProducerRecord, *wrong)


def test_a_record_reaches_another_process():
    record = ProducerRecord("t", 1, memoryview(b"k"), bytearray(b"v"), 7, headers=[("h", memoryview(b"x"))])
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])))"       # which imports kafkapp by itself
    assert run_python(code, pickle.dumps(record).hex()) == "t-1:7, headers[h:x], k/v\n"


OTHERS = {
    "Key": (Key(b"k"), Key()), "Value": (Value("text"), Value(Text("text")), Value(b"")), "Header": (Header("h", b"x"), Header(Text("h"), None)),
    "Timestamp": (Timestamp(1), Timestamp(5, Timestamp.Type.LogAppendTime)), "Error": (Error(-184), Error(5, "more", is_fatal=True)),
    "metadata": (_restore_metadata("t", ("id", 1), 2, 3, 4, 5, 6, 7, 1, 2),),
    "Properties": (Properties({"acks": "all", "sasl.password": "secret"}), ProducerConfig({"error_cb": print})),
    "enums": (SendOption.NoCopyRecordValue, EventsPollingOption.Manual, ActionWhileQueueIsFull.Block, PersistedStatus.Possibly,
              Timestamp.Type.CreateTime, ErrorCode(-184), ErrorCode(12345)),
    "nodes": (Node(1, "host", 9092), Node(2)),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("way", [*DEEP, "copy"])
def test_copies_of_the_other_classes(kind, way):
    if kind in ("nodes", "Properties") and way in ("pickle 0", "pickle 1"):
        return      # classes with slots: Python's protocols 0 and 1 have none of them
    for one in OTHERS[kind]:
        made = DEEP.get(way, copy.copy)(one)
        assert made == one and type(made) is type(one) and (hash(made) == hash(one) if type(one).__hash__ else True)
        if isinstance(one, ErrorCode | SendOption):
            assert made is one


@pytest.mark.parametrize("way", [*DEEP, "copy"])
def test_exceptions_and_metadata_of_topics(way):
    for code in (-184, -185, -186, 7):
        made = DEEP.get(way, copy.copy)(KafkaException(code, "more"))
        assert type(made) is type(KafkaException(code)) and made.error == Error(code, "more")
    if way not in ("pickle 0", "pickle 1"):
        node = Node(1, "host", 9092)
        metadata = BrokerMetadata("t", [node], {0: PartitionInfo(node, [node], [])}, node)
        assert str(DEEP.get(way, copy.copy)(metadata)) == str(metadata)


def test_views_copied_are_themselves_and_pickled_have_their_own_memory():
    data = bytearray(b"v")
    view, header = Value(data), Header("h", data)
    assert copy.copy(view) is view and copy.copy(header) is header
    for way in DEEP.values():
        assert way(view) == b"v" and type(way(view).data) is bytes and type(way(header).value) is bytes
    assert type(copy.deepcopy(Value(Text("a"))).data) is str


def test_pickled_properties_have_their_secrets():
    """They are for a process that connects; a pickle is as secret as what it holds."""
    properties = pickle.loads(pickle.dumps(Properties({"sasl.password": "secret"})))
    assert properties["sasl.password"] == "secret" and "secret" not in repr(properties)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(Properties({"error_cb": lambda error: None}))
