"""The pool of freed records: what they held is freed at once, whatever they held, and a new record is a new one."""
import gc
import sys
import weakref

import pytest

from kafkapp import ProducerRecord

POOL = 64


class Bytes(bytearray):
    """Of a class of its own: it can be part of a cycle, and is watched."""


class Derived(ProducerRecord):
    pass


def test_a_record_from_the_pool_has_nothing_of_the_one_before():
    for _ in range(3 * POOL):
        ProducerRecord("old", 5, b"key", b"value", "id", headers={"h": b"x"}, timestamp=7)
        record = ProducerRecord("new", None, None, b"v")
        assert (record.topic, record.partition, record.key, record.value, record.id, record.headers, record.timestamp) == \
            ("new", None, None, b"v", None, [], None)
        assert gc.is_tracked(record)


@pytest.mark.parametrize("cls", [ProducerRecord, Derived])
@pytest.mark.parametrize("count", [1, POOL, 3 * POOL])
def test_what_records_held_is_freed_with_them(cls, count):
    things = [Bytes(b"x") for _ in range(2 * count)]
    gone = [weakref.ref(thing) for thing in things]
    records = [cls("topic", 1, key, value) for key, value in zip(things[::2], things[1::2], strict=True)]
    del things
    assert all(ref() is not None for ref in gone)
    records.clear()
    assert all(ref() is None for ref in gone)


def test_references_balance():
    topic, key, value = "".join(["to", "pic"]), bytes(5), bytes(6)
    before = [sys.getrefcount(thing) for thing in (topic, key, value, None)]
    for _ in range(10 * POOL):
        ProducerRecord(topic, 3, key, value)
        ProducerRecord(topic, value=value)
    after = [sys.getrefcount(thing) for thing in (topic, key, value, None)]
    assert all(abs(a - b) <= 1 for a, b in zip(after, before, strict=True))     # the topic's name is remembered


def test_arguments_by_name_reach_their_fields():
    for _ in range(3 * POOL):
        record = ProducerRecord(value=b"v", topic="t", id="i", partition=2, key=b"k")
        assert (record.topic, record.partition, record.key, record.value, record.id) == ("t", 2, b"k", b"v", "i")
        record = ProducerRecord("t", **{str(b"value", "ascii"): b"v"}, timestamp=7)     # a name made at run time
        assert (record.topic, record.key, record.value, record.timestamp) == ("t", None, b"v", 7)
        with pytest.raises(TypeError):
            ProducerRecord("t", 1, partition=2)
        with pytest.raises(TypeError):
            ProducerRecord(value=b"v")
        with pytest.raises(TypeError):
            ProducerRecord("t", 1, b"k", b"v", None, id=1)
        with pytest.raises(TypeError):
            ProducerRecord("t", val=b"v")


def test_names_beyond_those_that_are_remembered():
    names = ["".join(["name", str(i)]) for i in range(20 * POOL)]
    before = [sys.getrefcount(name) for name in names]
    for i in range(2 * len(names)):
        record = ProducerRecord(names[i % len(names)], 0, None, b"v")
        assert record.topic == f"name{i % len(names)}"
        with pytest.raises(ValueError, match="NUL"):
            ProducerRecord(record.topic + chr(0), 0, None, b"v")
    del record
    after = [sys.getrefcount(name) for name in names]
    kept = [b - a for a, b in zip(before, after, strict=True)]
    assert set(kept) == {0, 1} and sum(kept) <= POOL


def test_a_key_whose_end_makes_records():
    made = []

    class Making(Bytes):
        def __del__(self):
            made.append(ProducerRecord("t", 0, b"k", b"v"))

    for _ in range(3 * POOL):
        ProducerRecord("t", 1, Making(b"k"), Making(b"v"))
    assert len(made) == 6 * POOL and all((record.partition, record.key, record.value) == (0, b"k", b"v") for record in made)
    assert len({id(record) for record in made}) == len(made)


def test_cycles_through_records_are_collected():
    gc.collect()
    gone = []
    for _ in range(POOL):
        key = Bytes(b"k")
        key.record = ProducerRecord("t", None, key, b"v")
        record = ProducerRecord("t", None, None, b"v", [])
        record.id.append(record)
        gone.append(weakref.ref(key))
    del key, record
    gc.collect()
    assert all(ref() is None for ref in gone)


def test_long_chains_do_not_overflow_the_stack():
    for link in ("id", "key", "both"):
        record = ProducerRecord("t")
        for _ in range(100_000):
            key = Bytes(b"k")
            if link != "id":
                key.record = record
            record = ProducerRecord("t", None, key, b"v", record if link != "key" else None)
        del record, key
