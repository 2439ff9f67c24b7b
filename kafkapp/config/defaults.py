"""Defaults that are kafkapp's own: the values of properties that are not given and that librdkafka has others for."""
from __future__ import annotations

from os import urandom

PRODUCER = {
    # The Java client's. With librdkafka's own default, records of one key would go to different partitions.
    "partitioner": "murmur2_random",
}
SYNC_PRODUCER = {
    **PRODUCER,
    "linger.ms": "0",       # a send waits for its delivery report
}
ALIASES = {"linger.ms": "queue.buffering.max.ms"}


def set_defaults(properties: dict[str, object], defaults: dict[str, str]) -> None:
    """Add the defaults for what is not given, under either name; each client has a `client.id` of its own."""
    for name, value in defaults.items():
        if ALIASES.get(name) not in properties:
            properties.setdefault(name, value)
    properties.setdefault("client.id", urandom(6).hex())
