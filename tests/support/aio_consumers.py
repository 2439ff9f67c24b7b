"""Consumers in an event loop, for tests: assigned from the beginning, and read until a number of records has come."""
import asyncio

from helpers import properties

from kafkapp import Offset
from kafkapp.aio import KafkaConsumer

SECONDS = 20    # the longest that a test waits for something


def new_consumer(cluster, topic=None, partitions=range(4), /, *more, **named):
    """A consumer; with a topic it has these partitions of it, from their beginning."""
    consumer = KafkaConsumer(properties(cluster, {"fetch.wait.max.ms": 20}, *more, **named))
    if topic is not None:
        consumer.assign({(topic, partition): Offset.Beginning for partition in partitions})
    return consumer


async def records(consumer, count):
    """So many records, by `async for`."""
    async def read():
        found = []
        async for record in consumer:
            found.append(record)
            if len(found) == count:
                return found

    return await asyncio.wait_for(read(), SECONDS)


async def until_waiting(consumer):
    """Return when a task waits in a poll."""
    async with asyncio.timeout(SECONDS):
        while not consumer._side._ready:
            await asyncio.sleep(0)
