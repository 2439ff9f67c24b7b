"""Types of the callbacks that sends take. Imported only for type checkers: `typing` is slow to import."""
from typing import Protocol

from kafkapp.common.errors import Error
from kafkapp.producer.batch import Batch
from kafkapp.producer.record_metadata import RecordMetadata


class DeliveryCallback(Protocol):
    """`callback` of `send`: called once for each record that was accepted."""

    def __call__(self, metadata: RecordMetadata, error: Error | None, /) -> object:
        """`error`: None for a record that was delivered; `metadata` says which record it is in either case."""


class BatchCallback(Protocol):
    """`callback` of `send_batch`: called once, when each record of the batch has its outcome."""

    def __call__(self, batch: Batch, /) -> object:
        """`batch`: it is done."""


DeliveryCallback.__module__ = BatchCallback.__module__ = "kafkapp.typing"    # where they are exported
