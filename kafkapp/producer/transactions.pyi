from typing import Any, Final, final

from kafkapp.client.blocking_calls import BlockingCall
from kafkapp.common.errors import Error, KafkaException
from kafkapp.producer.producer import Producer

STATE_CHANGE_SECONDS: Final[float]
ORDER_OF_CALLS: Final[dict[str, str]]
RETRY_SECONDS: Final[float]

def transaction_exception(name: str, error: Error) -> KafkaException: ...

class Transaction:
    producer: Producer
    def __init__(self, producer: Producer) -> None: ...
    def __enter__(self) -> Producer: ...
    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None: ...
    def abort(self) -> None: ...
    def _abort_for(self, exc: BaseException) -> None: ...

@final
class BlockingTransactionCall(BlockingCall):
    @property
    def name(self) -> str | None: ...
    @property
    def must_resume(self) -> bool: ...

__pyx_capi__: dict[str, Any]
