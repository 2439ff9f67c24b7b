# kafkapp.consumer.kept_messages: nothing for Python; the C interface is in the .pxd.
from typing import Any, final

@final
class KeptMessages: ...

__pyx_capi__: dict[str, Any]
