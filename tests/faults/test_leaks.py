"""Leaks: buffers, callbacks, memory, threads, descriptors and cycles are released, once and in time.

Faults F22, F31, F35, F48, F49. Slopes are fitted over many points, so that a constant does not count.
"""
import ctypes
import gc
import mmap
import sys
import weakref

import pytest
from faultkit import QUIET, Books, collected, descriptors, make, native_threads, rss, slope
from helpers import HELD, NOWHERE, ROOT, finish, run_python, start_python, wait_for

from kafkapp import EventsPollingOption, KafkaAsyncProducer, KafkaException, ProducerRecord, SendOption

REFUSALS = {
    "queue full": lambda topic: ProducerRecord(topic, 0, value=b"v"),
    "queue full, a buffer": lambda topic: ProducerRecord(topic, 0, key=bytearray(b"k"), value=bytearray(b"v")),
    "queue full, headers": lambda topic: ProducerRecord(topic, 0, value=b"v", headers=[("h", b"v")] * 3, timestamp=5),
    "unknown partition": lambda topic: ProducerRecord(topic, 77, value=b"v"),
    "unknown partition, headers": lambda topic: ProducerRecord(topic, 77, value=b"v", headers=[("h", b"v")]),
    "too large": lambda topic: ProducerRecord(topic, 0, value=bytes(2_000_000)),
    "topic name": lambda topic: ProducerRecord("", 0, value=b"v"),
}


def leak_per_call(call, calls, points=20, bound=None):
    """(bytes, two standard errors) that one call leaves behind, by resident memory.

    Above `bound` it is measured again: what other threads allocate in the meantime looks like a leak, but not three times.
    """
    for _ in range(3):
        leaked, noise = measure_leak(call, calls, points)
        if bound is None or leaked - noise < bound:
            break
    return leaked, noise


