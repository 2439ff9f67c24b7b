from typing import final

LOGGING_LEVELS: tuple[int, ...]

@final
class EventHandlers:
    def __init__(self, name: str, properties: dict[str, object]) -> None: ...
    def to_logging(self, level: int, facility: str, message: str) -> None: ...

def logger() -> object: ...
