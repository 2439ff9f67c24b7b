from typing import Any, final

from typing_extensions import disjoint_base

@disjoint_base
class BlockingCall:
    def run(self) -> None: ...

@final
class BlockingMetadataCall(BlockingCall): ...

__pyx_capi__: dict[str, Any]
