"""Latencies for the user: close, a callback after its acknowledgement, the first record after a broker's return.

Faults F11, F22. `--faults=thorough --faults-figures=FILE` takes the figures that docs/internals/reliability.md publishes.
"""
import threading
import time

import pytest
from faultkit import Books, make, percentiles
from proxy import PRODUCE, Front
from helpers import NOWHERE

from kafkapp import ProducerRecord

QUICK = {"linger.ms": 0, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100}


def filled(producer, topic, count, books):
    for _ in range(count):
        number = books.number()
        producer.send(ProducerRecord(topic, 0, value=bytearray(100), id=number), books.report)
        books.accept(number)


CLOSES = {      # name -> (a broker is there, records in flight, close's timeout, the longest it may take)
    "nothing in flight": (True, 0, 10, 0.5),
    "a thousand in flight": (True, 1000, 10, 2),
    "no broker": (False, 0, 10, 0.5),
    "no broker, a thousand in flight": (False, 1000, 0.1, 1.1),
}


@pytest.mark.parametrize("case", CLOSES)
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_close_takes_no_longer_than_it_may(broker, topic, faults, kind, case):
    there, count, timeout, bound = CLOSES[case]
    took, books = [], Books()
    for _ in range(faults.rounds(3, 300)):
        producer = make(kind, broker if there else NOWHERE, QUICK)
        if there:
            producer.fetch_broker_metadata(topic, 10)
        filled(producer, topic, count, books)
        start = time.monotonic()
        producer.close(timeout)
        took.append(time.monotonic() - start)
    books.check()
    if there:
        assert set(books.codes) <= {None}
    assert max(took) < bound, f"{max(took):.3f} s"
    faults.figure(close_ms=percentiles(took))


def lag(producer, front, topic, count):
    """Seconds, for each of `count` records alone, from when its acknowledgement leaves the proxy until its callback runs."""
    left, took, ran = [], [], threading.Event()

    def passed(direction, api):
        if (direction, api) == ("response", PRODUCE):
            left.append(time.monotonic())

    def callback(metadata, error):
        took.append(time.monotonic() - left[-1])
        assert error is None
        ran.set()

    for proxy in front:
        proxy.passed = passed
    for _ in range(count):
        ran.clear()
        producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
        producer.flush(10)
        assert ran.wait(10)
    return took


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_callback_runs_right_after_its_acknowledgement(broker, topic, faults, kind):
    with Front(broker.bootstrap_servers) as front, make(kind, front, QUICK) as producer:
        took = percentiles(lag(producer, front, topic, faults.rounds(50, 3000)))
    assert took["p50"] < 50 and took["p99"] < 500, took
    faults.figure(callback_lag_ms=took)


def test_control_a_callback_that_is_held_up_is_late(broker, topic):
    with Front(broker.bootstrap_servers) as front, make("Auto", front, QUICK) as producer:
        held = threading.Event()
        producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: held.wait(5))    # in the callbacks' thread
        threading.Timer(0.3, held.set).start()
        assert max(lag(producer, front, topic, 1)) > 0.1


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_records_arrive_soon_after_the_broker_is_back(cluster, topic, faults, kind):
    took = []
    with make(kind, cluster, QUICK) as producer:
        for _ in range(faults.rounds(3, 200)):
            cluster.broker_down(1)
            books = Books()
            filled(producer, topic, 10, books)
            time.sleep(0.2 + faults.random.random() * 0.3)
            assert not books.reported
            cluster.broker_up(1)
            start = time.monotonic()
            producer.flush(20)
            took.append(time.monotonic() - start)
            books.check()
            assert set(books.codes) == {None}
    assert max(took) < 2, f"{max(took):.3f} s"      # reconnect.backoff.max.ms, and a second that a busy machine may take
    faults.figure(recovery_ms=percentiles(took))
