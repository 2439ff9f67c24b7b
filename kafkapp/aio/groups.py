"""Groups of an asyncio consumer: subscribing, which may be awaited, and rebalances, which run in the loop.

A rebalance is handled in the loop's thread, while a poll takes records or between polls, and is over when
`on_rebalance` returns: so that is a plain function.
"""
import asyncio
import inspect
import weakref
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from kafkapp.aio.consumer_side import ConsumerSide
from kafkapp.aio.deadlines import seconds_left
from kafkapp.common.errors import ErrorCode, KafkaException
from kafkapp.consumer.groups import RebalanceEvent
from kafkapp.consumer.topic_partition import TopicPartition

OnRebalance = Callable[[RebalanceEvent, list[TopicPartition]], object]
ATTEMPT_SECONDS = 0.001  # how long the loop's thread serves the group at a time
RETRY_SECONDS = 0.05  # from one time to the next, without a signal


class Subscribed:
    """What KafkaConsumer.subscribe() returns: awaited, it waits until the group has assigned partitions."""

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        if self._wait is not None:
            yield from self._wait().__await__()


async def attempts(attempt: Callable[[], None], side: ConsumerSide, loop: asyncio.AbstractEventLoop,
                   deadline: float | None) -> None:
    """Call what waits for the group, for ATTEMPT_SECONDS each time, whenever librdkafka has something for it."""
    cause: BaseException | None = None
    while True:
        side.check_usable()
        side.cursor.give_back()
        try:
            return attempt()
        except KafkaException as exc:
            if exc.error.code != ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                raise
            cause = exc.__cause__ or cause
            if (left := seconds_left(loop, deadline)) == 0:
                if cause is not None:
                    side.client.forget_failures()
                raise exc from cause
        await side.signalled(loop, loop.time() + (RETRY_SECONDS if left is None else min(left, RETRY_SECONDS)))


def told_by(side: ConsumerSide, on_rebalance: OnRebalance | None) -> OnRebalance:
    """What the synchronous consumer calls in a rebalance."""
    if on_rebalance is not None and not callable(on_rebalance):
        raise TypeError(f"on_rebalance must be callable or None, not {type(on_rebalance).__name__}")
    if inspect.iscoroutinefunction(on_rebalance):
        raise TypeError("on_rebalance must be a plain function: the rebalance is over when it returns, and cannot be "
                        "awaited; use in_rebalance.commit_sync() and in_rebalance.seek() in it")
    return partial(_tell, weakref.ref(side), on_rebalance)


def _tell(side: "weakref.ref[ConsumerSide]", on_rebalance: OnRebalance | None, event: RebalanceEvent,
          partitions: list[TopicPartition]) -> None:
    told = side()
    if told is None:
        return
    if on_rebalance is not None:
        told.in_rebalance = True
        try:
            on_rebalance(event, partitions)
        finally:
            told.in_rebalance = False
