from typing import Any

def log_size_warning(name: str, message: int, kbytes: str, room: int) -> None: ...

__pyx_capi__: dict[str, Any]
