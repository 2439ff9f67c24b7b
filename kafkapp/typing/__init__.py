"""Types for annotations: the callbacks' signatures, and a dict of properties that editors complete."""
from kafkapp.config.property_types import (
    ConsumerProperties,
    ErrorCallback,
    LogCallback,
    ProducerProperties,
    StatsCallback,
    TokenRefreshCallback,
)
from kafkapp.consumer.callback_types import CommitCallback
from kafkapp.producer.callback_types import BatchCallback, DeliveryCallback

__all__ = [
    "BatchCallback",
    "CommitCallback",
    "ConsumerProperties",
    "DeliveryCallback",
    "ErrorCallback",
    "LogCallback",
    "ProducerProperties",
    "StatsCallback",
    "TokenRefreshCallback",
]
