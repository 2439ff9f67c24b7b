from typing_extensions import disjoint_base

@disjoint_base
class Handle:
    def ledger(self) -> dict[str, int]: ...
