"""Options as enums: what they have in common, and the one of all clients.

No member is falsy. The members that were 0 in earlier builds are still found by 0, which a program may have stored.
"""
from enum import IntEnum


class Option(IntEnum):
    """Base of the options."""

    @classmethod
    def _missing_(cls, value: object) -> "Option | None":
        # The member 2 was 0 in earlier builds; the member 1 is unchanged: no number changes its meaning.
        return cls(2) if isinstance(value, int) and value == 0 else None

    @classmethod
    def member(cls, option: object) -> "Option | None":
        """The member that an option is, or `None`.

        Found by its value: after a reload of the package the user's class is not the one of the modules that are kept.
        """
        if isinstance(option, cls):
            return option
        other = type(option)
        same = (other.__name__, other.__module__) == (cls.__name__, cls.__module__)
        return cls(int(option)) if same and isinstance(option, IntEnum) else None


class EventsPollingOption(Option):
    """Who runs the callbacks of an asynchronous producer or a consumer. Source: KafkaClient::EventsPollingOption."""

    __module__ = "kafkapp"
    Manual = 2
    """The threads that call `poll_events`, `flush`, a consumer's `poll` or `close` run them."""
    Auto = 1
    """A background thread runs them."""
