from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import final

NAMES: frozenset[str]

@final
class Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None: ...

def install() -> None: ...
