import sys
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

# A sequence that is no str and no bytes: `in` takes any object.
class _Items(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> _Data: ...
    def __contains__(self, item: object, /) -> bool: ...

# NumPy's of strings or objects.
class _Array(Protocol):
    @property
    def dtype(self) -> Any: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...

@final
class Column(ArrowColumn): ...

_Memory: TypeAlias = _Buffer
# What send_batch() takes for the values or the keys of many records.
_Column: TypeAlias = _Items | _Array | _ArrowArray | _ArrowStream | Column

__pyx_capi__: dict[str, Any]
