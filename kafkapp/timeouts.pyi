# Nothing for Python: deadlines and what is left of them, in timeouts.pxd, are for the other modules.
from typing import Any

__pyx_capi__: dict[str, Any]
