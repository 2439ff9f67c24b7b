from typing import Any, final

@final
class RecordQueue: ...

__pyx_capi__: dict[str, Any]
