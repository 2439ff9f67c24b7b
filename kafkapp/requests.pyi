from typing import Any, final

from typing_extensions import disjoint_base

@disjoint_base
class Request:
    def run(self) -> None: ...

@final
class MetadataRequest(Request): ...
@final
class OffsetsRequest(Request): ...
@final
class TransactionRequest(Request): ...
@final
class PurgeRequest(Request): ...

__pyx_capi__: dict[str, Any]
