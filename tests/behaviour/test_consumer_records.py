"""ConsumerRecord: equality, copies and pickles, texts."""
import copy
import gc
import pickle
import threading

import pytest
from consumers import batches, fields, new_consumer, one_batch, plain, records
from helpers import properties

from kafkapp import KafkaAsyncProducer, KafkaSyncProducer, Key, Value

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


def test_what_was_read_is_sent_without_a_copy(broker, topic, written):
    """One by one, as a batch and as headers; also when nobody else keeps it until it is delivered."""
    wanted = [plain(record.value) for record in read(broker, written)]
    with KafkaAsyncProducer(properties(broker, **{"linger.ms": 100})) as producer:
        for record in read(broker, written):
            producer.send(topic, record.value, key=record.key, partition=0, headers=record.headers)
        producer.send_batch(topic, [record.value for record in read(broker, written)], partition=1)
        del record
        gc.collect()
        producer.flush(20)
    with new_consumer(broker, topic, [0]) as consumer:
        again = records(consumer, len(KINDS))
    assert [(plain(record.key), plain(record.value), [(header.key, plain(header.value)) for header in record.headers]) for record in again] == KINDS
    with new_consumer(broker, topic, [1]) as consumer:
        assert [plain(record.value) for record in records(consumer, len(KINDS))] == wanted


def test_each_iterator_has_its_place(broker, written):
    with new_consumer(broker, written, [3]) as consumer:
        batch = one_batch(consumer, len(KINDS))
    one, other = iter(batch), iter(batch)
    assert next(one) == batch[0] and next(one) == batch[1] and next(other) == batch[0] and iter(one) is one
    assert list(one) == [batch[2], batch[3]] and list(one) == [] and next(one, None) is None and len(list(other)) == 3


def test_a_loop_gives_no_record_twice(broker, topic):
    """The iterator gives a record that nobody has any more again, as another row."""
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"%d" % number for number in range(300)], partition=3).failures()
    with new_consumer(broker, topic, [3]) as consumer:
        batch = one_batch(consumer, 300)
    assert [record.offset for record in batch] == list(range(300))
    assert [record.offset for record in list(batch)] == list(range(300))
    seen, every_third, values = iter(batch), [], []
    for number, record in enumerate(seen):
        values.append(record.value)
        if number % 3 == 0:
            every_third.append(record)
    assert [record.offset for record in every_third] == list(range(0, 300, 3))
    assert [bytes(value) for value in values] == [b"%d" % number for number in range(300)]
    del seen, record
    assert [(before.offset, after.offset) for before, after in zip(iter(batch), list(batch)[1:], strict=False)] == [
        (number, number + 1) for number in range(299)]


def test_views_that_are_dropped_leave_the_others_alone(broker, written):
    record = read(broker, written)[0]
    kept = [record.value for _ in range(200)]
    copies = [Value(value) for value in kept]
    assert not any(map(gc.is_tracked, kept + copies))
    del kept[::2], copies[1::2]
    made = [record.value for _ in range(150)] + [Value(b"other"), Key(b"key"), record.key]
    assert kept + copies == [b"value"] * 200 and made == [b"value"] * 150 + [b"other", b"key", None]
    assert getattr(record, str(b"value", "ascii")) == b"value" == type(record).value.__get__(record)
    with pytest.raises(AttributeError, match="'kafkapp.ConsumerRecord' object has no attribute 'values'"):
        record.values  # noqa: B018


def test_threads_share_an_iterator(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"v"] * 5000, partition=3)
    with new_consumer(broker, topic, [3]) as consumer:
        found = batches(consumer, 5000)
    for batch in found:
        iterator, taken = iter(batch), [[] for _ in range(4)]
        threads = [threading.Thread(target=lambda own: own.extend(record.offset for record in iterator), args=(own,)) for own in taken]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(offset for own in taken for offset in own) == [record.offset for record in batch]


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
