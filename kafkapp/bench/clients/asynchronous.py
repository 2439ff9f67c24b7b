"""Clients with asyncio: kafkapp.aio and confluent-kafka's AIOProducer, many records gathered and one at a time."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from meter import Run  # type: ignore[import-not-found]


async def lone(run: Run, send: Callable[[], Awaitable[object]]) -> None:
    latencies = []
    for _ in range(run.records + 20):
        begin = time.perf_counter()
        await send()
        latencies.append(time.perf_counter() - begin)
    run.report(run.records, latencies=latencies[20:])


async def gathered(futures: list[Any]) -> int:
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes)


def kafkapp_many(run: Run) -> None:
    from kafkapp import ProducerRecord, aio

    async def go() -> None:
        async with aio.KafkaProducer(run.properties()) as producer:
            await producer.send(ProducerRecord(run.topic, 0, None, run.value))
            run.warm = 1
            send, value, turns = producer.send, run.value, run.turns()
            run.start()
            futures = [send(ProducerRecord(topic, partition, None, value)) for topic, partition in turns]
            run.sent()
            run.stop(await gathered(futures))

    asyncio.run(go())


def kafkapp_lone(run: Run) -> None:
    from kafkapp import ProducerRecord, aio

    async def go() -> None:
        async with aio.KafkaProducer(run.properties(**{"linger.ms": 0})) as producer:
            await lone(run, lambda: producer.send(ProducerRecord(run.topic, 0, None, run.value)))

    asyncio.run(go())


def confluent_many(run: Run) -> None:
    from confluent_kafka.aio import AIOProducer

    async def go() -> None:
        producer: Any = AIOProducer(run.properties(), batch_size=1000)
        warm = await producer.produce(run.topic, value=run.value, partition=0)
        await producer.flush()
        await warm
        run.warm = 1
        produce, value, turns = producer.produce, run.value, run.turns()
        run.start()
        futures = [await produce(topic, value=value, partition=partition) for topic, partition in turns]
        run.sent()
        await producer.flush()
        run.stop(await gathered(futures))
        await producer.close()

    asyncio.run(go())


PATHS = {"kafkapp": kafkapp_many, "kafkapp-lone": kafkapp_lone, "confluent": confluent_many}