def measure_leak(call, calls, points):
    for _ in range(max(200, calls // 10)):
        call()
    seen = []
    for point in range(points):
        for _ in range(calls // points):
            call()
        seen.append((point * (calls // points), rss()))
    gradient, error = slope(seen[points // 4:])     # the first quarter fills pools
    return gradient, 2 * error


@pytest.fixture
def full(broker, topic):
    """A producer that knows the topic, and has no room."""
    producer = make("Manual", broker, HELD, {"queue.buffering.max.messages": 1})
    producer.fetch_broker_metadata(topic)
    producer.send(ProducerRecord(topic, 0, value=b"v"))
    yield producer
    producer.close(0)


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("call", ["send", "try_send"])
def test_refused_sends_leave_nothing(full, topic, faults, kind, call):
    if kind.startswith("unknown") or kind == "too large":
        full.purge()
        full.flush(5)
    record = REFUSALS[kind](topic)
    callback = Books().report
    before = [sys.getrefcount(thing) for thing in (callback, record, record.value, record.key, None)]

    def refuse():
        if call == "try_send":
            assert full.try_send(record, callback) is not None
            return
        try:
            full.send(record, callback)
        except KafkaException:
            return
        raise AssertionError("accepted")

    calls = faults.rounds(4_000, 1_000_000)
    bound = 1 if faults.thorough else 20
    leaked, noise = leak_per_call(refuse, calls, bound=bound)
    assert leaked - noise < bound, f"{leaked:.1f} bytes a call, within {noise:.1f}"
    after = [sys.getrefcount(thing) for thing in (callback, record, record.value, record.key, None)]
    assert [new - old < 50 for old, new in zip(before, after, strict=True)] == [True] * 5, (before, after)
    faults.figure(refused=calls, bytes_a_call=round(leaked, 3), within=round(noise, 3))


def test_control_a_leak_is_seen():
    kept = []

    def leak():
        page = mmap.mmap(-1, mmap.PAGESIZE)     # not of the heap, which may have room that is resident already
        page[0] = 1
        kept.append(page)

    leaked, noise = leak_per_call(leak, 2_000, bound=mmap.PAGESIZE / 2)
    assert leaked - noise > mmap.PAGESIZE / 2


@pytest.mark.parametrize("kind", ["Auto", "Manual", "batch"])
def test_delivered_records_leave_nothing(far, faults, kind):
    producer = make("Auto" if kind == "batch" else kind, far, {"linger.ms": 0})
    seen = []
    payload = bytearray(50)
    references = sys.getrefcount(payload)

    def deliver():
        if kind == "batch":
            producer.send_batch("far", [payload] * 100, partition=0, callback=lambda batch: seen.append(batch.accepted))
        else:
            for _ in range(100):
                producer.send(ProducerRecord("far", 0, value=payload), lambda metadata, error: seen.append(1))
        producer.flush(20)
        assert sum(seen) == 100
        seen.clear()

    rounds = faults.rounds(200, 10_000)
    leaked, noise = leak_per_call(deliver, rounds, bound=100 * (1 if faults.thorough else 40))
    producer.close()
    assert (leaked - noise) / 100 < (1 if faults.thorough else 40), f"{leaked / 100:.1f} bytes a record"
    assert sys.getrefcount(payload) == references
    payload.append(1)           # no export is left
    faults.figure(delivered=rounds * 100, bytes_a_record=round(leaked / 100, 3), within=round(noise / 100, 3))


def test_producers_that_come_and_go_leave_nothing(far, faults):
    def live():
        with make("Auto", far, {"linger.ms": 0}) as producer:
            producer.send(ProducerRecord("far", 0, value=bytearray(9)), lambda metadata, error: None)

    live()
    threads, files = native_threads(), descriptors()
    count = faults.rounds(60, 1000)
    leaked, noise = leak_per_call(live, count, 12, bound=50_000)
    assert leaked - noise < 50_000, f"{leaked:.0f} bytes a producer, within {noise:.0f}"
    wait_for(lambda: native_threads() <= threads and descriptors() <= files)        # a thread ends after what it was for
    faults.figure(producers=count, bytes_a_producer=round(leaked), within=round(noise))


CLUSTER = """
import sys
from kafkapp.testing import MockCluster
with MockCluster() as cluster:
    cluster.create_topic("far")
    print(cluster.bootstrap_servers, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def far():
    """A cluster in a process of its own: what it stores is not our memory."""
    process = start_python(CLUSTER)
    yield process.stdout.readline().strip()
    finish(process)


class Collectable:
    """Something that can be watched."""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_cycle_through_a_callback_in_flight_is_collected_after_its_report(broker, topic, kind):
    producer = make(kind, broker, {"linger.ms": 50})
    thing, calls = Collectable(), []
    thing.producer = producer

    def callback(metadata, error, thing=thing):
        calls.append(error)

    producer.send(ProducerRecord(topic, 0, value=b"v", id=thing), callback)
    gone = weakref.ref(thing)
    with pytest.warns(ResourceWarning, match="never closed"):
        del thing, callback, producer
        assert collected(gone, 15)
        wait_for(lambda: calls)     # the collector clears weak references before finalizers run: the report may come after
    assert calls == [None]


@pytest.mark.parametrize("how", ["record", "view", "batch"])
def test_the_garbage_collector_sees_what_is_in_flight(how):
    producer = make("Manual", NOWHERE, HELD)
    client = next(thing for thing in gc.get_referents(producer) if type(thing).__name__ == "Client")
    service = next(thing for thing in gc.get_referents(client) if type(thing).__name__ == "ProducerService")
    identity, payload = Collectable(), bytearray(b"v")

    def callback(*args):
        pass

    before = gc.get_referents(service)
    assert not any(thing in (callback, identity) for thing in before if type(thing) in (Collectable, type(callback)))
    if how == "batch":
        batch = producer.send_batch("t", [payload], callback=callback)
        assert any(thing is batch for thing in gc.get_referents(service))
        del batch
    else:
        value = payload if how == "view" else b"bytes of their own"
        producer.send(ProducerRecord("t", value=value, id=identity), callback)
        seen = gc.get_referents(service)
        assert all(any(thing is wanted for thing in seen) for wanted in (callback, identity, value))
    producer.close(0)
    assert not any(thing is callback or thing is identity for thing in gc.get_referents(service))


def test_collections_at_every_turn_do_no_harm(broker, topic, faults):
    books = Books()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for kind in ("Auto", "Manual"):
            with make(kind, broker, {"linger.ms": 0}) as producer:
                for _ in range(faults.rounds(100, 5000)):
                    number = books.number()
                    books.accept(number)
                    producer.send(ProducerRecord(topic, 0, value=bytearray(5), id=number),
                                  lambda metadata, error: (gc.collect(0), books.report(metadata, error)))
                    producer.send_batch(topic, [bytearray(3)], callback=lambda batch: gc.collect(0))
    finally:
        gc.set_threshold(*threshold)
    books.check()


@pytest.mark.parametrize("option", list(SendOption))
def test_buffers_are_free_when_the_callback_runs(broker, topic, option):
    resized = []
    payload = bytearray(b"v")

    def callback(metadata, error):
        payload.append(1)       # a BufferError while the buffer is held
        resized.append(len(payload))

    with make("Manual", broker) as producer:
        producer.send(ProducerRecord(topic, 0, value=payload), callback, option)
    assert resized == [2]


PROT_NONE, PROT_READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guard_pages(bootstrap, topic, count, release=None, **named):
    """Send records, each in a page of its own that nobody can read any more from its report on."""
    pages = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(min(count, 500))]
    free, outcomes = list(pages), []

    def forbid(page, protection):
        buffer = (ctypes.c_char * mmap.PAGESIZE).from_buffer(page)
        assert libc.mprotect(ctypes.addressof(buffer), mmap.PAGESIZE, protection) == 0

    with KafkaAsyncProducer({"bootstrap.servers": bootstrap, **QUIET, **named}, EventsPollingOption.Manual) as producer:
        for number in range(count):
            while not free:
                producer.poll_events(0.1)
            page = free.pop()
            forbid(page, PROT_READ_WRITE)
            page[:4] = b"%04d" % (number % 10000)

            def callback(metadata, error, page=page):
                forbid(page, PROT_NONE)
                outcomes.append(error)
                free.append(page)

            producer.send(ProducerRecord(topic, 0, value=page), callback)
            if release:
                release(page, forbid)
        producer.flush(30)
    for page in pages:
        forbid(page, PROT_READ_WRITE)
    return outcomes


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_nobody_reads_the_payload_after_its_report(broker, topic, faults, codec):
    count = faults.rounds(1500, 500_000)
    outcomes = guard_pages(broker.bootstrap_servers, topic, count, **{"compression.type": codec, "linger.ms": 1})
    assert outcomes == [None] * count
    faults.figure(guarded=count)


CONTROL = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from test_leaks import PROT_NONE, guard_pages
from kafkapp.testing import MockCluster
with MockCluster() as cluster:
    cluster.create_topic("t")
    guard_pages(cluster.bootstrap_servers, "t", 5, lambda page, forbid: forbid(page, PROT_NONE), **{"linger.ms": 100})
"""


def test_control_a_read_after_the_report_kills():
    with pytest.raises(AssertionError, match="exit status -11"):
        run_python(CONTROL, f"{ROOT}/tests/faults:{ROOT}/tests/support", timeout=30)


def test_control_what_is_held_is_not_collected():
    held = Collectable()
    assert not collected(weakref.ref(held), 0.1)


def test_control_an_open_producer_has_threads_and_descriptors(broker):
    threads, files = native_threads(), descriptors()
    with make("Auto", broker):
        assert native_threads() > threads and descriptors() > files
