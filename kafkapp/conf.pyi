from collections.abc import Mapping

CALLBACKS: tuple[str, ...]
OWN: tuple[str, ...]
REFUSED: dict[str, str]

def boolean(name: str, value: str) -> bool: ...
