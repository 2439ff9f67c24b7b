"""Malformed arguments of send_batch: they raise before anything is queued, name the argument, and leave nothing held."""

import os
import subprocess
import sys
from array import array
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from batches import KINDS, balanced, new_producer

from kafkapp import Batch, KafkaException, ProducerRecord

ENDS = array("i", [0, 1, 2])
ABC = ["a", "b", "c"]
RELEASED = memoryview(b"released")
RELEASED.release()


@pytest.fixture(scope="module", params=KINDS)
def producer(request, broker):
    with new_producer(request.param, broker.bootstrap_servers) as producer:
        yield producer


MALFORMED = {
    "values: nothing": (TypeError, "values", {"values": None}),
    "values: int": (TypeError, "values", {"values": 5}),
    "values: bytes": (TypeError, "values", {"values": b"abc"}),
    "values: str": (TypeError, "values", {"values": "abc"}),
    "values: bytearray": (TypeError, "values", {"values": bytearray(b"abc")}),
    "values: memoryview": (TypeError, "values", {"values": memoryview(b"abc")}),
    "values: dict": (TypeError, "values", {"values": {"a": "b"}}),
    "values: set": (TypeError, "values", {"values": {"a"}}),
    "values: iterator": (TypeError, "values", {"values": iter(ABC)}),
    "values: NumPy bytes, two dimensions": (TypeError, r"values\[0\] must be .*, not list", {"values": np.array([[b"a"], [b"b"]])}),
    "values: one NumPy text": (TypeError, "values", {"values": np.array("abc")}),
    "values: NumPy surrogate": (ValueError, r"values\[1\] cannot be encoded", {"values": np.array(["a", "\ud800", "b"])}),
    "values: NumPy text and offsets": (TypeError, "values", {"values": np.array(["a", "b"], "O"), "offsets": ENDS}),
    "values: NumPy numbers": (TypeError, "values", {"values": np.arange(3)}),
    "values: an int in it": (TypeError, "values", {"values": [b"a", "b", 7]}),
    "values: a list in it": (TypeError, "values", {"values": [b"a", [b"b"]]}),
    "values: objects in it": (TypeError, "values", {"values": [np.array([object()])]}),
    "values: surrogate": (ValueError, "values", {"values": ["\ud800"]}),
    "values: gaps": (BufferError, "values", {"values": [memoryview(b"abcd")[::2]]}),
    "values: NumPy gaps": (BufferError, "values", {"values": [np.arange(8, dtype="u1")[::2]]}),
    "values: released": (ValueError, "released", {"values": [b"a", RELEASED]}),
    "values: list and offsets": (TypeError, "values", {"values": ABC, "offsets": ENDS}),
    "values: str and offsets": (TypeError, "values must be one buffer", {"values": "abc", "offsets": ENDS}),
    "values: None and offsets": (TypeError, "values must be one buffer", {"values": None, "offsets": ENDS}),
    "offsets: list": (TypeError, "offsets", {"values": b"abc", "offsets": [0, 1]}),
    "offsets: bytes": (TypeError, "offsets", {"values": b"abc", "offsets": b"\0\1\2"}),
    "offsets: unsigned": (TypeError, "offsets", {"values": b"abc", "offsets": array("I", [0, 1])}),
    "offsets: int16": (TypeError, "offsets", {"values": b"abc", "offsets": array("h", [0, 1])}),
    "offsets: double": (TypeError, "offsets", {"values": b"abc", "offsets": array("d", [0, 1])}),
    "offsets: other order": (TypeError, "offsets", {"values": b"abc", "offsets": np.array([0, 1], ">i4")}),
    "offsets: other order of its own": (TypeError, "offsets", {"values": b"abc", "offsets": memoryview(np.array([0, 1], ">i8"))}),
    "offsets: NumPy's dates": (TypeError, "offsets", {"values": b"abc", "offsets": np.zeros(3, "M8[s]")}),
    "offsets: two dimensions": (TypeError, "offsets", {"values": b"abc", "offsets": np.zeros((2, 2), "i4")}),
    "offsets: gaps": (BufferError, "offsets", {"values": b"abc", "offsets": np.arange(4, dtype="i4")[::2]}),
    "offsets: none": (ValueError, "offsets", {"values": b"abc", "offsets": array("i")}),
    "offsets: negative": (ValueError, r"offsets\[0\]", {"values": b"abc", "offsets": array("i", [-1, 1])}),
    "offsets: back": (ValueError, r"offsets\[2\]", {"values": b"abc", "offsets": array("q", [0, 2, 1])}),
    "offsets: beyond": (ValueError, r"offsets\[2\]", {"values": b"abc", "offsets": array("i", [0, 1, 4])}),
    "keys: too few": (ValueError, "keys: 2 entries for 3", {"keys": ["a", "b"]}),
    "keys: too many": (ValueError, "keys: 4 entries for 3", {"keys": ["a"] * 4}),
    "keys: number": (TypeError, "keys", {"keys": 5}),
    "keys: a number in them": (TypeError, "keys", {"keys": ["a", 5, "b"]}),
    "keys: dict": (TypeError, "keys", {"keys": {"a": 1}}),
    "keys: Arrow of another length": (ValueError, "keys: 2 entries", {"keys": pa.array(["a", "b"])}),
    "keys: Arrow of another type": (TypeError, "keys must be an Arrow array", {"keys": pa.array([1, 2, 3])}),
    "keys: offsets and none": (TypeError, "keys must be one buffer", {"key_offsets": ENDS}),
    "keys: NumPy strings": (ValueError, "keys: 2 entries for 3 values", {"keys": np.array([b"a", b"b"])}),
    "keys: memory of NumPy strings": (TypeError, "keys must be one key or a sequence of keys", {"keys": memoryview(np.array([b"a", b"b", b"c"]))}),
    "keys: NumPy numbers": (TypeError, "keys must be one key or a sequence of keys", {"keys": np.arange(3)}),
    "keys: NumPy dates": (TypeError, "keys must be one key or a sequence of keys", {"keys": np.zeros(3, "M8[s]")}),
    "keys: a grid": (TypeError, "keys must be one key or a sequence of keys", {"keys": np.zeros((3, 4), "u1")}),
    "keys: array": (TypeError, "keys must be one key or a sequence of keys", {"keys": array("i", [1, 2, 3])}),
    "keys: gaps": (BufferError, "keys", {"keys": memoryview(b"abcdef")[::2]}),
    "keys: pointers": (TypeError, "pointers", {"keys": [np.zeros(1, [("o", "O"), ("t", "M8[s]")])] * 3}),
    "values: pointers": (TypeError, "pointers", {"values": [b"a", np.zeros(1, [("o", "O"), ("t", "M8[s]")])]}),
    "values: pointers and offsets": (TypeError, "pointers", {"values": np.zeros(3, [("o", "O"), ("t", "M8[s]")]), "offsets": ENDS}),
    "key_offsets: beyond": (ValueError, r"key_offsets\[3\]", {"keys": b"abc", "key_offsets": array("i", [0, 1, 2, 4])}),
    "key_offsets: too few": (ValueError, "keys: 2 entries for 3", {"keys": b"abc", "key_offsets": ENDS}),
    "partition: negative": (ValueError, "partition", {"partition": -1}),
    "partition: too large": (ValueError, "partition", {"partition": 2**31}),
    "partition: str": (TypeError, "partition", {"partition": "1"}),
    "partition: bool": (TypeError, "partition", {"partition": True}),
    "partition: float": (TypeError, "partition", {"partition": 1.0}),
    "partition: list": (TypeError, "partition must be a buffer of int32", {"partition": [0, 1, 2]}),
    "partition: int64": (TypeError, "partition must be", {"partition": np.zeros(3, "i8")}),
    "partition: too few": (ValueError, "partition: 2 entries for 3", {"partition": array("i", [0, 1])}),
    "partition: one below": (ValueError, r"partition\[1\]", {"partition": array("i", [0, -2, 1])}),
    "partition: gaps": (BufferError, "partition", {"partition": np.zeros(6, "i4")[::2]}),
    "timestamps: zero": (ValueError, "timestamp", {"timestamps": 0}),
    "timestamps: naive": (ValueError, "timestamp|naive", {"timestamps": datetime(2024, 1, 1)}),
    "timestamps: str": (TypeError, "timestamp", {"timestamps": "now"}),
    "timestamps: list": (TypeError, "timestamps must be a buffer of int64", {"timestamps": [1, 2, 3]}),
    "timestamps: int32": (TypeError, "timestamps must be", {"timestamps": np.ones(3, "i4")}),
    "timestamps: NumPy's own": (ValueError, r"timestamps\[0\] must be more than 0", {"timestamps": np.zeros(3, "datetime64[ms]")}),
    "timestamps: other order": (TypeError, "timestamps", {"timestamps": np.ones(3, ">i8")}),
    "partition: other order": (TypeError, "partition", {"partition": np.zeros(3, ">i4")}),
    "timestamps: too many": (ValueError, "timestamps: 4 entries for 3", {"timestamps": array("q", [1] * 4)}),
    "timestamps: one below": (ValueError, r"timestamps\[2\]", {"timestamps": array("q", [1, 1, 0])}),
    "headers: str": (TypeError, "header", {"headers": "h"}),
    "headers: half a letter": (ValueError, "header", {"headers": {"h": "\ud800"}}),
    "headers: NUL": (ValueError, "header", {"headers": [("a\0b", b"")]}),
    "callback: str": (TypeError, "callback", {"callback": "f"}),
    "option: str": (TypeError, "option", {"option": "copy"}),
    "timeout: negative": (ValueError, "timeout", {"timeout": -1}),
    "timeout: str": (TypeError, "timeout", {"timeout": "1"}),
    "topic: bytes": (TypeError, "topic", {"topic": b"t"}),
    "topic: NUL": (ValueError, "topic", {"topic": "a\0b"}),
    "topic: empty": (KafkaException, "topic", {"topic": ""}),
    "topic: long": (KafkaException, "topic", {"topic": "t" * 513}),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_arguments_queue_nothing(producer, case):
    error, text, arguments = MALFORMED[case]
    held, calls = bytearray(b"value"), []
    arguments = {"topic": "t", "values": [held, "b", "c"], "keys": held, "callback": calls.append, **arguments}
    if "key_offsets" in arguments and arguments["keys"] is held:
        arguments["keys"] = None
    with pytest.raises(error, match=text):
        producer.send_batch(arguments.pop("topic"), arguments.pop("values"), **arguments)
    assert balanced(producer)
    held.append(0)  # it is not pinned any more
    producer.flush(10)
    assert not calls


def test_an_error_says_at_which_item(producer, topic):
    with pytest.raises(TypeError, match=r"^values\[2\] must be bytes-like, str, Key, Value or None, not int$"):
        producer.send_batch(topic, [b"a", "b", 7])
    with pytest.raises(TypeError, match=r"^keys\[1\] is NaN: use None for null$"):
        producer.send_batch(topic, [b"a", "b"], keys=["a", float("nan")])
    for nan in (float("nan"), np.float64("nan")):
        with pytest.raises(TypeError, match=r"^values\[70001\] is NaN: use None for null$"):
            producer.send_batch(topic, np.array([b"a"] * 70001 + [nan, b"c"], "O"))
    with pytest.raises(TypeError, match="^value is NaN: use None for null$"):
        ProducerRecord(topic, value=float("nan"))

    class Exporter(bytearray):
        def __buffer__(self, flags):
            raise ValueError("mine")

    if sys.version_info >= (3, 12):
        with pytest.raises(ValueError, match="mine") as caught:
            producer.send_batch(topic, [b"a", Exporter()])
        assert caught.value.__notes__ == ["at values[1]"]


def test_an_exporter_that_closes_the_producer_meanwhile(broker, topic):
    class Closing:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            producer.close()
            return [b"v"][i]

    producer = new_producer("auto", broker.bootstrap_servers)
    with pytest.raises(RuntimeError, match="closed"):
        producer.send_batch(topic, Closing())


def test_a_topic_of_a_str_class(producer, topic):
    batch = producer.send_batch(type("Name", (str,), {})(topic), [b"v"])
    assert batch.wait(10) and batch.topic == topic and type(batch.topic) is str


def test_an_aware_datetime_for_all(producer, topic):
    assert producer.send_batch(topic, ["v"], timestamps=datetime(2024, 1, 1, tzinfo=UTC)).wait(10)


def test_more_records_than_a_batch_can_have(producer, topic, tmp_path):
    with pytest.raises(ValueError, match="values: 4294967296 of them are too many for one batch"):
        producer.send_batch(topic, pa.nulls(2**32))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(4 * (2**32 + 1))
    if os.stat(tmp_path / "sparse").st_blocks > 100:
        pytest.skip("the file system has no sparse files")
    with pytest.raises(ValueError, match="values: 4294967296 of them are too many for one batch"):
        producer.send_batch(topic, b"", offsets=np.memmap(tmp_path / "sparse", "i4", "r"))
    with pytest.raises(ValueError, match="keys: 4294967296 of them are too many"):
        producer.send_batch(topic, ["v"], keys=pa.nulls(2**32))
    assert balanced(producer)


def test_more_outcomes_than_memory_is_a_memory_error():
    code = """
import resource, pyarrow as pa
from kafkapp import KafkaAsyncProducer
producer = KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_cb": print, "error_cb": print})
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
try:
    producer.send_batch("t", pa.nulls(2**31))
except MemoryError as exc:
    assert len(producer) == 0 and producer._ledger()["states"] == 0
    print("MemoryError:", exc, flush=True)
producer.close(0)
"""
    run = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False)
    assert "MemoryError: no memory for the outcomes of 2147483648 records" in run.stdout and run.returncode == 0, (
        run.stderr
    )


def test_a_batch_comes_from_send_batch_only():
    with pytest.raises(TypeError, match="send_batch"):
        Batch()
    made = Batch.__new__(Batch)
    assert len(made) == 0 and made.done and made.wait() and list(made.errors) == [] and made.failures() == []
    assert "0 accepted" in repr(made)
