"""Large values of a poll are views of librdkafka's memory: the right bytes by every way, counted, bounded, never lost or leaked."""
import contextlib
import copy
import ctypes
import gc
import os
import pickle
import signal
import threading

import pyarrow
import pytest
from consumers import new_consumer, plain
from groups import PROTOCOLS, REVOKED, Member, poll_until, shared
from helpers import NOWHERE, properties, wait_for

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaConsumer, KafkaException, KafkaSyncProducer
from kafkapp.consumer import consumed_columns, topic_partition

SIZES = (4095, 4096, None, 0, 20_000, 1 << 20, 1, 4096)
ROOM = {"message.max.bytes": 2_000_000}


def values(sizes=SIZES):
    return [None if size is None else os.urandom(size) for size in sizes]


def write(cluster, topic, given, partition=0, **columns):
    """As one batch, if it is below batch.size: so a consumer gets its records together."""
    with KafkaAsyncProducer(properties(cluster, ROOM, linger_ms=60_000)) as producer:
        producer.fetch_broker_metadata(topic, 20)   # else they may be moved to their partition one by one while flush() sends
        batch = producer.send_batch(topic, given, partition=partition, **columns)
        producer.flush()
        assert not batch.failures()


def poll_all(consumer, count, **how):
    """Batches of poll() with so many records."""
    found = []
    while sum(map(len, found)) < count:
        batch = consumer.poll(20, **how)
        assert batch
        found.append(batch)
    return found


def address(view):
    """Where the bytes of a value begin."""
    column = memoryview(view)
    return pyarrow.py_buffer(column).address


@pytest.fixture
def consumer(broker, topic):
    with new_consumer(broker, topic, [0]) as consumer:
        yield consumer


# -- the bytes --------------------------------------------------------------------------------------

@pytest.mark.parametrize("view_from", [1, 4096, 20_001, None])
def test_every_way_gives_the_bytes(broker, topic, consumer, view_from):
    given = values()
    write(broker, topic, given, keys=[b"key"] * len(given), headers=[[("h", b"x" * 5000), ("n", None)]] * len(given))
    found = poll_all(consumer, len(given), view_from=view_from)
    rows = [record for batch in found for record in batch]
    assert [plain(record.value) for record in rows] == given and all(record.value == value for record, value in zip(rows, given, strict=True))
    for again in (map(copy.deepcopy, rows), pickle.loads(pickle.dumps(rows)), (record.detach() for record in rows)):
        again = list(again)
        assert again == rows and [plain(record.value) for record in again] == given
    assert all(record.key == b"key" and [plain(header.value) for header in record.headers] == [b"x" * 5000, None] for record in rows)
    assert [value for batch in found for value in pyarrow.record_batch(batch)["value"].to_pylist()] == given
    for batch in found:
        offsets, data = batch.value_offsets, batch.value_data
        column = [plain(record.value) for record in batch]
        assert [bytes(data[offsets[row]:offsets[row + 1]]) or None for row in range(len(batch))] == [value or None for value in column]
        assert batch.nbytes == sum(map(len, filter(None, column))) + len(batch) * (len("key") + 5000 + len("hn"))
    assert bool(consumer.pinned_bytes) == (view_from is not None)


@pytest.mark.parametrize("requested", [pyarrow.large_binary(), pyarrow.binary_view(), pyarrow.string()])
def test_arrow_as_it_is_asked_for(broker, topic, consumer, requested):
    given = [b"a" * 5000, b"b", b"c" * 9000]
    write(broker, topic, given)
    batch, = poll_all(consumer, 3)
    schema, array = batch.__arrow_c_array__(pyarrow.schema([("value", requested)]).__arrow_c_schema__())
    made = pyarrow.RecordBatch._import_from_c_capsule(schema, array)
    made.validate(full=True)
    assert made.schema.field("value").type == requested and made["value"].cast(pyarrow.binary()).to_pylist() == given


