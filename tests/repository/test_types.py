"""Types: a checker accepts what the producers take, and refuses what they refuse."""
import re
import subprocess
import sys

from helpers import ROOT

PROGRAM = """
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
import numpy as np
import polars as pl
from kafkapp import Batch, Error, Header, KafkaAsyncProducer, KafkaSyncProducer, ProducerConfig, ProducerRecord, Properties, RecordMetadata
from kafkapp.aio import KafkaProducer
from kafkapp.typing import DeliveryCallback, ProducerProperties

def callback(metadata: RecordMetadata, error: object) -> None: ...

def on_batch(batch: Batch) -> None: ...

def on_log(level: int, facility: str, message: str) -> None: ...

def on_error(error: Error) -> None: ...

def refresh(config: str) -> tuple[str, float]:
    return "token", 1.5

def made(some: dict[str, Any], strings: Mapping[str, str], ours: Properties) -> None:
    properties: ProducerProperties = {
        "bootstrap.servers": "a:9092", "acks": "all", "linger.ms": 0.5, "enable.idempotence": True, "compression.type": "lz4",
        "message.max.bytes": "0x1000", "log_cb": on_log, "error_cb": on_error, "stats_cb": print, "oauthbearer_token_refresh_cb": refresh}
    properties["linger.ms"] = 5
    KafkaAsyncProducer(properties).close()
    KafkaSyncProducer(properties).close()
    KafkaProducer(properties)
    KafkaSyncProducer({"bootstrap.servers": "a:9092", ProducerConfig.LINGER_MS: 5})
    for given in some, strings, ours, Properties(properties):
        KafkaSyncProducer(given)
    wrong: ProducerProperties = {"linger.sm": 5}  # error
    wrong = {"acks": None}  # error
    wrong = {"enable.idempotence": b"true"}  # error
    wrong = {"log_cb": on_error}  # error
    wrong = {"error_cb": 5}  # error
    properties["batch.sise"] = 1  # error
    KafkaSyncProducer(5)  # error

def sends(producer: KafkaAsyncProducer, sync: KafkaSyncProducer) -> RecordMetadata:
    producer.send("t", b"v", key="k", headers={"a": "text"}, partition=1, id=object(), callback=callback)
    producer.send("t", memoryview(b"v"), headers=[Header("a", None), ("b", b"1")], timeout=5)
    producer.send(ProducerRecord("t"), callback)
    producer.send("t", 5)  # error
    producer.send("t", b"v", callback)  # error
    producer.send(ProducerRecord("t"), key=b"k")  # error
    producer.send("t", b"v", callback=5)  # error
    sync.send("t", callback=callback)  # error
    return sync.send("t", b"v", key=b"k", timeout=1.5) or producer.send_future("t", b"v").result(5)

def batches(producer: KafkaAsyncProducer, column: Sequence[bytes | None]) -> Batch:
    producer.send_batch("t", [b"a", "b", None], keys="one for all")
    producer.send_batch("t", b"abc", offsets=array("i", [0, 3]))
    producer.send_batch("t", pl.Series(["a"]), keys=pl.Series(["a"]))
    producer.send_batch("t", [b"a"], timestamps=pl.Series([1]))
    producer.send_batch("t", [b"a"], timestamps=np.array([1], "M8[ms]"))
    producer.send_batch("t", [b"a"], timestamps=datetime.now())
    producer.send_batch("t", [b"a"], timestamps="now")  # error
    producer.send_batch("t", ("a", b"b"), keys=["a", None], callback=on_batch)
    producer.send_batch("t", deque([b"a"]))
    producer.send_batch("t", np.array([b"a"]), keys=b"abc", key_offsets=array("i", [0, 3]))
    producer.send_batch("t", [b"a"], headers={"a": "text"})
    producer.send_batch("t", [b"a", b"b"], headers=[{"a": b"1"}, None])
    producer.send_batch("t", [b"a", b"b"], headers=[[("a", b"1")], [Header("b", None)]])
    producer.send_batch("t", [b"a"], headers=pl.Series([[{"key": "a", "value": b"1"}]]))
    producer.send_batch("t", [b"a"], headers=[5])  # error
    producer.send_batch("t", [b"a"], headers="text")  # error
    producer.send_batch("t", 5)  # error
    producer.send_batch("t", "abc")  # error
    producer.send_batch("t", b"abc")  # error
    producer.send_batch("t", [b"a"], callback=callback)  # error
    producer.send_batch("t", [1, 2])  # error
    producer.send_batch("t", {b"a"})  # error
    return producer.send_batch("t", column)

async def in_loop(producer: KafkaProducer) -> Batch:
    (await producer.send("t", b"v", key=b"k")).offset
    (await producer.send_and_wait(ProducerRecord("t"))).offset
    producer.send("t", b"v", callback=callback)  # error
    await producer.send_batch("t", b"abc", offsets=array("i", [0, 3]))
    await producer.send_batch("t", "abc")  # error
    return await producer.send_batch("t", [b"a"])

good: DeliveryCallback = callback
bad: DeliveryCallback = on_batch  # error
"""


def test_a_type_checker_says_what_the_producers_say(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-warn-unused-ignores", "program.py"], cwd=tmp_path,
                            env={"PATH": "", "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path / "cache")}, capture_output=True, text=True, timeout=400,
                            check=False)
    lines = PROGRAM.splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert {int(number) for number in re.findall(r"program.py:(\d+): error", result.stdout)} == expected, result.stdout + result.stderr
