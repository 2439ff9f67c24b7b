from typing import Any, final

from kafkapp.client.blocking_calls import BlockingCall
from kafkapp.client.handle import Service

@final
class ProducerService(Service): ...

@final
class BlockingPurgeCall(BlockingCall): ...

__pyx_capi__: dict[str, Any]
