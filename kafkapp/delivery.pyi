from typing import Any, final

@final
class Topic:
    @property
    def name(self) -> str: ...

@final
class Waiter: ...

__pyx_capi__: dict[str, Any]