def test_a_view_that_is_not_utf8_is_found(broker, topic, consumer):
    write(broker, topic, [b"a" * 5000, b"\xff" * 5000])
    batch, = poll_all(consumer, 2)
    with pytest.raises(ValueError, match="row 1, is not UTF-8"):
        batch.__arrow_c_array__(pyarrow.schema([("value", pyarrow.string())]).__arrow_c_schema__())


def test_threads_make_the_columns_whole_together(broker, topic, consumer):
    write(broker, topic, [b"%04d" % row * 1500 for row in range(100)])
    batch = poll_all(consumer, 100)[0]
    start, made = threading.Barrier(8), []

    def make():
        start.wait(20)
        made.append((batch.value_data, pyarrow.record_batch(batch)["value"]))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({address(data) for data, _ in made}) == 1 and len(made) == 8
    assert all(bytes(data) == b"".join(column.to_pylist()) == b"".join(b"%04d" % row * 1500 for row in range(len(column))) for data, column in made)


# -- no copy ----------------------------------------------------------------------------------------

def test_they_are_not_copied(broker, topic, consumer):
    """In a column one value begins where the one before ends; in what a broker has sent something stands between them."""
    write(broker, topic, [b"x" * 4096] * 3)
    for view_from, copied in ((4096, False), (4097, True), (None, True)):
        consumer.seek_to_beginning()
        batch, = poll_all(consumer, 3, view_from=view_from)
        first, second, _ = (record.value for record in batch)
        assert (address(second) - address(first) == 4096) is copied
        data = batch.value_data
        assert (address(data) == address(first)) is copied and bytes(data) == b"x" * 4096 * 3


def test_batches_are_copied(broker, topic, consumer):
    write(broker, topic, [b"x" * 100_000] * 3)
    batch = consumer.poll_batch(20)
    assert batch and consumer.pinned_bytes == 0


# -- what they hold ---------------------------------------------------------------------------------

OWNERS = {"batch": lambda batch: batch, "record": lambda batch: batch[0], "value": lambda batch: batch[1].value, "headers": lambda batch: batch[0].headers,
          "memoryview": lambda batch: memoryview(batch[0].value), "column": lambda batch: batch.offsets, "array": lambda batch: pyarrow.record_batch(batch)["key"]}


def test_each_owner_holds_them(broker, topic, consumer):
    write(broker, topic, [b"x" * 5000] * 14, keys=[b"k"] * 14, headers=[[("h", b"v")]] * 14)
    for owner in OWNERS.values():
        batch, = poll_all(consumer, 2, max_records=2)
        assert consumer.pinned_bytes > 10_000
        kept = owner(batch)
        del batch
        gc.collect()
        assert consumer.pinned_bytes > 10_000
        del kept
        gc.collect()
        assert consumer.pinned_bytes == 0


def test_each_batch_counts(broker, topic, consumer):
    write(broker, topic, [b"x" * 5000] * 6)
    ends = 2 * int(consumer.get_property("fetch.message.max.bytes"))        # of one partition, in two responses
    expected, found = 0, []
    for _ in range(3):
        found.append(consumer.poll(20, 2))
        expected += ends + len(found[-1]) * (5000 + 320 + 80)
        assert found[-1] and consumer.pinned_bytes == expected
    alone = found[0][0].detach()
    del found[:]
    assert consumer.pinned_bytes == 0 and alone.value == b"x" * 5000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_partitions_that_come_amid_a_poll_count(broker, topic, protocol):
    write(broker, topic, [b"x" * 5000])
    with Member(broker, topic, protocol) as member:
        member.subscribe(topic, timeout=None)
        batch = member.consumer.poll(30)
        assert len(member.consumer.assignment()) == 4 and len(batch) == 1
        assert member.consumer.pinned_bytes == 2 * 4 * int(member.consumer.get_property("fetch.message.max.bytes")) + 5000 + 320 + 80


