"""Clients that read: kafkapp, C, confluent-kafka, aiokafka. Each case fills its topic first, by a process of its own.

With `options.shared` the cases read the same topic, which the first of them fills. A case with `options.full` waits
until its client has fetched all, so that what is measured is taking it; else it is measured from the assignment on.
"""
from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from meter import Run, allocated, idle, leave, memory  # type: ignore[import-not-found]

Partitions = list[tuple[str, int]]
WAIT = 30.0     # seconds without a record: then they are not all there
FETCH = 1.5     # seconds after which a client fetches for certain: until then it may be idle
IDLE = 3.0      # seconds for which an idle consumer is watched


def found(run: Run, producer: Any) -> tuple[Partitions, int]:
    """The partitions of the topics, and how many records they have.

    A real broker makes topics when it is asked for them, and knows them a moment later.
    """
    from kafkapp import KafkaConsumer, KafkaException

    names, end = dict.fromkeys(topic for topic, _ in run.targets()), time.monotonic() + WAIT
    with KafkaConsumer(run.properties()) as consumer:
        while True:
            try:
                places = [(name, partition) for name in names
                          for partition in producer.fetch_broker_metadata(name).partitions]
                return places, sum(consumer.end_offsets(places).values())
            except KafkaException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def fill(run: Run) -> None:
    """Write the records, in turn to the partitions that the topics have; what is shared only once."""
    from kafkapp import KafkaAsyncProducer

    with KafkaAsyncProducer(run.properties(**{"linger.ms": 50, "queue.buffering.max.messages": 2_000_000})) as producer:
        places, there = found(run, producer)
        delivered = there if run.options.get("shared") else 0
        for number, (topic, partition) in enumerate(places if not delivered else ()):
            count = run.records // len(places) + (number < run.records % len(places))
            batch = producer.send_batch(topic, [run.value] * count, partition=partition)
            delivered += count - len(batch.failures())
    run.report(delivered, places=places)


def program(run: Run, client: str, path: str, **other: Any) -> list[str]:
    """The command of another client's path on the topics of this one."""
    parameters = {**vars(run), "path": path, **other}
    wanted = ("path", "bootstrap", "topic", "records", "size", "topics", "partitions", "options")
    return [sys.executable, os.path.dirname(__file__), client, json.dumps({name: parameters[name] for name in wanted})]


def filled(run: Run, records: int | None = None) -> Partitions:
    """Have the topics filled, with the run's records if no number is given; their partitions."""
    records = run.records if records is None else records
    command = program(run, "reading", "fill", records=records)
    done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"the topic could not be filled: {done.stderr.strip().splitlines()[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["delivered"] != records:
        raise RuntimeError(f"the topic was filled with {result['delivered']} of {records} records")
    return [(topic, partition) for topic, partition in result["places"]]


def measured(run: Run, places: Partitions, assign: Callable[[Partitions], object], take: Callable[[], int]) -> None:
    """`take()` takes what one call gives and returns how many records that were; 0: none came.

    The client is made when its topics are filled: one that has been idle takes half a second to begin.
    """
    if run.options.get("full"):
        assign(places)
        time.sleep(FETCH)
        idle()
        run.start()
    else:
        run.start()
        assign(places)
    taken = 0
    while taken < run.records:
        count = take()
        if not count:
            break
        taken += count
    run.sent()
    run.stop(taken)


def properties(run: Run) -> dict[str, Any]:
    return run.properties(**{"group.id": run.topic, "enable.auto.commit": "false"})


# -- the clients -----------------------------------------------------------------------------------

def c_loop(run: Run) -> None:
    from kafkapp.bench.consumer_floor import ConsumerFloor

    opened: list[ConsumerFloor] = []
    measured(run, filled(run), lambda places: opened.append(ConsumerFloor(properties(run), places)),
             lambda: opened[0].take(run.records, WAIT)[0])
    leave(run)


def batches(run: Run) -> None:
    """poll_batch, and its export to Arrow."""
    from kafkapp import KafkaConsumer

    places, most = filled(run), run.batch
    consumer = KafkaConsumer(properties(run))

    def take() -> int:
        batch = consumer.poll_batch(WAIT, max_records=most)
        batch.__arrow_c_array__()
        return len(batch)

    measured(run, places, lambda places: consumer.assign(dict.fromkeys(places, 0)), take)
    leave(run)


def records(run: Run) -> None:
    """poll, and each record's value."""
    from kafkapp import KafkaConsumer

    places, most = filled(run), run.batch
    consumer = KafkaConsumer(properties(run))

    def take() -> int:
        found = consumer.poll(WAIT, most)
        for record in found:
            len(record.value)
        return len(found)

    measured(run, places, lambda places: consumer.assign(dict.fromkeys(places, 0)), take)
    leave(run)


