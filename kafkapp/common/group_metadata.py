"""Group metadata as librdkafka packs it: which member of which generation of its group a consumer is."""
from __future__ import annotations

import sys

MAGIC = b"CGMDv2:"


def unpacked(packed: bytes) -> tuple[bytes, int, bytes, bytes | None]:
    """(group_id, generation_id, member_id, group_instance_id or None) of rd_kafka_consumer_group_metadata_write(), and
    so of confluent-kafka's consumer_group_metadata(): all librdkafkas since 1.6 write and read this form.

    rd_kafka_consumer_group_metadata_read() reads behind the end of what was cut short.
    """
    parts = packed[len(MAGIC) + 4:].split(b"\0")
    # group_id, NUL, member_id, NUL, then 1 for "no instance" or NUL, the instance's id, NUL
    without = len(parts) == 3 and parts[2] == b"\x01"
    if not packed.startswith(MAGIC) or not parts[0] or not (without or len(parts) == 5 and not parts[2]
                                                            and parts[3] and not parts[4]):
        raise ValueError("group: these bytes are no group metadata of confluent-kafka's consumer_group_metadata()")
    generation = int.from_bytes(packed[len(MAGIC):][:4], sys.byteorder, signed=True)
    return parts[0], generation, parts[1], None if without else parts[3]