def test_above_the_limit_they_are_copied(broker, topic):
    write(broker, topic, [b"x" * 50_000] * 30)
    limit = 2 * 1_048_576 + 500_000
    with new_consumer(broker, topic, [0], {"max.pinned.bytes": limit}) as consumer:
        assert consumer.get_property("max.pinned.bytes") == consumer.properties["max.pinned.bytes"] == str(limit)
        found = poll_all(consumer, 30)
        first = len(found[0])       # the other polls have no room for two responses more
        assert consumer.pinned_bytes == 2 * 1_048_576 + min(first, 9) * (50_000 + 80 + 320) <= limit
        assert all(record.value == b"x" * 50_000 for batch in found for record in batch)
        del found
        assert consumer.pinned_bytes == 0
        consumer.seek_to_beginning()
        again = consumer.poll(20)
        assert again and consumer.pinned_bytes > 0      # there is room again


def test_small_records_behind_a_view_do_not_count(broker, topic):
    """They lie in its response, which counts already, or are not held: what views hold stays below the limit."""
    write(broker, topic, [b"s" * 1000, b"x" * 5000, *[b"s" * 1000] * 1000])
    limit = 2 * 1_048_576 + 10_000
    with new_consumer(broker, topic, [0], {"max.pinned.bytes": limit}) as consumer:
        while len(batch := consumer.poll(20, 1002)) < 1002:
            del batch       # there is room for one
            consumer.seek_to_beginning()
        assert consumer.pinned_bytes == 2 * 1_048_576 + 1000 + 5000 + 2 * 80 + 320 <= limit
        assert [len(record.value) for record in batch] == [1000, 5000] + 1000 * [1000]


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_a_limit_without_room_means_no_views(broker, topic, limit):
    write(broker, topic, [b"x" * 5000] * 3)
    with new_consumer(broker, topic, [0], {"max.pinned.bytes": limit}) as consumer:
        batch, = poll_all(consumer, 3)
        assert consumer.pinned_bytes == 0 and [plain(record.value) for record in batch] == [b"x" * 5000] * 3


def test_a_poll_is_bounded_by_what_it_takes(broker, topic):
    for partition in range(4):
        write(broker, topic, [b"x" * 500_000] * 8, partition)
    with new_consumer(broker, topic) as consumer:
        found = poll_all(consumer, 32)
    assert max(batch.nbytes for batch in found) < 6 << 20


@pytest.mark.parametrize(("wrong", "kind"), [(0, ValueError), (-1, ValueError), (2**31, ValueError), (1.5, TypeError), ("4096", TypeError), (True, TypeError)])
def test_malformed_thresholds(consumer, wrong, kind):
    with pytest.raises(kind, match="^view_from must be "):
        consumer.poll(0, view_from=wrong)


@pytest.mark.parametrize("wrong", ["x", "-1", "", "1.5", "1e6", str(2**63), "9" * 1000])
def test_malformed_limits(wrong):
    with pytest.raises(KafkaException, match=r"max\.pinned\.bytes must be a whole number from 0 to ") as raised:
        KafkaConsumer({"bootstrap.servers": NOWHERE, "max.pinned.bytes": wrong})
    assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG


def test_the_limit_is_of_consumers():
    with pytest.raises(KafkaException, match="max.pinned.bytes"):
        KafkaSyncProducer({"bootstrap.servers": NOWHERE, "max.pinned.bytes": "5"})
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None}) as consumer:
        assert consumer.properties["max.pinned.bytes"] == "67108864" and consumer.pinned_bytes == 0


# -- what is not returned ---------------------------------------------------------------------------

class Interrupted(BaseException):
    pass


