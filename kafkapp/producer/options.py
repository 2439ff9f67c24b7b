"""Options of producers' sends, as enums."""
from kafkapp.common.options import Option


class SendOption(Option):
    """What `send` does with a record's value. Source: KafkaProducer::SendOption."""

    __module__ = "kafkapp"
    NoCopyRecordValue = 2
    """librdkafka reads the caller's memory, which is held until the delivery report."""
    ToCopyRecordValue = 1
    """librdkafka copies the value; the caller may change the memory when `send` returns."""


class ActionWhileQueueIsFull(Option):
    """What `send` does while librdkafka's queue is full. Source: KafkaProducer::ActionWhileQueueIsFull."""

    __module__ = "kafkapp"
    Block = 2
    """Wait for room."""
    NoBlock = 1
    """Raise RD_KAFKA_RESP_ERR__QUEUE_FULL."""
