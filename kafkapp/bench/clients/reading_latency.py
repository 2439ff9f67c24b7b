"""Clients that wait for single records: how long after a record is available they have it.

A process of its own sends one every 2 to 3 ms, whose value says when. In asyncio a record is available when the loop's
selector returns, because a descriptor is readable; where a thread waits in librdkafka, when the queue has stopped being
empty. Of clients that show neither only the time since the send is known. Of records that come together one counts.
"""
from __future__ import annotations

import asyncio
import random
import selectors
import subprocess
import time
from collections.abc import Callable, Coroutine
from typing import Any

from meter import Run, leave  # type: ignore[import-not-found]
from reading import WAIT, Partitions, filled, program, properties  # type: ignore[import-not-found]

FIRST = 4       # records that are there before, by which the client is known to read
WARM = 20       # of those that are sent one by one: not counted


def pace(run: Run) -> None:
    """Send the records one by one."""
    from kafkapp import KafkaAsyncProducer

    with KafkaAsyncProducer(run.properties(**{"linger.ms": 0, "acks": 1})) as producer:
        for _ in range(run.records):
            time.sleep(random.uniform(0.002, 0.003))
            producer.send(run.topic, b"%0*d" % (run.size, time.perf_counter_ns()), partition=0)
    run.report(run.records)


class Clock:
    """What one case measures: `take(value, since)` for each record, at once when it is there.

    `since`: the moment since when it is available, in nanoseconds, 0: unknown.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.taken = run, 0
        self.sent: list[float] = []
        self.latencies: list[float] = []
        self.sender: subprocess.Popen[bytes] | None = None

    def take(self, value: Any, since: int = 0) -> bool:
        """Whether more are to come."""
        now = time.perf_counter_ns()
        self.taken += 1
        if self.taken == FIRST:
            command = program(self.run, "reading_latency", "pace", records=self.run.records + WARM)
            self.sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        elif self.taken > FIRST + WARM:
            if value is not None:
                self.sent.append((now - int(bytes(value))) / 1e9)
            if since:
                self.latencies.append((now - since) / 1e9)
        return self.taken < FIRST + WARM + self.run.records

    def end(self) -> None:
        measured = {name: figures for name, figures in (("latencies", self.latencies), ("sent", self.sent)) if figures}
        if self.sender:
            self.sender.wait(WAIT)
        self.run.report(self.taken - FIRST - WARM, **measured)
        leave(self.run)


# -- a thread that waits ---------------------------------------------------------------------------

def c_loop(run: Run) -> None:
    from kafkapp.bench.consumer_floor import ConsumerFloor, arrived

    clock, floor = Clock(run), ConsumerFloor(properties(run), filled(run, FIRST))
    floor.watch()
    while floor.take(1, WAIT)[0] and clock.take(None, arrived()):
        pass
    clock.end()


def poll(run: Run) -> None:
    from kafkapp import KafkaConsumer
    from kafkapp.bench.consumer_floor import arrived, watch

    clock, places, consumer = Clock(run), filled(run, FIRST), KafkaConsumer(properties(run))
    watch(consumer)
    consumer.assign(dict.fromkeys(places, 0))
    while (records := consumer.poll(WAIT)) and all(clock.take(record.value, arrived()) for record in records):
        pass
    clock.end()


def confluent(run: Run) -> None:
    from confluent_kafka import Consumer, TopicPartition

    clock, places, consumer = Clock(run), filled(run, FIRST), Consumer(properties(run))
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])
    while (message := consumer.poll(WAIT)) and clock.take(message.value()):
        pass
    clock.end()


# -- asyncio ---------------------------------------------------------------------------------------

class Stamping(selectors.DefaultSelector):
    """A selector that knows when it has first found something readable since `readable` was 0."""

    readable = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(timeout)
        if found and not self.readable:
            self.readable = time.perf_counter_ns()
        return found

    def taken(self) -> int:
        since, self.readable = self.readable, 0
        return since


def looped(run: Run, go: Callable[[Clock, Partitions, Callable[[], int]], Coroutine[Any, Any, None]]) -> None:
    clock, places, selector = Clock(run), filled(run, FIRST), Stamping()
    loop = asyncio.SelectorEventLoop(selector)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(go(clock, places, selector.taken))
    clock.end()


def aio(run: Run) -> None:
    """`async for`."""
    from kafkapp.aio import KafkaConsumer

    async def go(clock: Clock, places: Partitions, readable: Callable[[], int]) -> None:
        consumer = KafkaConsumer(properties(run))
        consumer.assign(dict.fromkeys(places, 0))
        async for record in consumer:
            if not clock.take(record.value, readable()):
                break

    looped(run, go)


def aio_confluent(run: Run) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.aio import AIOConsumer

    async def go(clock: Clock, places: Partitions, readable: Callable[[], int]) -> None:
        consumer: Any = AIOConsumer(properties(run))
        await consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])
        while (message := await consumer.poll(WAIT)) and clock.take(message.value()):
            pass

    looped(run, go)


def aiokafka(run: Run) -> None:
    """`async for`."""
    from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]

    async def go(clock: Clock, places: Partitions, readable: Callable[[], int]) -> None:
        consumer: Any = AIOKafkaConsumer(bootstrap_servers=run.bootstrap, auto_offset_reset="earliest",
                                         fetch_max_wait_ms=run.settings["fetch.wait.max.ms"])
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition) for topic, partition in places])
        async for message in consumer:
            if not clock.take(message.value):
                break

    looped(run, go)


PATHS = {"pace": pace, "c": c_loop, "poll": poll, "confluent": confluent, "aio": aio, "aio-confluent": aio_confluent,
         "aiokafka": aiokafka}
