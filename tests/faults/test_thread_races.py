"""Thread races, also with close(): no crash, no hang, exactly one outcome for each accepted record.

Faults F22, F23, F24.
"""
import gc
import random
import threading
import time

import pytest
from faultkit import Books, attempt, make, native_threads, together
from helpers import NOWHERE, Stopwatch

from kafkapp import KafkaException, ProducerRecord, SendOption
from kafkapp.testing import MockCluster

PAYLOADS = (b"v" * 100, bytearray(b"w" * 1000), b"", None, b"x" * 20000)


def hammer(producer, books, seed, operations, kind, topics):
    """Random calls until the producer is closed or there were enough."""
    dice = random.Random(seed)
    for _ in range(operations):
        topic = dice.choice(topics)
        number = books.number()
        record = ProducerRecord(topic, dice.choice((None, 0, 1, 99)), dice.choice((None, b"k")), dice.choice(PAYLOADS),
                                number, headers=dice.choice((None, [("h", b"v")])))
        what = dice.random()
        option = dice.choice(list(SendOption))
        books.accept(number)        # before it may be reported; taken back when it is refused
        if kind == "sync" and what < 0.65:
            result = attempt(producer.send, record, dice.choice((None, 0.05)))
            if isinstance(result, RuntimeError):
                assert "closed" in str(result)
                books.accepted.discard(number)
                return
            books.count(number, None)       # it has returned, or raised what became of it
            continue
        if what < 0.5:
            result = attempt(producer.send, record, books.report, option, timeout=None if kind == "Manual" else 0.05)
        elif what < 0.65:
            result = attempt(producer.try_send, record, books.report, option)
        elif what < 0.75:
            result = attempt(producer.send_batch, topic, [b"b"] * dice.randrange(1, 30), callback=lambda batch, n=number:
                             books.count(n, None), timeout=0.05)
            if not isinstance(result, Exception):
                result = None if result.accepted else "nothing"
        else:
            books.accepted.discard(number)
            call = dice.choice((lambda: producer.flush(0.02), producer.purge, lambda: len(producer), lambda: str(producer),
                                lambda topic=topic: producer.fetch_broker_metadata(topic, 0.05), gc.collect,
                                lambda: producer.get_property("linger.ms"),
                                (lambda: producer.poll_events(0.01)) if kind == "Manual" else (lambda: None)))
            result = attempt(call)
            if isinstance(result, RuntimeError) and "closed" in str(result):
                return
            continue
        if result is not None:
            books.accepted.discard(number)
            if isinstance(result, RuntimeError) and "closed" in str(result):
                return


def storm(kind, bootstrap, seed, threads, operations, topics, close_after, close_timeout, closers=1):
    """One producer, `threads` that use it, `closers` that close it. Returns its books."""
    producer = make(kind, bootstrap, {"queue.buffering.max.messages": 200, "message.timeout.ms": 60000})
    books = Books()

    def close():
        time.sleep(close_after)
        producer.close(close_timeout)
        assert len(producer) == 0, "close() returned before all was reported"

    jobs = [lambda n=n: hammer(producer, books, seed + n, operations, kind, topics) for n in range(threads)]
    together(jobs + [close] * closers)
    producer.close(0)
    return books


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
def test_eight_threads_of_random_calls_and_a_close(broker, topic, faults, kind):
    total, rounds = 0, faults.rounds(12, 1500)
    for number in range(rounds):
        seed = faults.random.randrange(2**32)
        dice = random.Random(seed)
        books = storm(kind, broker, seed, 8, 60, [topic, f"{topic}-{number}"], dice.choice((0, 0.001, 0.01, 0.05)),
                      dice.choice((0, 0.001, 5)), dice.choice((1, 1, 8)))
        books.check(f"round {number} of seed {faults.seed}: {seed}")
        total += len(books.accepted)
    assert total >= rounds // 2
    faults.figure(rounds=rounds, accepted=total)


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_the_same_without_a_broker(faults, kind):
    for number in range(faults.rounds(6, 200)):
        seed = faults.random.randrange(2**32)
        books = storm(kind, NOWHERE, seed, 8, 40, ["a", "b"], 0.01, random.Random(seed).choice((0, 0.01)))
        books.check(f"round {number} of seed {faults.seed}: {seed}")


