from typing import Any, final

from kafkapp.client.blocking_calls import BlockingCall

GROUP_FIELDS: tuple[str, ...]
NOT_FENCED: str

@final
class BlockingOffsetsCall(BlockingCall): ...

__pyx_capi__: dict[str, Any]
