"""The options of producers and of their sends.

Layer L2: plain enums.
"""
from enum import IntEnum


class SendOption(IntEnum):
    """What `send` does with a record's value. Source: KafkaProducer::SendOption."""

    NoCopyRecordValue = 0
    """librdkafka reads the caller's memory; it is held until the delivery report."""
    ToCopyRecordValue = 1
    """librdkafka takes a copy; the caller's memory is free when `send` returns."""


class EventsPollingOption(IntEnum):
    """Who runs the callbacks of an asynchronous producer. Source: KafkaClient::EventsPollingOption."""

    Manual = 0
    """The threads that call `poll_events`, `flush` or `close`."""
    Auto = 1
    """A background thread."""


class ActionWhileQueueIsFull(IntEnum):
    """What `send` does while librdkafka's queue is full. Source: KafkaProducer::ActionWhileQueueIsFull."""

    Block = 0
    """Wait for room."""
    NoBlock = 1
    """Raise RD_KAFKA_RESP_ERR__QUEUE_FULL."""
