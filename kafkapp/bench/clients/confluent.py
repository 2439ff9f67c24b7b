"""confluent-kafka client, used as its documentation shows (``send``) and as it is fastest (``tuned``).

Per record the loops do what those of the other clients do: the call and its arguments. What is the same for all records
is looked up before, and the queue holds a whole case, so that no record finds it full.
"""
from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Producer
from meter import BusyThread, Run, Ticker, idle, leave, memory  # type: ignore[import-not-found]


class Reports:
    delivered = failed = 0

    def __call__(self, error: object, message: object) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failed += 1

    @property
    def all(self) -> int:
        return self.delivered + self.failed


def drain(producer: Producer) -> None:
    end = time.monotonic() + 120
    while len(producer) and time.monotonic() < end:
        producer.flush(10)


def warmed(run: Run, **more: str | int) -> Producer:
    producer = Producer(run.properties(**more))
    for topic, partition in run.targets():
        producer.produce(topic, run.value, partition=partition)
        run.warm += 1
    drain(producer)
    return producer


def send(run: Run) -> None:
    """Keywords, and poll(0) after each record: what its README and its guides show."""
    producer, reports, value = warmed(run), Reports(), run.value
    ((topic, partition),) = run.targets()
    callback: Any = reports if run.callback else None
    produce, poll = producer.produce, producer.poll
    run.start()
    for _ in range(run.records):
        produce(topic, value=value, partition=partition, on_delivery=callback)
        poll(0)
    run.sent()
    drain(producer)
    run.stop(reports.delivered if run.callback else None)


def tuned(run: Run) -> None:
    """Positional arguments, and poll(0) once in 1000 records."""
    producer, reports, value = warmed(run), Reports(), run.value
    ((topic, partition),) = run.targets()
    callback: Any = reports if run.callback else None
    produce, poll = producer.produce, producer.poll
    run.start()
    for sent in range(0, run.records, 1000):
        for _ in range(min(1000, run.records - sent)):
            produce(topic, value, None, partition, callback)
        poll(0)
    run.sent()
    drain(producer)
    run.stop(reports.delivered if run.callback else None)


def sync(run: Run) -> None:
    producer, reports, latencies = warmed(run, **{"linger.ms": 0}), Reports(), []
    for _ in range(run.records + 20):
        begin = time.perf_counter()
        producer.produce(run.topic, run.value, partition=0, on_delivery=reports)
        producer.flush()
        latencies.append(time.perf_counter() - begin)
    run.report(reports.delivered - 20, latencies=latencies[20:])


def reports(run: Run) -> None:
    """Records are delivered, their reports wait: how long does dispatching them take beside a busy thread?"""
    producer, reports = warmed(run), Reports()
    for _ in range(run.records):
        producer.produce(run.topic, run.value, partition=0, on_delivery=reports)
    idle()
    with BusyThread():
        begin, end = time.perf_counter(), time.perf_counter() + 60
        while reports.all < run.records and time.perf_counter() < end:
            producer.poll(0.1)
        served = time.perf_counter() - begin
    run.report(reports.delivered, served=served)


def stall(run: Run) -> None:
    producer, reports, ticker = Producer(run.properties()), Reports(), Ticker()
    baseline = ticker.baseline(run.value)
    begin = time.perf_counter()
    worst = ticker.stall(lambda: producer.produce(run.topic, run.value, partition=0, on_delivery=reports))
    seconds = time.perf_counter() - begin
    producer.purge()
    drain(producer)
    run.report(reports.all, stall=worst - baseline, baseline=baseline, call=seconds)
    leave(run)


def hold(run: Run) -> None:
    producer, reports = Producer(run.properties()), Reports()
    for _ in range(1000):
        producer.produce(run.topic, run.value, partition=0, on_delivery=reports)
    held = memory()
    for _ in range(run.records):
        producer.produce(run.topic, run.value, partition=0, on_delivery=reports)
    held = memory() - held
    producer.purge()
    drain(producer)
    run.report(reports.failed - 1000, held=held)
    leave(run)


PATHS = {"send": send, "tuned": tuned, "sync": sync, "reports": reports, "stall": stall, "hold": hold}
