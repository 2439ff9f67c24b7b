"""Pure Python clients: kafka-python and aiokafka, with settings equivalent to librdkafka's in the other clients."""
from __future__ import annotations

import asyncio
import time
from typing import Any

from meter import Run  # type: ignore[import-not-found]


class Reports:
    delivered = 0

    def count(self, metadata: object) -> None:
        self.delivered += 1


def kafka_python(run: Run) -> None:
    from kafka import KafkaProducer  # type: ignore[import-untyped]

    reports, value, turns = Reports(), run.value, run.turns()
    # Releases before 3.0 limit the memory of their queue; later ones do not have the setting.
    room = {"buffer_memory": 1 << 30} if "buffer_memory" in KafkaProducer.DEFAULT_CONFIG else {}
    # A fixed protocol version: the one that it would choose for the mock cluster fails.
    producer: Any = KafkaProducer(
        bootstrap_servers=run.bootstrap.split(","), acks="all", linger_ms=run.settings["linger.ms"],
        batch_size=1_000_000, max_request_size=max(1 << 20, run.size + 1000), enable_idempotence=False,
        compression_type=run.settings.get("compression.type"), api_version=(2, 3), **room)
    producer.send(run.topic, value, partition=0).get(timeout=30)
    run.warm = 1
    send = producer.send
    run.start()
    if run.callback:
        callback = reports.count
        for topic, partition in turns:
            send(topic, value, partition=partition).add_callback(callback)
    else:
        for topic, partition in turns:
            send(topic, value, partition=partition)
    run.sent()
    producer.flush(timeout=120)
    run.stop(reports.delivered if run.callback else None)
    producer.close(timeout=5)


def aio_producer(run: Run, linger_ms: int) -> Any:
    from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

    return AIOKafkaProducer(bootstrap_servers=run.bootstrap, acks="all", linger_ms=linger_ms,
                            max_batch_size=1_000_000, max_request_size=max(1 << 20, run.size + 1000))


def aiokafka(run: Run) -> None:
    async def go() -> None:
        async with aio_producer(run, int(run.settings["linger.ms"])) as producer:
            await producer.send_and_wait(run.topic, run.value, partition=0)
            run.warm = 1
            send, value, turns = producer.send, run.value, run.turns()
            run.start()
            futures = [await send(topic, value, partition=partition) for topic, partition in turns]
            run.sent()
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
            run.stop(sum(not isinstance(outcome, BaseException) for outcome in outcomes))

    asyncio.run(go())


def aiokafka_lone(run: Run) -> None:
    async def go() -> None:
        latencies = []
        async with aio_producer(run, 0) as producer:
            for _ in range(run.records + 20):
                begin = time.perf_counter()
                await producer.send_and_wait(run.topic, run.value, partition=0)
                latencies.append(time.perf_counter() - begin)
        run.report(run.records, latencies=latencies[20:])

    asyncio.run(go())


PATHS = {"kafka-python": kafka_python, "aiokafka": aiokafka, "aiokafka-lone": aiokafka_lone}
