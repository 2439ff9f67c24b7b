from typing import Any, final

@final
class Column: ...

__pyx_capi__: dict[str, Any]
