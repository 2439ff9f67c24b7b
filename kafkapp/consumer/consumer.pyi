from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from kafkapp.common.options import EventsPollingOption
from kafkapp.config.properties import Properties
from kafkapp.config.property_types import ConsumerProperties
from kafkapp.consumer.callback_types import CommitCallback
from kafkapp.consumer.consumed_batch import ConsumedBatch
from kafkapp.consumer.groups import ConsumerGroupMetadata, RebalanceEvent
from kafkapp.consumer.partitions import PartitionConsumer, _HasPartition, _Partition, _Partitions, _Timeout
from kafkapp.consumer.topic_partition import TopicPartition

class _Offset(Protocol):
    @property
    def offset(self) -> int: ...

class _HasOffset(_HasPartition, Protocol):
    @property
    def offset(self) -> int: ...

_Offsets: TypeAlias = (ConsumedBatch | _HasOffset | Mapping[TopicPartition, int] | Mapping[tuple[str, int], int]
                       | Mapping[_Partition, int | _Offset] | Iterable[_HasOffset | tuple[str, int, int]] | None)

class KafkaConsumer(PartitionConsumer):
    def __init__(self, properties: ConsumerProperties | Properties | Mapping[str, Any],
                 events_polling: EventsPollingOption = EventsPollingOption.Auto) -> None: ...
    def subscribe(self, topics: Iterable[str],
                  on_rebalance: Callable[[RebalanceEvent, list[TopicPartition]], object] | None = None,
                  timeout: _Timeout = None) -> None: ...
    def unsubscribe(self, timeout: _Timeout = 10) -> None: ...
    def subscription(self) -> set[str]: ...
    def group_metadata(self) -> ConsumerGroupMetadata: ...
    def committed(self, partitions: _Partitions, timeout: _Timeout = 10) -> dict[TopicPartition, int]: ...
    def commit_sync(self, what: _Offsets = None, timeout: _Timeout = None) -> None: ...
    def commit_async(self, what: _Offsets = None, callback: CommitCallback | None = None) -> None: ...
