"""Consumers in an event loop, for tests: assigned from the beginning, and read until a number of records has come."""
import asyncio
from functools import partial

import consumers

from kafkapp.aio import KafkaConsumer

SECONDS = 20    # the longest that a test waits for something

new_consumer = partial(consumers.new_consumer, kind=KafkaConsumer)


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
        while not consumer._side.waiting:
            await asyncio.sleep(0)
