from collections.abc import Sequence
from typing import Any, TypeAlias, final

from kafkapp.common.headers import Header
from kafkapp.producer.arrow import ArrowColumn
from kafkapp.producer.columns import _ArrowArray, _ArrowStream
from kafkapp.producer.record import _Headers, _Pair

@final
class HeadersColumn(ArrowColumn): ...

# What send_batch() takes for the headers of many records: those of all, or of each. One Sequence for both: of two mypy
# infers none from a list of lists.
_HeadersColumn: TypeAlias = Sequence[Header | _Pair | _Headers] | dict[str, Any] | _ArrowArray | _ArrowStream | None

__pyx_capi__: dict[str, Any]
