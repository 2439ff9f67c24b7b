"""Many batches: random ones, in many threads, interrupted; every record is reported once, nothing leaks."""

import gc
import os
import random
import signal
import threading
import time
from array import array
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from helpers import wait_for
from batches import KINDS, QUEUE_FULL, balanced, new_producer, offline
from command_line import start
from confluent_kafka import Consumer, TopicPartition
from faultkit import trim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readback import read_messages

from kafkapp import ProducerRecord, SendOption, Value

# -- at random ------------------------------------------------------------------------------------

items = st.one_of(st.none(), st.binary(max_size=30), st.text(st.characters(codec="utf-8"), max_size=12))
present = st.binary(max_size=30)
WRAPS = [
    lambda item: item,
    lambda item: Value(item),
    lambda item: bytearray(item) if isinstance(item, bytes) else item,
    lambda item: memoryview(item) if isinstance(item, bytes) else item,
    lambda item: np.frombuffer(item, "u1") if isinstance(item, bytes) else item,
]


def plain(item):
    return item.encode() if isinstance(item, str) else item


@st.composite
def columns(draw, size=None):
    """(values, offsets, what arrives): a column of any kind, of `size` items or as many as one likes."""
    kind = draw(st.sampled_from(["list", "tuple", "objects", "offsets", "arrow", "arrow fixed"]))
    few = st.integers(0, 3)
    sizes = {"min_size": size or 0, "max_size": 40 if size is None else size}
    if kind in ("list", "tuple", "objects"):
        given = draw(st.lists(items, **sizes))
        wrapped = [draw(st.sampled_from(WRAPS[:-1] if kind == "objects" else WRAPS))(item) for item in given]
        if kind == "objects":
            made = np.empty(len(wrapped), "O")
            for i, item in enumerate(wrapped):
                made[i] = item
            wrapped = made
        return tuple(wrapped) if kind == "tuple" else wrapped, None, [plain(item) for item in given]
    if kind == "offsets":
        given, before = draw(st.lists(present, **sizes)), draw(present)
        ends = np.cumsum([len(before), *map(len, given)])
        data = draw(st.sampled_from([bytes, bytearray, memoryview]))(before + b"".join(given) + draw(present))
        offsets = draw(
            st.sampled_from([lambda e: e.astype("i4"), lambda e: e.astype("i8"), lambda e: array("i", e.tolist())])
        )(ends)
        return data, offsets, given
    cut, off = draw(few), draw(few)
    if kind == "arrow fixed":
        width = draw(few)
        given = draw(st.lists(st.one_of(st.none(), st.binary(min_size=width, max_size=width)), **sizes))
        filler, form = bytes(width), pa.binary(width)
    else:
        text = draw(st.booleans())
        given = draw(
            st.lists(
                st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20) if text else present), **sizes
            )
        )
        filler = "x" if text else b"x"
        form = draw(
            st.sampled_from(
                [pa.string(), pa.large_string(), pa.string_view()]
                if text
                else [pa.binary(), pa.large_binary(), pa.binary_view()]
            )
        )
    made = pa.array([filler] * off + given + [None] * cut, form)
    return made.slice(off, len(given)), None, [plain(item) for item in given]


