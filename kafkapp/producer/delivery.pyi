from typing import Any, final

from typing_extensions import disjoint_base

@final
class Hold: ...

@disjoint_base
class FutureTarget: ...

@disjoint_base
class BatchTarget: ...

@final
class Waiter: ...

__pyx_capi__: dict[str, Any]
