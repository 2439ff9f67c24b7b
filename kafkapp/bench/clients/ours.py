"""kafkapp client: each way to send. ``send`` is as the documentation shows it, ``tuned`` and the others are fastest.

Per record the loops do what those of the other clients do: the call with its arguments, and nothing else.
"""
from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from meter import BusyThread, Run, Ticker, idle, leave, memory  # type: ignore[import-not-found]

from kafkapp import (
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaSyncProducer,
    ProducerRecord,
    SendOption,
)

MANUAL = EventsPollingOption.Manual


class Reports:
    delivered = failed = 0

    def count(self, metadata: object, error: object) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failed += 1

    @property
    def all(self) -> int:
        return self.delivered + self.failed


def option(run: Run) -> SendOption:
    return SendOption.ToCopyRecordValue if run.copy else SendOption.NoCopyRecordValue


def warmed(run: Run, polling: EventsPollingOption = EventsPollingOption.Auto,
           kind: type[KafkaAsyncProducer] = KafkaAsyncProducer) -> KafkaAsyncProducer:
    producer = kind(run.properties(), polling)
    for topic, partition in run.targets():
        producer.send(ProducerRecord(topic, partition, None, run.value))
        run.warm += 1
    producer.flush(30)
    return producer


def measured(run: Run, producer: Any, send: Callable[[Any], None], poll: Callable[[], object] | None = None) -> None:
    """`send(callback)` sends all; the rest is the same for each path of single records."""
    reports = Reports()
    callback = reports.count if run.callback else None
    run.start()
    send(callback)
    run.sent()
    if poll:
        while len(producer):
            poll()
    else:
        producer.flush(120)
    run.stop(reports.delivered if run.callback else None)
    producer.close(10)


def send_traced(run: Run) -> None:
    """As `send`, with a span for each record: of OpenTelemetry's SDK, without an exporter, or of its API alone."""
    from opentelemetry.trace import NoOpTracerProvider, TracerProvider

    from kafkapp.opentelemetry import traced

    provider: TracerProvider = NoOpTracerProvider()
    if run.options["sdk"]:
        from opentelemetry.sdk import trace

        provider = trace.TracerProvider()
    send(run, traced(KafkaAsyncProducer, provider))


def send(run: Run, kind: type[KafkaAsyncProducer] = KafkaAsyncProducer) -> None:
    """Topic, value and keywords, as the README and the guide show."""
    producer, value, turns = warmed(run, kind=kind), run.value, run.turns()

    def send_all(callback: Any) -> None:
        send = producer.send
        for topic, partition in turns:
            send(topic, value, partition=partition, callback=callback)

    measured(run, producer, send_all)


def send_keywords(run: Run) -> None:
    """A record, all by keyword."""
    producer, value, turns = warmed(run), run.value, run.turns()

    def send_all(callback: Any) -> None:
        send = producer.send
        for topic, partition in turns:
            send(ProducerRecord(topic, partition=partition, value=value), callback=callback)

    measured(run, producer, send_all)


def tuned(run: Run) -> None:
    """A record, all by position."""
    producer, value, turns = warmed(run), run.value, run.turns()

    def send_all(callback: Any) -> None:
        send, copy = producer.send, SendOption.ToCopyRecordValue
        if run.copy:
            for topic, partition in turns:
                send(ProducerRecord(topic, partition, None, value), callback, copy)
        else:
            for topic, partition in turns:
                send(ProducerRecord(topic, partition, None, value), callback)

    measured(run, producer, send_all)


def send_manual(run: Run) -> None:
    """`send` of the Manual producer, polled once in 1000 records."""
    producer, value, turns = warmed(run, MANUAL), run.value, run.turns()

    def send_all(callback: Any) -> None:
        send, how, poll = producer.send, option(run), producer.poll_events
        for _ in range(0, run.records, 1000):
            for topic, partition in islice(turns, 1000):
                send(ProducerRecord(topic, partition, None, value), callback, how)
            poll(0)

    measured(run, producer, send_all, lambda: producer.poll_events(0.1))


def try_send(run: Run) -> None:
    producer, value, turns = warmed(run), run.value, run.turns()

    def send_all(callback: Any) -> None:
        try_send, how = producer.try_send, option(run)
        for topic, partition in turns:
            try_send(ProducerRecord(topic, partition, None, value), callback, how)

    measured(run, producer, send_all)


def send_batch(run: Run) -> None:
    """A list of `batch` values a call; one report for each batch if `callback`."""
    producer, values, delivered = warmed(run), [run.value] * run.batch, [0]
    send_in_batches(run, producer, values, delivered)


def send_columns(run: Run) -> None:
    """One buffer and its offsets, `batch` values a call."""
    from array import array

    producer, delivered = warmed(run), [0]
    offsets = array("i", range(0, run.batch * run.size + 1, run.size))
    send_in_batches(run, producer, run.value * run.batch, delivered, offsets=offsets)


