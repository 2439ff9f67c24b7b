"""ConsumerRecord: equality, copies and pickles, texts."""
import copy
import pickle

import pytest
from consumers import batches, fields, new_consumer, plain
from helpers import properties

from kafkapp import KafkaSyncProducer

KINDS = [(None, b"value", []), (b"", None, [("a", b"1"), ("a", None), ("b", b"")]), (b"k" * 200, b"", [("\u00e9", b"x" * 300)]), (b"key", b"\0\xff", [])]


@pytest.fixture
def written(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        for number, (key, value, headers) in enumerate(KINDS):
            producer.send(topic, value, key=key, partition=3, timestamp=1_700_000_000_000 + number, headers=headers)
    return topic


def read(broker, topic, headers=True):
    with new_consumer(broker, topic, [3]) as consumer:
        return [record for batch in batches(consumer, len(KINDS), headers=headers) for record in batch]


def test_equality_is_of_all_fields(broker, written):
    once, again, bare = read(broker, written), read(broker, written), read(broker, written, headers=False)
    assert once == again and [hash(record) for record in once] == [hash(record) for record in again]
    assert len({*once, *again}) == len(KINDS)
    assert once[0] != once[1] and bare[1] != once[1] and bare == read(broker, written, headers=False)
    assert once[0] != (written, 3, 0) and (once[0] == 1) is False


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("copied", [lambda record: record.detach(), copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))],
                         ids=["detach", "deepcopy", "pickle"])
def test_copies_have_memory_of_their_own(broker, written, copied, headers):
    for record in read(broker, written, headers):
        made = copied(record)
        assert made == record and made is not record and hash(made) == hash(record) and str(made) == str(record)
        assert made.leader_epoch == record.leader_epoch and repr(made) == repr(record)
        if headers:
            assert fields(made) == fields(record) and made.headers == record.headers
        else:
            with pytest.raises(RuntimeError, match="without headers"):
                made.headers  # noqa: B018
        if record.value:
            assert memoryview(made.value).obj is not memoryview(record.value).obj
        assert copy.copy(record) is record and made.detach() == record


def test_a_copy_pins_nothing_of_its_batch(broker, written):
    record = read(broker, written)[1]
    made = record.detach()
    value, batch = made.headers[0].value, memoryview(record.headers[0].value)
    del record, made
    assert value == b"1" and batch == b"1" and plain(value) == b"1"


def test_texts(broker, written):
    """As C++'s: a key without bytes is left out."""
    moment = "CreateTime[2023-11-14 22:13:20.00"
    assert [str(record) for record in read(broker, written)] == [
        f"{written}-3:0, {moment}0], value", f"{written}-3:1, {moment}1], [null]", f"{written}-3:2, {moment}2], {'k' * 200}/[empty]",
        f"{written}-3:3, {moment}3], key/[0x00][0xff]"]


def test_pickles_of_nonsense():
    from kafkapp import _restore_consumer_record
    for wrong in (("t", 0, 0, 0, 0, 0, "key", None, None), ("t", 2**40, 0, 0, 0, 0, None, None, None), (b"t", 0, 0, 0, 0, 0, None, None, None),
                  ("t", 0, 0, 0, 0, 0, None, None, ((1, 2),)), ("t", 0, 0, 0, 0, 0, None, None, (b"name",))):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            _restore_consumer_record(*wrong)
