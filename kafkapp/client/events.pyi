from typing import final

from kafkapp.common.log_lines import logger as logger

LOGGING_LEVELS: tuple[int, ...]

@final
class EventHandlers:
    def __init__(self, name: str, properties: dict[str, object]) -> None: ...
    def log(self, level: int, facility: str, message: str) -> None: ...
    def to_logging(self, level: int, facility: str, message: str) -> None: ...

class BadToken(ValueError):
    def __init__(self, reason: str) -> None: ...
