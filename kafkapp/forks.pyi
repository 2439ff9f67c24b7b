# Nothing for Python: forks(), in forks.pxd, is for the other modules.
from typing import Any

__pyx_capi__: dict[str, Any]
