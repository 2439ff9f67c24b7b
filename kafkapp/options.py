"""The options of producers and of their sends.

Layer L2: plain enums. No member is false. The one that was 0 once is still found by 0, as old pickles have it.
"""
from enum import IntEnum


class Option(IntEnum):
    """What the options share."""

    @classmethod
    def _missing_(cls, value: object) -> "Option | None":
        # 2 was 0 in 0.1 and was so pickled; what was 1 still is: no number has come to mean another member.
        return cls(2) if isinstance(value, int) and value == 0 else None

    @classmethod
    def member(cls, option: object) -> "Option | None":
        """The member that an option is; `None`: it is none.

        By its value: after a reload of the package the user's class is another one than the modules that are kept have.
        """
        if isinstance(option, cls):
            return option
        other = type(option)
        same = (other.__name__, other.__module__) == (cls.__name__, cls.__module__)
        return cls(int(option)) if same and isinstance(option, IntEnum) else None


class SendOption(Option):
    """What `send` does with a record's value. Source: KafkaProducer::SendOption."""

    NoCopyRecordValue = 2
    """librdkafka reads the caller's memory; it is held until the delivery report."""
    ToCopyRecordValue = 1
    """librdkafka takes a copy; the caller's memory is free when `send` returns."""


class EventsPollingOption(Option):
    """Who runs the callbacks of an asynchronous producer. Source: KafkaClient::EventsPollingOption."""

    Manual = 2
    """The threads that call `poll_events`, `flush` or `close`."""
    Auto = 1
    """A background thread."""


class ActionWhileQueueIsFull(Option):
    """What `send` does while librdkafka's queue is full. Source: KafkaProducer::ActionWhileQueueIsFull."""

    Block = 2
    """Wait for room."""
    NoBlock = 1
    """Raise RD_KAFKA_RESP_ERR__QUEUE_FULL."""
