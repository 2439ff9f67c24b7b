from typing import Any, final

from typing_extensions import disjoint_base

from kafkapp.common.errors import Error

@disjoint_base
class BlockingCall:
    @property
    def done(self) -> Any: ...
    @property
    def error(self) -> Error | None: ...
    @property
    def failure(self) -> BaseException | None: ...
    @property
    def is_finished(self) -> bool: ...
    def run(self) -> None: ...

@disjoint_base
class RepeatedCall(BlockingCall): ...

@final
class BlockingMetadataCall(RepeatedCall): ...

def still_running_error() -> Error: ...

__pyx_capi__: dict[str, Any]
