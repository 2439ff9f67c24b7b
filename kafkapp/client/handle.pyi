from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class Service: ...

@final
class Topic:
    @property
    def name(self) -> str: ...

@final
class DeferredRelease:
    def release(self) -> None: ...

@disjoint_base
class Handle:
    def ledger(self) -> dict[str, int]: ...
