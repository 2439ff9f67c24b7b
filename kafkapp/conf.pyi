from typing import Any

CALLBACKS: frozenset[str]
OWN: tuple[str, ...]
REFUSED: dict[str, str]

__pyx_capi__: dict[str, Any]

def librdkafka_features() -> list[str]: ...
def librdkafka_is_patched() -> bool: ...
def librdkafka_version() -> str: ...
