"""Each call of kafkapp.aio.KafkaConsumer while no broker can be reached: it ends in time, and the loop goes on meanwhile."""
import asyncio

import pytest
from helpers import NOWHERE, Stopwatch, run_in_loop

from kafkapp import KafkaException, Timestamp
from kafkapp.aio import KafkaConsumer
from test_blocking_calls import bound

HELD_UP = 2.0       # seconds that the loop may stand still, on a machine that is busy
TIMEOUT = 2.5       # a call that waited in the loop would hold it up for longer
PLACE = ("t", 0)


async def at_once(consumer, timeout):
    consumer.assign([PLACE])
    consumer.pause()
    consumer.resume()


CALLS = {
    "assign": at_once,
    "poll": lambda consumer, timeout: consumer.poll(timeout),
    "poll_batch": lambda consumer, timeout: consumer.poll_batch(timeout),
    "subscribe": lambda consumer, timeout: consumer.subscribe(["t"], timeout=timeout),
    "unsubscribe": lambda consumer, timeout: consumer.unsubscribe(timeout),
    "seek": lambda consumer, timeout: consumer.seek(PLACE, Timestamp(5), timeout),
    "seek_to_beginning": lambda consumer, timeout: consumer.seek_to_beginning(timeout=timeout),
    "seek_to_end": lambda consumer, timeout: consumer.seek_to_end(timeout=timeout),
    "beginning_offsets": lambda consumer, timeout: consumer.beginning_offsets([PLACE], timeout),
    "end_offsets": lambda consumer, timeout: consumer.end_offsets([PLACE], timeout),
    "offsets_for_times": lambda consumer, timeout: consumer.offsets_for_times({PLACE: 5}, timeout),
    "lag": lambda consumer, timeout: consumer.lag(timeout),
    "committed": lambda consumer, timeout: consumer.committed([PLACE], timeout),
    "fetch_broker_metadata": lambda consumer, timeout: consumer.fetch_broker_metadata("t", timeout),
    "list_topics": lambda consumer, timeout: consumer.list_topics(timeout),
    "commit": lambda consumer, timeout: consumer.commit({PLACE: 5}, timeout),
    "close": lambda consumer, timeout: consumer.close(timeout),
}


async def longest_pause():
    """Of the loop, until this is cancelled."""
    loop, longest = asyncio.get_running_loop(), 0.0
    last = loop.time()
    try:
        while True:
            await asyncio.sleep(0.01)
            now = loop.time()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return max(longest, loop.time() - last)


async def measured(name, timeout, cancelled):
    """How long the call takes, from its cancellation where it is cancelled, and how long the loop has stood still."""
    consumer = KafkaConsumer({"bootstrap.servers": NOWHERE, "group.id": "g", "log_level": 0, "error_cb": lambda error: None})
    if name != "subscribe":
        consumer.assign([PLACE])    # from where the group has committed, which nobody says
    pauses = asyncio.create_task(longest_pause())

    async def call():
        await CALLS[name](consumer, timeout)

    task = asyncio.create_task(call())
    if cancelled:
        await asyncio.sleep(0.3)
        task.cancel()
    with Stopwatch() as watch:
        await asyncio.wait({task})
    if not task.cancelled() and task.exception() is not None:
        assert isinstance(task.exception(), KafkaException)
    pauses.cancel()
    longest = await pauses
    await consumer.close(1)
    return watch.seconds, longest


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_over_in_time_and_the_loop_goes_on(name):
    seconds, longest = run_in_loop(measured(name, TIMEOUT, False), 60)
    assert seconds < TIMEOUT + bound("aio consumer", name) and longest < HELD_UP


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_cancelled_is_over(name):
    seconds, longest = run_in_loop(measured(name, None, True), 60)
    assert seconds < HELD_UP and longest < HELD_UP