@st.composite
def batches(draw):
    values, offsets, expected = draw(columns())
    n = len(expected)
    arguments, keys, partitions, stamps = {"offsets": offsets}, [None] * n, [0] * n, None
    match draw(st.sampled_from(["no keys", "one key", "keys"])):
        case "one key":
            arguments["keys"] = draw(items)
            keys = [plain(arguments["keys"])] * n
        case "keys":
            arguments["keys"], arguments["key_offsets"], keys = draw(columns(n))
    if draw(st.booleans()):
        arguments["partition"] = draw(st.integers(0, 3))
        partitions = [arguments["partition"]] * n
    else:
        partitions = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
        arguments["partition"] = draw(st.sampled_from([lambda p: array("i", p), lambda p: np.array(p, "i4")]))(
            partitions
        )
    times = st.integers(1, 2**41)
    match draw(st.sampled_from(["now", "one", "each"])):
        case "one":
            arguments["timestamps"] = draw(times)
            stamps = [arguments["timestamps"]] * n
        case "each":
            stamps = draw(st.lists(times, min_size=n, max_size=n))
            arguments["timestamps"] = np.array(stamps, "i8")
    headers = draw(
        st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.one_of(st.none(), present)), max_size=2)
    )
    if headers or draw(st.booleans()):
        arguments["headers"] = headers
    arguments["option"] = draw(st.sampled_from(SendOption))
    return values, arguments, list(zip(partitions, expected, keys, strict=True)), stamps, headers


