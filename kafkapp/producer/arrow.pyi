from typing import Any

from typing_extensions import disjoint_base

@disjoint_base
class ArrowColumn: ...

__pyx_capi__: dict[str, Any]
