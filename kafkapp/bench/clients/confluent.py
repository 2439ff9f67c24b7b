"""confluent-kafka client, used as its documentation shows (``send``) and as it is fastest (``tuned``).

Per record the loops do what those of the other clients do: the call and its arguments. What is the same for all records
is looked up before, and the queue holds a whole case, so that no record finds it full.
"""
from __future__ import annotations

import time
from itertools import islice
from typing import Any

from confluent_kafka import Producer
from meter import BusyThread, Run, Ticker, idle, leave, memory  # type: ignore[import-not-found]


class Reports:
    delivered = failed = 0

    def count(self, error: object, message: object) -> None:
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
    producer, reports, value, turns = warmed(run), Reports(), run.value, run.turns()
    callback: Any = reports.count if run.callback else None
    produce, poll = producer.produce, producer.poll
    run.start()
    for topic, partition in turns:
        produce(topic, value=value, partition=partition, on_delivery=callback)
        poll(0)
    run.sent()
    drain(producer)
    run.stop(reports.delivered if run.callback else None)


def tuned(run: Run) -> None:
    """Positional arguments, and poll(0) once in 1000 records."""
    producer, reports, value, turns = warmed(run), Reports(), run.value, run.turns()
    callback: Any = reports.count if run.callback else None
    produce, poll = producer.produce, producer.poll
    run.start()
    for _ in range(0, run.records, 1000):
        for topic, partition in islice(turns, 1000):
            produce(topic, value, None, partition, callback)
        poll(0)
    run.sent()
    drain(producer)
    run.stop(reports.delivered if run.callback else None)


def produce_batch(run: Run) -> None:
    """Lists of `batch` records, a dict each, that the program has: the reports come record by record."""
    producer, reports = warmed(run), Reports()
    callback: Any = reports.count if run.callback else None
    ((topic, partition),) = run.targets()
    messages = [{"value": run.value} for _ in range(run.batch)]
    produce_batch, poll = producer.produce_batch, producer.poll
    run.start()
    for _ in range(run.records // run.batch):
        produce_batch(topic, messages, partition=partition, on_delivery=callback)
        poll(0)
    run.sent()
    drain(producer)
    run.stop(reports.delivered if run.callback else None)


def sync(run: Run) -> None:
    producer, reports, latencies = warmed(run, **{"linger.ms": 0}), Reports(), []
    callback = reports.count
    for _ in range(run.records + 20):
        begin = time.perf_counter()
        producer.produce(run.topic, run.value, partition=0, on_delivery=callback)
        producer.flush()
        latencies.append(time.perf_counter() - begin)
    run.report(reports.delivered - 20, latencies=latencies[20:])


def reports(run: Run) -> None:
    """Records are delivered, their reports wait: how long does dispatching them take beside a busy thread?"""
    producer, reports = warmed(run), Reports()
    callback = reports.count
    for _ in range(run.records):
        producer.produce(run.topic, run.value, partition=0, on_delivery=callback)
    idle()
    with BusyThread():
        begin, end = time.perf_counter(), time.perf_counter() + 60
        while reports.all < run.records and time.perf_counter() < end:
            producer.poll(0.1)
        served = time.perf_counter() - begin
    run.report(reports.delivered, served=served)


def stall(run: Run) -> None:
    producer, reports, ticker = Producer(run.properties()), Reports(), Ticker()
    callback = reports.count
    baseline = ticker.baseline(run.value)
    begin = time.perf_counter()
    worst = ticker.stall(lambda: producer.produce(run.topic, run.value, partition=0, on_delivery=callback))
    seconds = time.perf_counter() - begin
    producer.purge()
    drain(producer)
    run.report(reports.all, stall=worst - baseline, baseline=baseline, call=seconds)
    leave(run)


def hold(run: Run) -> None:
    producer, reports = Producer(run.properties()), Reports()
    callback = reports.count
    for _ in range(1000):
        producer.produce(run.topic, run.value, partition=0, on_delivery=callback)
    held = memory()
    for _ in range(run.records):
        producer.produce(run.topic, run.value, partition=0, on_delivery=callback)
    held = memory() - held
    producer.purge()
    drain(producer)
    run.report(reports.failed - 1000, held=held)
    leave(run)


PATHS = {"send": send, "tuned": tuned, "batch": produce_batch, "sync": sync, "reports": reports, "stall": stall,
         "hold": hold}