@pytest.mark.parametrize("kind", KINDS)
def test_random_batches_against_a_model(kind, broker, topic):
    """The model is lists: what each partition must hold next, in order."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "fetch.wait.max.ms": 5, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    ends = Counter()
    with new_producer(kind, broker.bootstrap_servers, linger_ms=0) as producer:
        producer.send_batch(topic, ["warm"] * 4, partition=np.arange(4, dtype="i4")).wait(10)
        ends.update(range(4))
        assert len(consumer.consume(4, 20)) == 4

        @settings(
            max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        @given(batches())
        def run(batch):
            values, arguments, records, stamps, headers = batch
            sent, calls = None, []
            sent = producer.send_batch(topic, values, callback=calls.append, **arguments)
            assert (
                sent.wait(20)
                and sent.failures() == []
                and sent.accepted == sent.next_index == len(sent) == len(records)
            )
            assert calls == [sent] * bool(records)
            model = {partition: [] for partition in range(4)}
            for i, (partition, value, key) in enumerate(records):
                assert sent.partitions[i] == partition and sent.offsets[i] == ends[partition]
                ends[partition] += 1
                model[partition].append((value, key, stamps and stamps[i], headers or None))
            got = {partition: [] for partition in range(4)}
            for message in consumer.consume(len(records), 20) if records else ():
                assert message.error() is None
                got[message.partition()].append(
                    (message.value(), message.key(), stamps and message.timestamp()[1], message.headers())
                )
            assert got == model

        run()
        gc.collect()
        assert balanced(producer)
    consumer.close()


# -- in numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_single_records_of_many_threads(kind, broker, topic):
    """Full queues all the time; each record of each thread arrives once, in its thread's order."""
    counts, problems = Counter(), []

    def report(metadata, error):
        counts["single"] += 1

    def run(thread):
        chosen = random.Random(thread)
        try:
            for turn in range(20):
                values = [f"{thread}:{turn}:{i}" for i in range(chosen.randrange(60))]
                while values:
                    batch = producer.send_batch(topic, values, partition=thread % 4, callback=called)
                    counts["accepted", thread] += batch.accepted
                    values = values[batch.next_index :]
                    if kind == "manual" and values:
                        producer.poll_events(0.05)
                record = ProducerRecord(topic, thread % 4, None, f"{thread}:{turn}:single")
                while True:
                    try:
                        producer.send(record, report) if kind != "sync" else producer.send(record)
                        break
                    except BufferError:
                        producer.poll_events(0.05)
        except BaseException as exc:  # noqa: BLE001 - the test reports it
            problems.append(exc)

    lock = threading.Lock()

    def called(batch):
        with lock:
            counts["called"] += batch.accepted

    with new_producer(kind, broker.bootstrap_servers, linger_ms=1, queue_buffering_max_messages=100) as producer:
        threads = [threading.Thread(target=run, args=(thread,)) for thread in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        producer.flush(20)
        assert not problems and balanced(producer)
    accepted = sum(counts["accepted", thread] for thread in range(6))
    assert counts["called"] == accepted and counts["single"] == (120 if kind != "sync" else 0)
    messages = read_messages(broker.bootstrap_servers, topic)
    assert len(messages) == accepted + 120
    for thread in range(6):
        mine = [m.value().decode().split(":")[1:] for m in messages if m.value().startswith(b"%d:" % thread)]
        chosen = random.Random(thread)
        assert mine == [
            [str(turn), tag] for turn in range(20) for tag in [*map(str, range(chosen.randrange(60))), "single"]
        ]


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def far_broker():
    """A mock cluster in a process of its own: what it keeps is not ours."""
    process = start("mock-cluster")
    yield process.stdout.readline().decode().strip()
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_batches_leave_no_memory_behind(kind, far_broker):
    """2000 of them, of each kind of column, with headers and keys, some refused: the second thousand adds nothing."""
    data, ends = b"x" * 64000, array("i", range(0, 64001, 64))
    arrow = pa.array([b"y" * 64] * 1000, pa.binary_view())

    topic = f"memory-{kind}"

    def send(turn):
        match turn % 4:
            case 0:
                batch = producer.send_batch(topic, [b"x" * 64] * 1000, keys=[bytearray(b"k")] * 1000, partition=0)
            case 1:
                batch = producer.send_batch(topic, data, offsets=ends, partition=1, headers={"h": b"v"}, keys="k")
            case 2:
                batch = producer.send_batch(topic, arrow, partition=2, callback=lambda batch: None)
            case 3:
                batch = producer.send_batch(topic, [b"z" * 3000, "s"], partition=3)  # one is too large
                with pytest.raises(TypeError):
                    producer.send_batch(topic, [bytearray(9), 5], headers={"h": b"v"})
        if turn % 20 == 19:
            producer.flush(10)
            assert batch.done

    def grown(turns):
        """Bytes that so many turns add; what the allocator only keeps at hand is released first."""
        sizes = []
        for count in (0, turns):
            for turn in range(count):
                send(turn)
            trim()
            sizes.append(resident())
        return sizes[1] - sizes[0]

    with new_producer(kind, far_broker, message_max_bytes=2000, linger_ms=1) as producer:
        turns = 100 if kind == "sync" else 1000  # a synchronous one may take a delayed ACK, 40 ms
        grown(turns)
        # In a process that has run a thousand tests the allocator alone moves by megabytes, on a busy machine more: so up to
        # three times. A batch that is left behind, each time, has 16 kB of outcomes, and as much of places.
        seen = []
        while not seen or (seen[-1] >= turns * 8192 and len(seen) < 3):
            seen.append(grown(turns))
        producer.flush(10)
        assert balanced(producer)
        assert seen[-1] < turns * 8192, [size >> 10 for size in seen]


# -- interrupted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_ctrl_c_while_it_waits_for_room(kind):
    calls = []
    with offline(kind, queue_buffering_max_messages=10) as producer:
        values = [bytearray(b"%d" % i) for i in range(30)]
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt) as caught:
            producer.send_batch("t", values, callback=calls.append)
        assert time.monotonic() - begin < 5
        assert "10 of 30 records for topic 't', all before index 10," in caught.value.__notes__[0]
        assert len(producer) == 10 and not calls
        producer.purge()
        if kind == "sync":
            producer.close(1)
        wait_for(lambda: calls)
        [batch] = calls
        assert batch.accepted == batch.next_index == 10 and list(batch.errors[10:]) == [QUEUE_FULL] * 20
        values[0].append(1)


def test_ctrl_c_while_a_synchronous_send_batch_waits_for_reports():
    calls = []
    with offline("sync") as producer:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt) as caught:
            producer.send_batch("t", ["v"] * 5, callback=calls.append)
        assert "5 of 5 records" in caught.value.__notes__[0] and len(producer) == 5
        producer.close(0)
        assert [len(batch) for batch in calls] == [5]


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_while_a_batch_is_waited_for(kind):
    with offline(kind) as producer:
        batch = producer.send_batch("t", ["v"], timeout=0)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            batch.wait()
        assert not batch.done
