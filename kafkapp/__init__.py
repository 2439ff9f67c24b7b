"""Kafka producers and consumers that do not copy values: the design of the modern C++ Kafka API, over librdkafka."""

# producer: by this attribute signatures name defaults, and Python sets it only when it loads that package. An import of
# kafkapp that failed has left that in sys.modules.
from kafkapp import _modules, producer  # noqa: F401

_modules.install()     # before anything is imported that is found that way

from kafkapp.common.cluster_metadata import BrokerMetadata
from kafkapp.common.errors import (
    Error,
    ErrorCode,
    KafkaBufferError,
    KafkaException,
    KafkaTimeoutError,
    KafkaValueError,
)
from kafkapp.common.headers import Header
from kafkapp.common.options import EventsPollingOption
from kafkapp.common.timestamp import Timestamp
from kafkapp.common.views import Key, NullKey, NullValue, Value
from kafkapp.config.application import librdkafka_features, librdkafka_version
from kafkapp.config.properties import ConsumerConfig, ProducerConfig, Properties
from kafkapp.consumer.consumed_batch import ConsumedBatch
from kafkapp.consumer.consumer import KafkaConsumer
from kafkapp.consumer.consumer_record import ConsumerRecord
from kafkapp.consumer.groups import ConsumerGroupMetadata, RebalanceEvent
from kafkapp.consumer.topic_partition import Offset, TopicPartition
from kafkapp.consumer.unordered_offsets import UnorderedOffsetCommitQueue
from kafkapp.producer.async_producer import KafkaAsyncProducer
from kafkapp.producer.batch import Batch
from kafkapp.producer.options import ActionWhileQueueIsFull, SendOption
from kafkapp.producer.record import ProducerRecord
from kafkapp.producer.record_metadata import PersistedStatus, RecordMetadata
from kafkapp.producer.sync_producer import KafkaSyncProducer

__all__ = [
    "ActionWhileQueueIsFull",
    "Batch",
    "BrokerMetadata",
    "ConsumedBatch",
    "ConsumerConfig",
    "ConsumerGroupMetadata",
    "ConsumerRecord",
    "Error",
    "ErrorCode",
    "EventsPollingOption",
    "Header",
    "KafkaAsyncProducer",
    "KafkaBufferError",
    "KafkaConsumer",
    "KafkaException",
    "KafkaSyncProducer",
    "KafkaTimeoutError",
    "KafkaValueError",
    "Key",
    "NullKey",
    "NullValue",
    "Offset",
    "PersistedStatus",
    "ProducerConfig",
    "ProducerRecord",
    "Properties",
    "RebalanceEvent",
    "RecordMetadata",
    "SendOption",
    "Timestamp",
    "TopicPartition",
    "UnorderedOffsetCommitQueue",
    "Value",
    "librdkafka_features",
    "librdkafka_version",
]

# Not exported, but named kafkapp in tracebacks and pickles: classes that users meet, and what pickles call.
from kafkapp.common.cluster_metadata import Node, PartitionInfo  # noqa: F401
from kafkapp.common.errors import _restore_error  # noqa: F401
from kafkapp.consumer.consumer_record import _restore_consumer_record  # noqa: F401
from kafkapp.producer.record import _restore_record  # noqa: F401
from kafkapp.producer.record_metadata import _restore_metadata  # noqa: F401


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # imported on demand: it would double the time of an import

        return version("kafkapp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
