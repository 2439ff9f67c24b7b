"""The columns of a batch: the same by Arrow, as buffers and one by one; valid whatever becomes of the consumer."""
import gc
import threading
import weakref
from array import array

import polars
import pyarrow
import pytest
from consumers import batches, fields, new_consumer, plain
from helpers import properties

from kafkapp import KafkaSyncProducer

KINDS = [(None, b"value"), (b"", None), (b"key", b""), (b"\xff" * 50, b"x" * 300)]
COUNT = 1200


@pytest.fixture
def batch(broker, topic):
    """All records of a topic in one batch, with headers; its consumer is closed and gone."""
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [KINDS[row % 4][1] for row in range(COUNT)], keys=[KINDS[row % 4][0] for row in range(COUNT)], partition=1,
                            headers=[[("a", b"1"), ("b", None)][:row % 3] for row in range(COUNT)], timestamps=array("q", range(1_700_000_000_000, 1_700_000_000_000 + COUNT)))
    with new_consumer(broker, topic, [1]) as consumer:
        while len(batch := consumer.poll_batch(20, headers=True)) < COUNT:
            consumer.seek_to_beginning()
    return batch


def test_arrow(batch, topic):
    made = pyarrow.record_batch(batch)
    made.validate(full=True)
    assert made.schema.names == ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers"]
    assert made.schema.field("topic").type == pyarrow.dictionary(pyarrow.int32(), pyarrow.utf8())
    assert made.schema.field("timestamp").type == pyarrow.timestamp("ms", "UTC")
    rows = made.to_pylist()
    assert [(row["topic"], row["partition"], row["offset"], row["key"], row["value"]) for row in rows] == [
        (topic, 1, row, *KINDS[row % 4]) for row in range(COUNT)]
    assert [row["headers"] for row in rows[:3]] == [[], [{"name": "a", "value": b"1"}], [{"name": "a", "value": b"1"}, {"name": "b", "value": None}]]
    assert rows[7]["timestamp"].timestamp() == 1_700_000_000.007


def test_polars(batch):
    frame = polars.DataFrame(batch)
    assert frame["offset"].to_list() == list(range(COUNT)) and frame["value"].null_count() == COUNT // 4
    assert frame["value"].to_list() == [KINDS[row % 4][1] for row in range(COUNT)]


def test_buffers(batch, topic):
    assert batch.topics == (topic,) and set(batch.topic_indices) == {0} and set(batch.partitions) == {1}
    assert batch.offsets.tolist() == list(range(COUNT)) and batch.timestamps[5] == 1_700_000_000_005 and set(batch.timestamp_types) == {1}
    for offsets, data, validity, column in ((batch.key_offsets, batch.key_data, batch.key_validity, 0),
                                            (batch.value_offsets, batch.value_data, batch.value_validity, 1)):
        assert len(offsets) == COUNT + 1 and offsets[0] == 0 and offsets[COUNT] == len(data) and offsets.readonly
        found = [bytes(data[offsets[row]:offsets[row + 1]]) if validity[row // 8] >> row % 8 & 1 else None for row in range(COUNT)]
        assert found == [KINDS[row % 4][column] for row in range(COUNT)]


def test_no_validity_where_nothing_is_null(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"v"] * 10, partition=0)
    with new_consumer(broker, topic) as consumer:
        found = batches(consumer, 10)
    assert all(batch.value_validity is None for batch in found)
    assert [batch.key_validity is None for batch in found] == [not batch for batch in found]


def test_records(batch, topic):
    assert [record.offset for record in batch] == list(range(COUNT)) and batch[-1].offset == COUNT - 1
    assert [plain(record.value) for record in batch[2:6]] == [KINDS[row % 4][1] for row in range(2, 6)]
    assert fields(batch[2]) == (topic, 1, 2, b"key", b"", [("a", b"1"), ("b", None)], 1_700_000_000_002, 1)
    for index in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            batch[index]


def test_headers_only_on_request(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send(topic, b"v", headers=[("h", b"x")], partition=0)
    with new_consumer(broker, topic) as consumer:
        batch, = (found for found in batches(consumer, 1) if found)
        assert "headers" not in pyarrow.record_batch(batch).schema.names
        with pytest.raises(RuntimeError, match=r"poll_batch\(headers=True\)"):
            batch[0].headers  # noqa: B018


def test_an_empty_batch(broker, topic):
    with new_consumer(broker, topic) as consumer:
        batch = consumer.poll_batch(0, headers=True)
    assert not batch and list(batch) == [] and batch.ends == {} and batch.topics == () and batch.nbytes == 0
    made = pyarrow.record_batch(batch)
    made.validate(full=True)
    assert made.num_rows == 0 and bytes(batch.value_data) == b"" and batch.value_offsets.tolist() == [0]


def test_parts_outlive_the_whole(batch):
    """A child that is moved out of an array, a column, a record and a value each keep the memory."""
    made = pyarrow.record_batch(batch)
    part, column, value = made.column("value"), batch.value_data, batch[3].value
    del made, batch
    gc.collect()
    assert part.to_pylist() == [KINDS[row % 4][1] for row in range(COUNT)]
    assert bytes(value) == b"x" * 300 and len(column) == COUNT // 4 * 305


def test_capsules_that_nobody_imports_and_arrays_released_by_other_threads(batch):
    for _ in range(20):
        batch.__arrow_c_array__()
        batch.__arrow_c_schema__()
    arrays = [pyarrow.record_batch(batch) for _ in range(50)]
    threads = [threading.Thread(target=lambda: [arrays.pop().column("key") for _ in range(12)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(arrays) == 2 and arrays[0].equals(pyarrow.record_batch(batch))


def test_topic_to_topic(batch, broker, topic):
    """What is read can be sent on without a row of it in Python."""
    made = pyarrow.record_batch(batch)
    with KafkaSyncProducer(properties(broker)) as producer:
        assert not producer.send_batch(topic, made.column("value"), keys=made.column("key"), partition=2).failures()
    with new_consumer(broker, topic, [2]) as consumer:
        found = [(plain(record.key), plain(record.value)) for again in batches(consumer, COUNT) for record in again]
    assert found == [KINDS[row % 4] for row in range(COUNT)]


def test_nothing_keeps_a_closed_consumer(broker, topic):
    consumer = new_consumer(broker, topic)
    batch = consumer.poll_batch(0)
    consumer.close()
    gone = weakref.ref(consumer)
    del consumer
    gc.collect()
    assert gone() is None and not batch
