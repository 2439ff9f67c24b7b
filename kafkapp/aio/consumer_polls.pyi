from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any
from weakref import ref

from typing_extensions import disjoint_base

from kafkapp.aio.wakeup import Wakeup
from kafkapp.consumer.consumed_batch import ConsumedBatch
from kafkapp.consumer.consumer_record import ConsumerRecord

@disjoint_base
class ConsumerPolls:
    woken: bool
    seeking: int
    @property
    def waiting(self) -> list[Wakeup]: ...
    async def poll(self, loop: AbstractEventLoop, take: Callable[[], ConsumedBatch],
                   deadline: float | None) -> ConsumedBatch: ...
    async def next_record(self, owner: Any) -> ConsumerRecord: ...
    def take_records(self) -> ConsumedBatch: ...
    async def signalled(self, loop: AbstractEventLoop, deadline: float | None) -> None: ...
    def wake(self) -> None: ...

def on_records(side: ref[Any], descriptor: int) -> None: ...
