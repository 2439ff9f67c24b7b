from typing import Any, final

from kafkapp.common.errors import Error
from kafkapp.common.errors import KafkaException as KafkaException
from kafkapp.consumer.topic_partition import TopicPartition

@final
class AutoCommit:
    def end(self, offsets: dict[TopicPartition, int], error: Error | None) -> None: ...

__pyx_capi__: dict[str, Any]
