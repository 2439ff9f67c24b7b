import sys
from typing import Any, final

@final
class ConsumedBlock: ...

@final
class ConsumedColumn:
    def __len__(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

__pyx_capi__: dict[str, Any]
