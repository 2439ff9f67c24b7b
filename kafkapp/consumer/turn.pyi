from typing import Any, final

@final
class Turn: ...

__pyx_capi__: dict[str, Any]
