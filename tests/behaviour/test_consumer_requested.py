"""What a reader of Arrow asks for: large binaries, views and strings in place of binaries; the rest is not followed."""
import threading

import nanoarrow
import pandas
import polars
import pyarrow
import pytest
from consumers import new_consumer
from helpers import properties

from kafkapp import KafkaSyncProducer

VALUES = [b"short", None, b"", "longer than twelve bytes, \u00e9".encode(), b"exactly 12 b", b"exactly 13 by"] * 200
WIDE = [(pyarrow.large_binary(), bytes), (pyarrow.binary_view(), bytes), (pyarrow.string(), str), (pyarrow.large_string(), str), (pyarrow.string_view(), str)]


@pytest.fixture
def batch(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, VALUES, keys=VALUES[::-1], partition=1, headers=[[("h", value)] for value in VALUES])
    with new_consumer(broker, topic, [1]) as consumer:
        while len(batch := consumer.poll_batch(20, headers=True)) < len(VALUES):
            consumer.seek_to_beginning()
    return batch


def with_types(batch, **types):
    schema = pyarrow.schema(batch)
    for name, kind in types.items():
        schema = schema.set(schema.get_field_index(name), pyarrow.field(name, kind))
    return schema


def as_kind(values, kind):
    return [value if value is None or kind is bytes else value.decode() for value in values]


@pytest.mark.parametrize(("asked", "kind"), WIDE, ids=lambda one: str(one))
def test_each_type(batch, asked, kind):
    made = pyarrow.record_batch(batch, schema=with_types(batch, value=asked))
    made.validate(full=True)
    assert made.schema.field("value").type == asked and made.schema.field("key").type == pyarrow.binary()
    assert made.column("value").to_pylist() == as_kind(VALUES, kind)
    assert made.column("key").to_pylist() == VALUES[::-1]
    both = pyarrow.record_batch(batch, schema=with_types(batch, value=pyarrow.large_binary(), key=asked))
    both.validate(full=True)
    assert both.column("key").to_pylist() == as_kind(VALUES[::-1], kind) and both.column("value").to_pylist() == VALUES
    assert polars.DataFrame(made)["value"].to_list() == as_kind(VALUES, kind)


def test_values_of_headers(batch):
    pair = pyarrow.struct([pyarrow.field("name", pyarrow.string(), nullable=False), pyarrow.field("value", pyarrow.string_view())])
    kind = pyarrow.list_(pyarrow.field("item", pair, nullable=False))
    schema = pyarrow.schema(batch)
    schema = schema.set(schema.get_field_index("headers"), pyarrow.field("headers", kind, nullable=False))
    made = pyarrow.record_batch(batch, schema=schema)
    made.validate(full=True)
    assert [row[0]["value"] for row in made.column("headers").to_pylist()] == as_kind(VALUES, str)


def test_parts_outlive_the_whole(batch):
    parts = [pyarrow.record_batch(batch, schema=with_types(batch, value=asked)).column("value") for asked, _ in WIDE]
    del batch
    assert [part.to_pylist() for part in parts] == [as_kind(VALUES, kind) for _, kind in WIDE]
    threads = [threading.Thread(target=parts.pop) for _ in WIDE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not parts


def test_the_first_row_that_is_no_text_is_named(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"v", b"\xed\xa0\x80", b"\xff"], keys=[b"\xc3\xa9", b"k", b"\xc3"], partition=0,
                            headers=[[], [], [("a", b"x"), ("b", b"\xfe")]])
    with new_consumer(broker, topic, [0]) as consumer:
        while len(batch := consumer.poll_batch(20, headers=True)) < 3:
            consumer.seek_to_beginning()
    for name, row in (("value", 1), ("key", 2)):
        with pytest.raises(ValueError, match=rf"the {name} of <ConsumerRecord {topic}-0:{row}>, row {row}, is not UTF-8"):
            pyarrow.record_batch(batch, schema=with_types(batch, **{name: pyarrow.string()}))
    pair = pyarrow.struct([("name", pyarrow.string()), ("value", pyarrow.string())])
    with pytest.raises(ValueError, match="the header of .*, row 2, is not UTF-8"):
        batch.__arrow_c_array__(pyarrow.schema([("headers", pyarrow.list_(pair))]).__arrow_c_schema__())
    assert pyarrow.record_batch(batch).column("value").to_pylist() == [b"v", b"\xed\xa0\x80", b"\xff"]


def test_what_cannot_be_made_is_not_followed(batch):
    for asked in (pyarrow.schema([("value", pyarrow.int32()), ("other", pyarrow.string())]), pyarrow.int64(), pyarrow.schema([]),
                  pyarrow.schema([("key", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())), ("headers", pyarrow.string())])):
        made = pyarrow.RecordBatch._import_from_c_capsule(*batch.__arrow_c_array__(asked.__arrow_c_schema__()))
        assert made.equals(pyarrow.record_batch(batch))


@pytest.mark.parametrize("wrong", [1, b"", object()])
def test_what_is_no_schema(batch, wrong):
    with pytest.raises(TypeError, match="requested_schema must be"):
        batch.__arrow_c_array__(wrong)
    with pytest.raises(TypeError, match="requested_schema must be"):
        batch.__arrow_c_array__(batch.__arrow_c_array__()[1])


def test_readers(batch):
    """Each reads a batch by the interface of arrays; none asks for a stream."""
    assert polars.DataFrame(batch)["value"].to_list() == VALUES
    assert nanoarrow.Array(batch).child(6).to_pylist() == VALUES
    assert pyarrow.array(batch).field("value").to_pylist() == VALUES
    assert pandas.DataFrame.from_arrow(batch)["value"].tolist() == VALUES


def test_an_empty_batch(broker, topic):
    with new_consumer(broker, topic) as consumer:
        batch = consumer.poll_batch(0)
    for asked, _ in WIDE:
        made = pyarrow.record_batch(batch, schema=with_types(batch, value=asked, key=asked))
        made.validate(full=True)
        assert made.num_rows == 0