def test_what_an_interrupted_poll_has_kept_comes_again(broker, topic, consumer, monkeypatch):
    def interrupt(*_):
        raise Interrupted

    def interrupted(*place):
        monkeypatch.setattr(consumed_columns, "TopicPartition", topic_partition.TopicPartition)
        signal.raise_signal(signal.SIGUSR1)
        return topic_partition.TopicPartition(*place)

    given = values((5000, 10, None, 9000, 4096))
    write(broker, topic, given)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for _ in range(3):
            monkeypatch.setattr(consumed_columns, "TopicPartition", interrupted)
            with pytest.raises(Interrupted):
                consumer.poll(20)
            assert consumer.pinned_bytes == 0 and consumer.position((topic, 0)) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [plain(record.value) for batch in poll_all(consumer, 5) for record in batch] == given


def test_rebalances_lose_and_leak_nothing(broker, topic):
    given = {partition: values([5000, 10, 4096] * 20) for partition in range(4)}
    for partition, column in given.items():
        write(broker, topic, column, partition)
    found = []

    def then(consumer, event, partitions):
        if event is REVOKED:
            with contextlib.suppress(KafkaException):   # then they come again
                consumer.commit_sync()

    class Keeping(Member):
        def poll(self, timeout=0.02):
            found.extend(self.consumer.poll(timeout, 7))

    def rows():
        return sorted({(record.partition, record.offset, plain(record.value)) for record in found})

    protocol = list(PROTOCOLS)[-1]
    with Keeping(broker, topic, protocol, then) as first, Keeping(broker, topic, protocol, then) as second:
        first.subscribe(topic)
        first.poll()
        second.subscribe(topic, timeout=None)
        poll_until(shared(first, second), first, second)
        poll_until(lambda: len(found) >= 240 and len(rows()) == 240, first, second)
        assert first.consumer.pinned_bytes + second.consumer.pinned_bytes > 0
        assert rows() == [(partition, offset, value) for partition in range(4) for offset, value in enumerate(given[partition])]
        del found[:]
        gc.collect()
        assert first.consumer.pinned_bytes == second.consumer.pinned_bytes == 0


# -- other threads, other processes -----------------------------------------------------------------

def test_arrays_released_by_other_threads(broker, topic, consumer):
    write(broker, topic, [b"x" * 5000] * 40)
    arrays = [pyarrow.record_batch(consumer.poll(20, 1)) for _ in range(40)]
    threads = [threading.Thread(target=lambda: [arrays.pop() for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not arrays and consumer.pinned_bytes == 0


@pytest.mark.parametrize("closed", [False, True])
def test_a_child_may_read_them_and_leaves_them_alone(broker, topic, consumer, closed):
    given = values((5000, 100_000))
    write(broker, topic, given)
    found = poll_all(consumer, 2)
    if closed:
        consumer.close()
    child = os.fork()
    if not child:
        try:
            good = [plain(record.value) for batch in found for record in batch] == given
            del found
            gc.collect()
            os._exit(0 if good and consumer.pinned_bytes == 0 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [plain(record.value) for batch in found for record in batch] == given and consumer.pinned_bytes > 0
    del found
    wait_for(lambda: consumer.pinned_bytes == 0)


def test_they_hold_no_more_than_is_said(broker, topic):
    """pinned_bytes is at least what malloc gets back when the last view goes."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("needs glibc's mallinfo2()")
    for partition in range(4):
        write(broker, topic, [b"x" * (200 if row % 10 else 9000) for row in range(3000)], partition)
    with new_consumer(broker, topic, queued_max_messages_kbytes=100_000) as consumer:
        view = next(record.value for batch in iter(lambda: consumer.poll(20, 50), None) for record in batch if len(record.value) == 9000)
        said = consumer.pinned_bytes
        for _ in poll_all(consumer, 12_000 - 50):
            pass
        consumer.close()
        gc.collect()
        before = in_use(libc)
        del view, _
        gc.collect()
        wait_for(lambda: consumer.pinned_bytes == 0)
        assert 9000 < before - in_use(libc) < said


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def in_use(libc):
    libc.mallinfo2.restype = Mallinfo
    found = libc.mallinfo2()
    return found.uordblks + found.hblkhd
