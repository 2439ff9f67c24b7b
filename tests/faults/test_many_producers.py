"""Two hundred producers at once: all deliver, and nothing of them is left after close.

Fault F48. What one producer may cost is counted: threads, descriptors.
"""
import time

from faultkit import Books, descriptors, make, native_threads, together
from helpers import ROOT, run_python

from kafkapp import ProducerRecord


def drops_to(count, limit, timeout=10):
    """The result of `count()` once it is at most `limit`, or after the timeout."""
    end = time.monotonic() + timeout
    while (now := count()) > limit and time.monotonic() < end:
        time.sleep(0.01)
    return now


def test_two_hundred_producers_at_once(broker, topic, faults):
    for _ in range(faults.rounds(1, 50)):
        books, producers = Books(), []
        threads, files = native_threads(), descriptors()

        def live(kind):
            producer = make(kind, broker, {"linger.ms": 0})
            producers.append(producer)
            for _ in range(10):
                number = books.number()
                books.accept(number)
                producer.send(ProducerRecord(topic, number % 4, value=bytearray(9), id=number), books.report)
            producer.flush(60)

        together([lambda kind=kind: [live(kind) for _ in range(25)] for kind in ["Auto", "Manual"] * 4], 120)
        assert len(producers) == 200
        many_threads, many_files = native_threads() - threads, descriptors() - files
        # librdkafka: a main thread, one for each broker and one for the bootstrap address; ours: one for callbacks in Auto.
        assert many_threads <= 200 * 6 and many_files <= 200 * 14, (many_threads, many_files)
        together([lambda part=part: [producer.close(10) for producer in producers[part::8]] for part in range(8)], 120)
        books.check()
        assert set(books.codes) == {None} and len(books.reported) == 2000
        assert drops_to(native_threads, threads) <= threads and drops_to(descriptors, files) <= files
    faults.figure(producers=200 * faults.rounds(1, 50), threads_each=many_threads / 200, descriptors_each=many_files / 200)


LEFT = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from faultkit import descriptors, make, native_threads
from test_many_producers import drops_to

threads, files = native_threads(), descriptors()
producers = [make("Auto", sys.argv[2]) for _ in range(5)]
for producer in producers[1:]:
    producer.close(0)
print(drops_to(native_threads, threads, 1) > threads, drops_to(descriptors, files, 1) > files)
producers[0].close(0)
"""


def test_control_one_producer_left_open_is_detected(broker):
    assert run_python(LEFT, f"{ROOT}/tests/faults:{ROOT}/tests/support", broker.bootstrap_servers).split() == ["True", "True"]
