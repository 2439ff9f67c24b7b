from typing import Any, final

@final
class KeptMessages: ...

__pyx_capi__: dict[str, Any]