def confluent(run: Run) -> None:
    """consume(batch), or poll() for no batch; and each record's value."""
    from confluent_kafka import Consumer, TopicPartition

    most = run.batch
    # consume() waits for all that it asks for.
    run.records -= run.records % most if most else 0
    places, consumer = filled(run), Consumer(properties(run))

    def assign(places: Partitions) -> None:
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])

    def take() -> int:
        found = consumer.consume(most, WAIT)
        for message in found:
            len(message.value() or b"")
        return len(found)

    def take_one() -> int:
        message = consumer.poll(WAIT)
        return 0 if message is None else len(message.value() or b"") and 1

    measured(run, places, assign, take if most else take_one)
    leave(run)


# -- asyncio ---------------------------------------------------------------------------------------

async def looped(run: Run, places: Partitions, assign: Callable[[Partitions], object], take: Callable[[], Any]) -> None:
    taken = 0
    run.start()
    assign(places)
    while taken < run.records:
        count = await take()
        if not count:
            break
        taken += count
    run.sent()
    run.stop(taken)
    leave(run)


def aio_batches(run: Run) -> None:
    from kafkapp.aio import KafkaConsumer

    async def go() -> None:
        places, consumer = filled(run), KafkaConsumer(properties(run))

        async def take() -> int:
            batch = await consumer.poll_batch(WAIT, max_records=run.batch)
            batch.__arrow_c_array__()
            return len(batch)

        await looped(run, places, lambda places: consumer.assign(dict.fromkeys(places, 0)), take)

    asyncio.run(go())


def aio_records(run: Run) -> None:
    """`async for`."""
    from kafkapp.aio import KafkaConsumer

    async def go() -> None:
        places, consumer = filled(run), KafkaConsumer(properties(run))

        async def take() -> int:
            taken = 0
            async for record in consumer:
                len(record.value)
                taken += 1
                if taken == run.records:
                    break
            return taken

        await looped(run, places, lambda places: consumer.assign(dict.fromkeys(places, 0)), take)

    asyncio.run(go())


def aio_confluent(run: Run) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.aio import AIOConsumer

    async def go() -> None:
        run.records -= run.records % run.batch
        places, taken = filled(run), 0
        consumer: Any = AIOConsumer(properties(run))

        async def take() -> int:
            found = await consumer.consume(run.batch, WAIT)
            for message in found:
                len(message.value() or b"")
            return len(found)

        run.start()
        await consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])
        while taken < run.records and (count := await take()):
            taken += count
        run.sent()
        run.stop(taken)
        leave(run)

    asyncio.run(go())


def aiokafka(run: Run) -> None:
    """`async for`."""
    from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]

    async def go() -> None:
        places, taken = filled(run), 0
        consumer: Any = AIOKafkaConsumer(bootstrap_servers=run.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        run.start()
        consumer.assign([TopicPartition(topic, partition) for topic, partition in places])
        async for message in consumer:
            len(message.value)
            taken += 1
            if taken == run.records:
                break
        run.sent()
        run.stop(taken)
        leave(run)

    asyncio.run(go())


# -- memory, and rest ------------------------------------------------------------------------------

def queue(run: Run) -> None:
    """What librdkafka fetches and nobody takes: its memory, and then the CPU of the process."""
    from kafkapp import KafkaConsumer, Offset

    places, consumer = filled(run), KafkaConsumer(properties(run))
    begins = Offset.End if run.options.get("empty") else Offset.Beginning
    held = memory()
    consumer.assign(dict.fromkeys(places, begins))
    time.sleep(2)
    begin, cpu = time.perf_counter(), time.process_time()
    time.sleep(IDLE)
    run.report(run.records, held=memory() - held, waited=time.perf_counter() - begin, cpu=time.process_time() - cpu)
    leave(run)


def held(run: Run) -> None:
    """Batches that are all kept: the memory that is in use then, and was not before anything was read, without that of
    the values.
    """
    from kafkapp import KafkaConsumer

    places, consumer, batches, taken = filled(run), KafkaConsumer(properties(run)), [], 0
    consumer.end_offsets(places)        # it has its connections
    idle()
    before = allocated()
    consumer.assign(dict.fromkeys(places, 0))
    time.sleep(FETCH)
    idle()
    while taken < run.records:
        batches.append(consumer.poll_batch(WAIT, max_records=run.batch, max_bytes=1 << 30))
        if not batches[-1]:
            break
        taken += len(batches[-1])
    idle()      # librdkafka has freed what it gave
    run.report(taken, held=allocated() - before - taken * run.size)
    leave(run)


PATHS = {"fill": fill, "c": c_loop, "batches": batches, "records": records, "confluent": confluent,
         "aio-batches": aio_batches, "aio-records": aio_records, "aio-confluent": aio_confluent, "aiokafka": aiokafka,
         "queue": queue, "held": held}
