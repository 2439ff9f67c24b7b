"""librdkafka's statistics as typed objects: `"stats_cb": lambda text: show(Statistics(text))`."""
from kafkapp.stats.statistics import (
    BrokerPartition,
    BrokerStatistics,
    ConsumerGroup,
    ExactlyOnce,
    Fatal,
    PartitionStatistics,
    Statistics,
    TopicStatistics,
    Window,
)

__all__ = [
    "BrokerPartition",
    "BrokerStatistics",
    "ConsumerGroup",
    "ExactlyOnce",
    "Fatal",
    "PartitionStatistics",
    "Statistics",
    "TopicStatistics",
    "Window",
]
