from typing import Any

def warn(name: str, message: int, kbytes: str, room: int) -> None: ...

__pyx_capi__: dict[str, Any]
