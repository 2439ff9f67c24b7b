"""A worker in an event loop: reads a topic, does something that takes its time with each record, and commits.

    python asyncio_worker.py localhost:9092 orders

Start several: they share the partitions. SIGTERM and Ctrl-C end one after the records at hand, and what it has done is
committed. Started again it goes on from there: a record whose commit has not returned is done twice, none is left out.
"""

import asyncio
import signal
import sys

from kafkapp.aio import KafkaConsumer

AT_A_TIME = 100


async def handle(record):
    """In place of a request to another service, which may take minutes: the loop keeps the consumer alive meanwhile."""
    await asyncio.sleep(0)
    return f"{record.partition}:{record.offset} {record.value}"


async def main(servers, topic):
    loop = asyncio.get_running_loop()
    properties = {
        "bootstrap.servers": servers,
        "group.id": "asyncio-worker",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    async with KafkaConsumer(properties) as consumer:
        for number in signal.SIGTERM, signal.SIGINT:
            loop.add_signal_handler(number, consumer.wakeup)
        consumer.subscribe([topic])
        async for batch in consumer.batches(max_records=AT_A_TIME):
            for line in await asyncio.gather(*map(handle, batch)):
                print(line, flush=True)
            await consumer.commit(batch)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
