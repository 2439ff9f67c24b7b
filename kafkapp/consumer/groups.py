"""Groups as a user meets them: RebalanceEvent, ConsumerGroupMetadata, and the checks of topics."""
from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from enum import IntEnum

from kafkapp.common.texts import check_text

TYPE_CHECKING = False
MAX_TOPIC_BYTES = 512


class RebalanceEvent(IntEnum):
    """What has become of partitions: the first argument of `on_rebalance`.

    Source: KafkaConsumer::RebalanceEventType.
    """

    __module__ = "kafkapp"

    Assigned = 0
    """They are this consumer's now."""
    Revoked = 1
    """They go to another consumer when `on_rebalance` returns; their offsets can be committed until then."""
    Lost = 2
    """They may be another consumer's already: it has read on from what was committed, and commits are refused."""


if TYPE_CHECKING:
    from typing import NamedTuple  # which an import of kafkapp does not need

    class _Fields(NamedTuple):
        group_id: str
        generation_id: int
        member_id: str
        group_instance_id: str | None
else:
    _Fields = namedtuple("_Fields", ("group_id", "generation_id", "member_id", "group_instance_id"))


class ConsumerGroupMetadata(_Fields):
    """Which member of which generation of its group a consumer is, for `send_offsets_to_transaction`.

    Source: rd_kafka_consumer_group_metadata_t; ConsumerGroupMetadata.
    """

    __module__ = "kafkapp"
    __slots__ = ()


def checked_topics(topics: object) -> list[str]:
    """Names of topics and patterns, each once."""
    if isinstance(topics, (str, bytes)) or not isinstance(topics, Iterable):
        raise TypeError(f"topics must be a list of str, not {type(topics).__name__}")
    names = [check_text("topic", topic) for topic in topics]
    if not names:
        raise ValueError("topics is empty: unsubscribe() ends a subscription")
    for name in names:
        if not 0 < len(name.encode()) <= MAX_TOPIC_BYTES:
            raise ValueError(f"topic must have from 1 to {MAX_TOPIC_BYTES} bytes")
    if len(set(names)) < len(names):
        raise ValueError(f"topics has one twice: {max(names, key=names.count)!r}")
    return names


def is_matched(topic: str, patterns: list[str], whole: bool) -> bool:
    """Whether one of these patterns matches a topic: all of its name, for a broker (KIP-848), or its beginning, for
    librdkafka. One that Python does not understand might."""
    import re  # here: it is slow to import
    for pattern in patterns:
        if "[[" in pattern or "[:" in pattern:      # a class of POSIX's, of which Python would warn
            return True
        try:
            if (re.fullmatch if whole else re.match)(pattern, topic):
                return True
        except re.error:
            return True
    return False
