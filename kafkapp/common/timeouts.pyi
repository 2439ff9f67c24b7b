# Deadlines are for the other modules: see the .pxd.
from datetime import timedelta
from typing import Any

__pyx_capi__: dict[str, Any]

class TimeoutRangeError(ValueError, OverflowError): ...

def rounded_up_to_ms(seconds: float) -> int: ...
def seconds_of(timeout: int | float | timedelta | None) -> float | None: ...
