"""Types of the callbacks of consumers. Imported only for type checkers: `typing` is slow to import."""
from typing import Protocol

from kafkapp.common.errors import Error
from kafkapp.consumer.topic_partition import TopicPartition


class CommitCallback(Protocol):
    """`callback` of `commit_async`: called once for each commit."""

    def __call__(self, offsets: dict[TopicPartition, int], error: Error | None, /) -> object:
        """`offsets`: what was to be committed; `error`: None when it was."""


CommitCallback.__module__ = "kafkapp.typing"    # where it is exported
