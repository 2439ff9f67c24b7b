"""A topic as kafkapp's consumer reads it: as records, by the columns' buffers, by Arrow. The tuples are three_readers'."""
import time

import pyarrow
from helpers import properties
from three_readers import Read

from kafkapp import KafkaConsumer, Timestamp


def by_poll(consumer, size):
    batch = consumer.poll(1, max_records=size)
    return [Read(record.partition, record.offset, data(record.key), data(record.value),
                 [(header.key, data(header.value)) for header in record.headers],
                 record.timestamp.ms, record.timestamp.type == Timestamp.Type.LogAppendTime)
            for record in batch], batch


def by_buffers(consumer, size):
    batch = consumer.poll_batch(1, max_records=size, headers=True)

    def item(offsets, column, validity, row):
        if validity is not None and not validity[row // 8] >> row % 8 & 1:
            return None
        return bytes(column[offsets[row]:offsets[row + 1]])

    return [Read(batch.partitions[row], batch.offsets[row], item(batch.key_offsets, batch.key_data, batch.key_validity, row),
                 item(batch.value_offsets, batch.value_data, batch.value_validity, row),
                 [(header.key, data(header.value)) for header in batch[row].headers], batch.timestamps[row],
                 batch.timestamp_types[row] == Timestamp.Type.LogAppendTime)
            for row in range(len(batch))], batch


def by_arrow(consumer, size):
    batch = consumer.poll_batch(1, max_records=size, headers=True)
    table = pyarrow.record_batch(batch)
    table.validate(full=True)       # UTF-8 where it is said to be, offsets that fit
    columns = {name: table.column(name).to_pylist() for name in ("partition", "offset", "key", "value", "headers", "timestamp_type")}
    times = table.column("timestamp").cast(pyarrow.int64()).to_pylist()
    return [Read(partition, offset, key, value, [(header["name"], header["value"]) for header in headers or []], time,
                 kind == Timestamp.Type.LogAppendTime)
            for partition, offset, key, value, headers, time, kind in zip(
                *(columns[name] for name in ("partition", "offset", "key", "value", "headers")), times,
                columns["timestamp_type"], strict=True)], batch


def data(view):
    return None if view.data is None else bytes(view)


OUR_READERS = {"poll": by_poll, "buffers": by_buffers, "arrow": by_arrow}


class Whole:
    """A topic, read to its end. From 0: librdkafka asks for Offset.Beginning half a second later.

    Attributes:
        found: Reads, each partition's as they came.
        polls: the Reads of each poll that returned some.
        positions: of each partition, at the end.
        eofs: of each partition, its end as librdkafka has reported it.
    """

    def __init__(self, bootstrap, topic, partitions, read=by_poll, size=100_000, start=0, timeout=60, **more):
        self.polls, self.eofs, ends = [], {}, {}
        deadline = time.monotonic() + timeout
        with KafkaConsumer(properties(bootstrap, {"fetch.wait.max.ms": 50, "enable.partition.eof": True, "check.crcs": True},
                                      **more)) as consumer:
            consumer.assign({(topic, partition): start for partition in range(partitions)})
            while len(self.eofs) < partitions:
                assert time.monotonic() < deadline, f"no end of {topic} in {timeout} s: {self.eofs}"
                found, batch = read(consumer, size)
                self.eofs |= {place.partition: end for place, end in batch.eofs.items()}
                assert len(found) == len(batch) <= max(size, 1)
                if found:
                    self.polls.append(found)
                    ends |= batch.ends
                    expected = {(topic, record.partition): record.offset + 1 for record in found}
                    assert batch.ends == expected, "ends are what comes after the last real record of a partition"
            self.positions = {partition: consumer.position((topic, partition)) for partition in range(partitions)}
        assert all(self.positions[partition] == end for (_, partition), end in ends.items())
        self.found = sorted((record for poll in self.polls for record in poll), key=lambda record: record.partition)
