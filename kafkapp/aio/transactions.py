"""Transactions of an asyncio producer: librdkafka's calls, each on a thread of its own, awaited in the loop.

A call goes on when its task is cancelled. The next call waits for it first, and has its result if it is the same one.
"""
import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kafkapp.aio.deadlines import seconds_left
from kafkapp.aio.loop_client import LoopClient
from kafkapp.aio.threads import LoopEvent
from kafkapp.client.blocking_calls import BlockingCall, still_running_error
from kafkapp.common.errors import Error, ErrorCode, KafkaException
from kafkapp.producer.transactions import (
    RETRY_SECONDS,
    STATE_CHANGE_SECONDS,
    BlockingTransactionCall,
    transaction_exception,
)

if TYPE_CHECKING:
    from kafkapp.aio.producer import KafkaProducer

CLOSED_CHECK_SECONDS = 0.1  # how soon a call that waits sees that the producer is closed
GRACE_SECONDS = 1  # beyond a call's timeout, which librdkafka keeps itself: it knows the error
ABORT_SECONDS = 10  # how long a cancelled transaction waits for its abort


class TransactionCalls:
    """The transaction calls of one producer. Used in the loop's thread only."""

    def __init__(self, client: LoopClient) -> None:
        self._client = client
        self._resumes = False  # the next call resumes one that has timed out
        self._owned: BlockingTransactionCall | None = None  # the last whose task still waits for it

    async def run(self, loop: asyncio.AbstractEventLoop, name: str, deadline: float | None) -> None:
        """Do what Producer's method of this name does: as transactions.run(), which blocks a thread.

        Raises:
            KafkaException: as that method.
        """
        reason = None
        while True:
            call = await self._call(loop, name, deadline)
            error = still_running_error() if call is None else call.error
            if error is None or not (call is None or call.must_resume):
                break
            self._resumes = True
            if error.code != ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                reason = error
            if seconds_left(loop, deadline) == 0:
                error = reason or error  # librdkafka does not keep the reason for the next call
                break
        if error is not None:
            raise transaction_exception(name, error)

    async def _call(self, loop: asyncio.AbstractEventLoop, name: str,
                    deadline: float | None) -> BlockingTransactionCall | None:
        """Have librdkafka's function called once. Returns the finished call; None: it goes on after the deadline."""
        while (call := self._client.transaction_call) is not None:
            if not await self._finished(loop, call, deadline):
                return None
            left = self._client.transaction_call is call and call is not self._owned  # by a cancelled task
            self._take(call)
            # A transaction that another task has begun is that task's: to begin a second one is an error.
            if call.name == name and (left or name != "begin_transaction"):
                return call
        self._owned = call = self._client.start_transaction_call(name, seconds_left(loop, deadline), LoopEvent(loop))
        try:
            if not await self._finished(loop, call, None if deadline is None else deadline + GRACE_SECONDS):
                return None
        finally:
            if self._owned is call:
                self._owned = None
        self._take(call)
        return call

    def _take(self, call: BlockingTransactionCall) -> None:
        """Nothing awaits from here to the caller: a result is not lost by a cancellation."""
        self._client.end_transaction_call(call)
        if call.failure is not None:
            raise call.failure

    async def _finished(self, loop: asyncio.AbstractEventLoop, call: BlockingCall, deadline: float | None) -> bool:
        """Wait until a call has finished. Returns False when the deadline has expired first."""
        while not call.is_finished:
            if self._client.is_closed():
                raise RuntimeError("the producer is closed")
            if (left := seconds_left(loop, deadline)) == 0:
                return False
            await call.done.wait(CLOSED_CHECK_SECONDS if left is None else min(left, CLOSED_CHECK_SECONDS))
        if self._resumes and call.error is None:
            await asyncio.sleep(STATE_CHANGE_SECONDS)  # see there
            self._resumes = False
        return True

    async def send_offsets(self, loop: asyncio.AbstractEventLoop, offsets: Any, group: Any,
                           deadline: float | None) -> None:
        """As Producer.send_offsets_to_transaction()."""
        call = self._client.start_offsets_call(offsets, group, seconds_left(loop, deadline), LoopEvent(loop))
        finished = await self._finished(loop, call, None if deadline is None else deadline + GRACE_SECONDS)
        if call.failure is not None:
            raise call.failure
        error: Error | None = call.error if finished else still_running_error()
        if error is not None:
            raise transaction_exception("send_offsets_to_transaction", error)


class LoopTransaction:
    """The context manager of KafkaProducer.transaction()."""

    def __init__(self, producer: "KafkaProducer") -> None:
        self._producer = producer

    async def __aenter__(self) -> "KafkaProducer":
        await self._producer.begin_transaction()
        return self._producer

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        if exc is not None:
            try:
                await self._abort(ABORT_SECONDS if isinstance(exc, asyncio.CancelledError) else None)
            except Exception as failure:  # also a RuntimeError: the producer was closed meanwhile
                exc.add_note(f"the transaction could not be aborted: {failure}")
            return
        while True:
            try:
                return await self._producer.commit_transaction()
            except KafkaException as failure:
                error = failure.error
                if error.is_fatal or not (error.is_retriable or error.transaction_requires_abort):
                    raise
                if error.transaction_requires_abort:
                    await self._abort(None)  # what that raises says more: the producer has to be replaced
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _abort(self, seconds: float | None) -> None:
        """Abort, for at most `seconds`. What can be repeated is."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        while True:
            try:
                return await self._producer.abort_transaction(seconds_left(loop, deadline))
            except KafkaException as failure:
                if not failure.error.is_retriable or failure.error.is_fatal or seconds_left(loop, deadline) == 0:
                    raise
            await asyncio.sleep(RETRY_SECONDS)
