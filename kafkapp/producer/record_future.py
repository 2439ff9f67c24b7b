"""RecordFuture: what send_future() returns. Imported on demand: concurrent.futures is slow to import."""
from concurrent.futures import Future
from typing import Any

from kafkapp.common import unretrieved
from kafkapp.common.errors import Error, KafkaException
from kafkapp.producer.record_metadata import RecordMetadata


class RecordFuture(Future[RecordMetadata]):
    """A concurrent.futures.Future that knows its record, and whether its failure was retrieved."""

    _unseen = False  # it failed, and nothing has retrieved its exception

    def __init__(self, client: str, topic: str, record_id: Any) -> None:
        super().__init__()
        self._client, self._topic, self._record_id = client, topic, record_id
        self.set_running_or_notify_cancel()  # it cannot be cancelled: the record is sent

    def complete(self, metadata: RecordMetadata, error: Error | None) -> None:
        """The delivery callback."""
        if error is None:
            self.set_result(metadata)
        else:
            self._unseen = True
            self.set_exception(KafkaException(error))

    def result(self, timeout: float | None = None) -> RecordMetadata:
        try:
            return super().result(timeout)
        except KafkaException:
            self._unseen = False
            raise
        finally:
            del self  # else the exception, whose traceback has this frame, and the future would hold each other

    def exception(self, timeout: float | None = None) -> BaseException | None:
        failure = super().exception(timeout)
        self._unseen = False
        return failure

    def _peek(self) -> tuple[RecordMetadata | None, BaseException | None]:
        """The outcome, of one that is done; it does not count as retrieved."""
        return (self._result, None) if self._exception is None else (None, self._exception)

    def __repr__(self) -> str:
        if not self.done():
            state = "pending"
        else:
            state = str(self._result if self._exception is None else f"failed, {self._exception}")
        return f"<{type(self).__name__} {unretrieved.record_text(self._topic, self._record_id)}: {state}>"

    def __del__(self) -> None:
        if self._unseen and self._exception is not None:
            unretrieved.add(self._client, self._exception, self._topic)
