# kafkapp.consumer.broker_offsets: nothing for Python; the C interface is in the .pxd.
from typing import Any

__pyx_capi__: dict[str, Any]
