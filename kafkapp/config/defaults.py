"""Defaults that are kafkapp's own: the values of properties that are not given and that librdkafka has others for."""
from __future__ import annotations

import os
import sys

PRODUCER = {
    # The Java client's. With librdkafka's own default, records of one key would go to different partitions.
    "partitioner": "murmur2_random",
}
SYNC_PRODUCER = {
    **PRODUCER,
    "linger.ms": "0",       # a send waits for its delivery report
}
CONSUMER = {
    # By kafkapp: what polls have returned, when the next one begins. librdkafka would commit what it has in its queue.
    "enable.auto.commit": "true",
    "auto.commit.interval.ms": "0",
    "enable.auto.offset.store": "false",
    "max.poll.records": "500",          # of poll(); librdkafka has one of that name, for share consumers
    "max.pinned.bytes": "67108864",     # 64 MiB: that views of what poll() returned hold of librdkafka's memory
}
SHORT_BACKOFF = {
    # With librdkafka's default, a second, a consumer that has emptied a full queue waits most of the time.
    "fetch.queue.backoff.ms": "10",
    # Then a long queue wins nothing. librdkafka counts payloads only: of small records 100,000, and as much of each
    # broker's answer as comes with them, are some 200 MB.
    "queued.min.messages": "20000",
    "fetch.max.bytes": "8388608",
}
SHORT_BACKOFF_SINCE = 0x020200ff        # before, librdkafka does not know the first
RANDOM = "random"           # as client.id: one of its own for each client, as in the C++ API
MAX_NAME = 64
# Beside these a default is not set: they say the same, or librdkafka wants them below it.
INSTEAD = {"linger.ms": ("queue.buffering.max.ms",),
           "fetch.max.bytes": ("message.max.bytes", "receive.message.max.bytes")}


def set_defaults(properties: dict[str, object], defaults: dict[str, str]) -> None:
    """Add the defaults for what is not given."""
    for name, value in defaults.items():
        if properties.keys().isdisjoint(INSTEAD.get(name, ())):
            properties.setdefault(name, value)
    if properties.setdefault("client.id", program_name()) == RANDOM:
        properties["client.id"] = os.urandom(6).hex()


def consumer_defaults(librdkafka: int) -> dict[str, str]:
    """The defaults of a consumer. `group.id` is random, as in the C++ API.

    Args:
        librdkafka: rd_kafka_version().
    """
    fetching = SHORT_BACKOFF if librdkafka >= SHORT_BACKOFF_SINCE else {}
    return {**CONSUMER, **fetching, "group.id": os.urandom(6).hex()}


def program_name() -> str:
    """What brokers' metrics and quotas are to call the clients of this program: the same at each start.

    The name of the file that Python runs, or of its folder for a package; `kafkapp` for one that has no name.
    """
    path = (getattr(sys, "argv", None) or [""])[0]
    folder, name = os.path.split(path) if isinstance(path, str) else ("", "")
    if name == "__main__.py":
        name = os.path.basename(folder)
    if name in ("", "-", "-c", "-m"):
        return "kafkapp"
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name.removesuffix(".py"))
    return name.strip("-.")[:MAX_NAME] or "kafkapp"
