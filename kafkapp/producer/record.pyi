import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self, SupportsIndex, TypeAlias

from typing_extensions import disjoint_base

from kafkapp.common.headers import Header
from kafkapp.common.views import Key, Value

if sys.version_info >= (3, 12):
    from collections.abc import Buffer as _Buffer
else:
    from typing_extensions import Buffer as _Buffer

_Data: TypeAlias = _Buffer | str | Key | Value | None
_Pair: TypeAlias = tuple[str, _Data]
_Headers: TypeAlias = Sequence[Header | _Pair] | dict[str, Any] | None

__pyx_capi__: dict[str, Any]

@disjoint_base
class ProducerRecord:
    def __init__(
        self,
        topic: str,
        partition: SupportsIndex | None = None,
        key: _Data = None,
        value: _Data = None,
        id: object = None,
        *,
        headers: _Headers = None,
        timestamp: SupportsIndex | datetime | None = None,
    ) -> None: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int | None: ...
    @partition.setter
    def partition(self, value: SupportsIndex | None) -> None: ...
    @property
    def key(self) -> Any: ...
    @key.setter
    def key(self, value: _Data) -> None: ...
    @property
    def value(self) -> Any: ...
    @value.setter
    def value(self, value: _Data) -> None: ...
    @property
    def id(self) -> Any: ...
    @id.setter
    def id(self, value: object) -> None: ...
    @property
    def headers(self) -> list[Header]: ...
    @headers.setter
    def headers(self, value: _Headers) -> None: ...
    @property
    def timestamp(self) -> int | None: ...
    @timestamp.setter
    def timestamp(self, value: SupportsIndex | datetime | None) -> None: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __setstate__(self, state: object) -> None: ...

def _restore_record(
    cls: type[ProducerRecord],
    topic: str,
    partition: int,
    key: _Data,
    value: _Data,
    headers: _Headers,
    timestamp: int,
) -> ProducerRecord: ...