def test_many_topics_are_made_while_the_producer_is_closed(broker, faults):
    # The handle of a topic is made without the GIL: close() must not pull the client away meanwhile.
    for number in range(faults.rounds(30, 3000)):
        producer = make("Auto", broker)
        stop = threading.Event()

        def create(prefix, producer=producer, stop=stop):
            index = 0
            while not stop.is_set():
                error = attempt(producer.try_send, ProducerRecord(f"{prefix}-{index}", value=b"v"))
                index += 1
                if isinstance(error, RuntimeError):
                    return

        def close(producer=producer, stop=stop):
            time.sleep(faults.random.random() * 0.01)
            producer.close(0)
            stop.set()

        together([lambda n=f"{number}-{n}": create(f"made-{n}") for n in range(4)] + [close])


def test_synchronous_sends_of_many_threads_end_when_the_producer_is_closed(broker, topic, faults):
    for _ in range(faults.rounds(10, 1000)):
        producer = make("sync", broker, {"linger.ms": 1})
        outcomes = []

        def send(producer=producer, outcomes=outcomes):
            while True:
                result = attempt(producer.send, ProducerRecord(topic, 0, value=b"v"))
                outcomes.append(result)
                if isinstance(result, Exception):
                    return

        def close(producer=producer):
            time.sleep(faults.random.random() * 0.03)
            producer.close(faults.random.choice((0, None)))

        together([send] * 8 + [close])
        ends = [result for result in outcomes if isinstance(result, Exception)]
        assert len(ends) == 8
        for end in ends:
            assert isinstance(end, KafkaException) or "closed" in str(end)


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_eight_closers_one_winner(cluster, topic, faults, kind):
    cluster.set_rtt(None, 0.05)
    for _ in range(faults.rounds(10, 300)):
        producer = make(kind, cluster)
        books = Books()
        for _ in range(50):
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord(topic, value=b"v", id=number), books.report)
        seen = []

        def close(producer=producer, books=books, seen=seen):
            producer.close()
            seen.append(books.faults()[0])

        together([close] * 8)
        assert seen == [[]] * 8, "a close() returned before every callback had run"
        books.check()


@pytest.mark.parametrize("where, timeout", [("there", None), ("there", 0), ("there", 0.001), ("away", 0), ("away", 0.001)])
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_close_under_load_is_bounded(broker, topic, faults, kind, where, timeout):
    before = native_threads()
    for _ in range(faults.rounds(10, 2000)):
        producer = make(kind, broker if where == "there" else NOWHERE)
        books = Books()
        for _ in range(faults.random.randrange(300)):
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord(topic, value=bytearray(b"v"), id=number), books.report)
        with Stopwatch() as watch:
            producer.close(timeout)
        books.check()
        assert watch.seconds < 5
        if timeout is None:
            assert set(books.codes) <= {None}
    end = time.monotonic() + 5
    while native_threads() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert native_threads() <= before


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_the_last_reference_goes_in_a_thread_of_its_own(broker, topic, faults, kind):
    for _ in range(faults.rounds(10, 200)):
        holder = [make(kind, broker, {"linger.ms": 0})]
        books = Books()
        taken = threading.Barrier(3)

        def send(holder=holder, books=books, taken=taken):
            producer = holder[0]
            taken.wait(10)
            for _ in range(20):
                number = books.number()
                books.accept(number)
                producer.send(ProducerRecord(topic, value=b"v", id=number), books.report)

        with pytest.warns(ResourceWarning, match="never closed"):
            together([send, send, lambda holder=holder, taken=taken: (taken.wait(10), time.sleep(0.002), holder.clear())])
            holder.clear()
            gc.collect()
            end = time.monotonic() + 10
            while books.faults()[0] and time.monotonic() < end:
                time.sleep(0.005)
        books.check()


def test_control_the_books_tell_of_each_fault():
    books = Books()
    for number in (1, 2, 3):
        books.accept(number)
    for number in (2, 3, 3, 4):
        books.count(number, None)
    assert books.faults() == ([1], [3], [4])
    with pytest.raises(AssertionError, match="unreported"):
        books.check()


def test_control_a_hang_is_a_failure():
    stop = threading.Event()
    with pytest.raises(AssertionError, match="hangs"):
        together([lambda: stop.wait(5)], timeout=0.1)
    stop.set()


def test_a_cluster_that_goes_before_its_producers(faults):
    for _ in range(faults.rounds(2, 20)):
        with MockCluster() as cluster:
            cluster.create_topic("t")
            producer = make("Auto", cluster)
            producer.send(ProducerRecord("t", value=b"v"))
            producer.flush(10)
        producer.send(ProducerRecord("t", value=b"v"), lambda metadata, error: None)
        producer.close(0)
