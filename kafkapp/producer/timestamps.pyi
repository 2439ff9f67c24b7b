from datetime import datetime
from typing import Any, SupportsIndex, TypeAlias, final

from kafkapp.producer.arrow import ArrowColumn
from kafkapp.producer.columns import _ArrowArray, _ArrowStream, _Memory

@final
class Timestamps(ArrowColumn): ...

# What send_batch() takes for the timestamps of many records.
_Timestamps: TypeAlias = SupportsIndex | datetime | _Memory | _ArrowArray | _ArrowStream | None

__pyx_capi__: dict[str, Any]
