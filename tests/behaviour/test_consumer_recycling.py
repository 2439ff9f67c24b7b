"""The memory of a batch serves again for a later one; never while anything holds it."""
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow
import pytest
from consumers import new_consumer, one_batch
from helpers import properties

from kafkapp import KafkaSyncProducer

COUNT = 2000
VALUES = [b"%04d" % row * 25 for row in range(COUNT)]


@pytest.fixture(scope="module")
def written(broker):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch("recycled", VALUES, partition=0, keys=[value[:8] if row % 3 else None for row, value in enumerate(VALUES)],
                            headers=[[("h", value[:4])] for value in VALUES])
        producer.send_batch("recycled", [b"few"] * 10, partition=1)
    return "recycled"


def read(consumer, **how):
    """All records, in one batch."""
    consumer.seek_to_beginning()
    return one_batch(consumer, COUNT, **how)


@pytest.fixture(scope="module")
def large(broker):
    """Records of 100 kB, and before each a small one."""
    with KafkaSyncProducer(properties(broker)) as producer:
        for row in range(24):
            producer.send("large", b"%02d" % row * (50_000 if row % 2 else 1), partition=0)
    return "large"


def one_by_one(consumer, taken):
    """A batch of each record, so that it never comes in parts. What malloc has free in between is taken by others."""
    for _ in range(24):
        yield consumer.poll_batch(20, max_records=1)
        taken.append(bytearray(100_000))


def address(batch):
    return pyarrow.py_buffer(batch.value_data).address


def test_memory_comes_back(broker, large):
    with new_consumer(broker, large, [0]) as consumer:
        addresses, small = set(), []
        for batch in one_by_one(consumer, []):
            if batch.nbytes > 2:
                addresses.add(address(batch))
            else:
                small.append(batch)             # holds no memory of a large one
            del batch
    assert len(addresses) == 1 and not addresses & set(map(address, small))
    assert [bytes(batch.value_data) for batch in small] == [b"%02d" % row for row in range(0, 24, 2)]


def test_two_take_turns(broker, large):
    """A loop holds its batch until the next one has come."""
    with new_consumer(broker, large, [0]) as consumer:
        addresses = [address(batch) for batch in one_by_one(consumer, []) if batch.nbytes > 2]
    assert len(set(addresses)) <= 2 and len(addresses) == 12


def read_few(consumer, topic, **how):
    """What the other partition has; then the first one is read again."""
    consumer.pause([(topic, 0)])
    consumer.resume([(topic, 1)])
    consumer.seek_to_beginning()
    few = one_batch(consumer, 10, **how)
    consumer.pause([(topic, 1)])
    consumer.resume([(topic, 0)])
    return few


HOLDERS = {
    "column": (lambda batch: batch.value_data, bytes),
    "view of a column": (lambda batch: memoryview(batch.value_data)[:], bytes),
    "values": (lambda batch: [record.value for record in batch], lambda held: b"".join(map(bytes, held))),
    "record": (lambda batch: batch[0], lambda held: bytes(held.value) + b"".join(VALUES[1:])),
    "iterator": (lambda batch: iter(batch), lambda held: b"".join(bytes(record.value) for record in held)),
    "array": (lambda batch: pyarrow.record_batch(batch), lambda held: b"".join(held["value"].to_pylist())),
    "child": (lambda batch: pyarrow.record_batch(batch)["value"], lambda held: b"".join(held.to_pylist())),
    "buffer": (lambda batch: pyarrow.record_batch(batch)["value"].buffers()[2], bytes),
}


@pytest.mark.parametrize("how", HOLDERS)
@pytest.mark.parametrize("headers", [False, True])
def test_what_is_held_stays(broker, written, how, headers):
    hold, plain = HOLDERS[how]
    with new_consumer(broker, written, [0, 1]) as consumer:
        consumer.pause([(written, 1)])
        held = [hold(read(consumer, headers=headers)) for _ in range(3)]
        for _ in range(3):
            read(consumer, headers=headers)
        read_few(consumer, written, headers=headers)
    assert all(plain(one) == b"".join(VALUES) for one in held)


def test_nulls_and_headers_of_old_records_are_gone(broker, written):
    with new_consumer(broker, written, [0, 1]) as consumer:
        consumer.pause([(written, 1)])
        for headers in (False, True, True, False, False):
            old = pyarrow.record_batch(read(consumer, headers=headers))
            assert old["key"].null_count == (COUNT + 2) // 3 and old.num_columns == 7 + headers
            del old
            new = read_few(consumer, written, headers=headers)
            made = pyarrow.record_batch(new)
            made.validate(full=True)
            assert made["value"].null_count == 0 and made["key"].null_count == 10 and made["offset"].to_pylist() == list(range(10))
            assert new.ends == {(written, 1): 10} and not headers or made["headers"].to_pylist() == [[]] * 10


def test_released_by_other_threads_and_after_close(broker, written):
    """Arrays of several consumers, each released elsewhere while polls go on."""
    def poll_and_release(pool, consumer):
        releases, kept = [], []
        for turn in range(15):
            array = pyarrow.record_batch(read(consumer))
            (kept if turn % 5 == 0 else releases).append(array)
            if releases:
                pool.submit(releases.pop)       # this thread forgets it, and the other drops it
            del array
        return kept

    consumers = [new_consumer(broker, written, [0]) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(3) as pollers:
        kept = [array for arrays in pollers.map(lambda consumer: poll_and_release(pool, consumer), consumers) for array in arrays]
    for consumer in consumers:
        consumer.close()
    del consumers, consumer
    assert len(kept) == 9 and all(b"".join(array["value"].to_pylist()) == b"".join(VALUES) for array in kept)
    threads = [threading.Thread(target=kept.pop) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not kept
