from typing import Any, final

from kafkapp.client.blocking_calls import RepeatedCall

@final
class BlockingPartitionsCall(RepeatedCall): ...

__pyx_capi__: dict[str, Any]
