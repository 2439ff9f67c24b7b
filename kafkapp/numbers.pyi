# Nothing for Python: the checks, in numbers.pxd, are for the other modules.
from typing import Any

__pyx_capi__: dict[str, Any]
