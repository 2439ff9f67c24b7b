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
    assert all(abs(a - b) <= 1 for a, b in zip(after, before, strict=True))     # the last topic is remembered


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
