"""Kafka producers that send records without copying them: the design of the modern C++ Kafka API, over librdkafka."""

from kafkapp.batch import Batch
from kafkapp.conf import librdkafka_features, librdkafka_version
from kafkapp.config import ProducerConfig, Properties
from kafkapp.errors import Error, ErrorCode, KafkaException
from kafkapp.metadata import BrokerMetadata
from kafkapp.options import ActionWhileQueueIsFull, EventsPollingOption, SendOption
from kafkapp.producer import KafkaAsyncProducer, KafkaSyncProducer
from kafkapp.records import PersistedStatus, ProducerRecord, RecordMetadata
from kafkapp.timestamp import Timestamp
from kafkapp.views import Header, Key, NullKey, NullValue, Value

__all__ = [
    "ActionWhileQueueIsFull",
    "Batch",
    "BrokerMetadata",
    "Error",
    "ErrorCode",
    "EventsPollingOption",
    "Header",
    "KafkaAsyncProducer",
    "KafkaException",
    "KafkaSyncProducer",
    "Key",
    "NullKey",
    "NullValue",
    "PersistedStatus",
    "ProducerConfig",
    "ProducerRecord",
    "Properties",
    "RecordMetadata",
    "SendOption",
    "Timestamp",
    "Value",
    "librdkafka_features",
    "librdkafka_version",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # imported on demand: it would double the time of an import

        return version("kafkapp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
