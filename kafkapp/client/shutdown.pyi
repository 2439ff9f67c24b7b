from typing import Any

from kafkapp.client.client import Client

__pyx_capi__: dict[str, Any]

ABANDONED_CLOSE_SECONDS: int

def drop(client: Client) -> None: ...
def log_loss(line: str) -> None: ...
def close_all() -> None: ...