def send_in_batches(run: Run, producer: Any, values: Any, delivered: list[int], **columns: Any) -> None:
    topic, how, calls = run.topic, option(run), run.records // run.batch

    def on_batch(batch: Any) -> None:
        delivered[0] += len(batch) - len(batch.failures())

    callback = on_batch if run.callback else None
    run.start()
    for _ in range(calls):
        producer.send_batch(topic, values, partition=0, callback=callback, option=how, **columns)
    run.sent()
    producer.flush(120)
    run.stop(delivered[0] if run.callback else None)
    producer.close(10)


def sync(run: Run) -> None:
    with KafkaSyncProducer(run.properties(**{"linger.ms": 0})) as producer:
        latencies = []
        for _ in range(run.records + 20):
            begin = time.perf_counter()
            producer.send(ProducerRecord(run.topic, 0, None, run.value))
            latencies.append(time.perf_counter() - begin)
        run.report(len(latencies) - 20, latencies=latencies[20:])


def reports(run: Run) -> None:
    """Records are delivered, their reports wait: how long does dispatching them take beside a busy thread?"""
    producer, reports = warmed(run, MANUAL), Reports()
    callback = reports.count
    for _ in range(run.records):
        producer.send(ProducerRecord(run.topic, 0, None, run.value), callback)
    idle()
    with BusyThread():
        begin, end = time.perf_counter(), time.perf_counter() + 60
        while reports.all < run.records and time.perf_counter() < end:
            producer.poll_events(0.1)
        served = time.perf_counter() - begin
    run.report(reports.delivered, served=served)
    leave(run)


def stall(run: Run) -> None:
    producer, reports, ticker = KafkaAsyncProducer(run.properties()), Reports(), Ticker()
    callback = reports.count
    baseline = ticker.baseline(run.value)
    record, how = ProducerRecord(run.topic, 0, None, run.value), option(run)
    begin = time.perf_counter()
    worst = ticker.stall(lambda: producer.send(record, callback, how))
    seconds = time.perf_counter() - begin
    producer.purge()
    producer.flush(30)
    run.report(reports.all, stall=worst - baseline, baseline=baseline, call=seconds)
    leave(run)


def hold(run: Run) -> None:
    producer, reports, how = KafkaAsyncProducer(run.properties()), Reports(), option(run)
    callback = reports.count
    for _ in range(1000):
        producer.send(ProducerRecord(run.topic, 0, None, run.value), callback, how)
    held = memory()
    for _ in range(run.records):
        producer.send(ProducerRecord(run.topic, 0, None, run.value), callback, how)
    held = memory() - held
    producer.purge()
    producer.flush(30)
    run.report(reports.failed - 1000, held=held)
    leave(run)


def threads(run: Run) -> None:
    """`threads` threads send into the queues of `producers` producers; nothing is sent out: the cost of `send` alone.

    Each has its own callback and value: objects that threads share cost more without the GIL, not by kafkapp's doing.
    """
    count, topic = run.options["threads"], sys.intern(run.topic)     # as a name in a program's text is
    producers = [KafkaAsyncProducer(run.properties()) for _ in range(run.options["producers"])]
    callbacks = [Reports() for _ in range(count)]
    ready = threading.Barrier(count + 1)

    def work(number: int) -> None:
        send, callback = producers[number % len(producers)].send, callbacks[number].count
        value = run.value[:-1] + run.value[-1:]
        send(ProducerRecord(topic, 0, None, value), callback)
        ready.wait(30)
        for _ in range(number + count, run.records, count):
            send(ProducerRecord(topic, 0, None, value), callback)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    while ready.n_waiting < count:
        time.sleep(0.001)
    run.start()         # before the workers start: they do not wait for it
    ready.wait(30)
    for worker in workers:
        worker.join()
    seconds, cpu = time.perf_counter() - run.begin, time.process_time() - run.cpu
    for producer in producers:
        producer.purge()
        producer.flush(30)
    run.report(sum(callback.failed for callback in callbacks), seconds=seconds, cpu=cpu)
    leave(run)


def steady(run: Run) -> None:
    """Sends and delivers in 40 stretches: does the process grow after the first quarter of them?"""
    producer, reports, value, topic = warmed(run), Reports(), run.value, run.topic
    callback = reports.count
    ends = [run.records * number // 40 for number in range(1, 41)]
    begin, sent, held = time.perf_counter(), 0, []
    for end in ends:
        for _ in range(sent, end):
            producer.send(ProducerRecord(topic, 0, None, value), callback)
        producer.flush(120)
        sent = end
        held.append(memory())
    slope = statistics.linear_regression(ends[10:], held[10:]).slope
    run.report(reports.delivered, growth=slope, seconds=time.perf_counter() - begin)
    producer.close(10)


PATHS = {"send": send, "traced": send_traced,
         "keywords": send_keywords, "tuned": tuned, "manual": send_manual, "try_send": try_send,
         "list": send_batch, "columns": send_columns, "sync": sync, "reports": reports, "stall": stall, "hold": hold,
         "threads": threads, "steady": steady}
