import sys
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, final

from kafkapp.producer.arrow import ArrowColumn
from kafkapp.producer.record import _Data

if sys.version_info >= (3, 12):
    from collections.abc import Buffer as _Buffer
else:
    from typing_extensions import Buffer as _Buffer

class _ArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

@final
class Column(ArrowColumn): ...

_Memory: TypeAlias = _Buffer
# What send_batch() takes for the values or the keys of many records.
_Column: TypeAlias = Sequence[_Data] | _Buffer | _ArrowArray | _ArrowStream | Column

__pyx_capi__: dict[str, Any]
