from collections.abc import Sequence

from kafkapp.consumer.consumed_batch import ConsumedBatch

def envelope_lines(batch: ConsumedBatch, rows: Sequence[int] | None = None) -> bytes: ...
