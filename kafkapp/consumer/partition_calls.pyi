from typing import Any, final

from kafkapp.client.blocking_calls import BlockingCall

@final
class BlockingPartitionsCall(BlockingCall): ...

__pyx_capi__: dict[str, Any]
