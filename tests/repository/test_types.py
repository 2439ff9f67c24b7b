"""Types: a checker accepts what producers and consumers take, and refuses what they refuse."""
import re
import subprocess
import sys

import pytest
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

READS = """
from datetime import UTC, datetime
from kafkapp import (ConsumedBatch, ConsumerConfig, ConsumerGroupMetadata, ConsumerRecord, Error, EventsPollingOption, KafkaConsumer, KafkaSyncProducer,
                     Offset, RebalanceEvent, Timestamp, TopicPartition)
from kafkapp import aio
from kafkapp.typing import CommitCallback, ConsumerProperties

def on_rebalance(event: RebalanceEvent, partitions: list[TopicPartition]) -> None: ...

def on_commit(offsets: dict[TopicPartition, int], error: Error | None) -> None: ...

def on_error(error: Error) -> None: ...

def made() -> KafkaConsumer:
    properties: ConsumerProperties = {"bootstrap.servers": "a:9092", "group.id": "g", "enable.auto.commit": False, "max.poll.records": 10, "error_cb": on_error}
    properties["auto.offset.reset"] = "earliest"
    wrong: ConsumerProperties = {"group.ids": "g"}  # error
    wrong = {"acks": "all"}  # error
    KafkaConsumer(5)  # error
    KafkaConsumer(properties, 5)  # error
    KafkaConsumer({"bootstrap.servers": "a:9092", ConsumerConfig.GROUP_ID: "g"})
    with KafkaConsumer(properties, EventsPollingOption.Manual) as consumer:
        consumer.poll_events(0)
        return consumer

def places(consumer: KafkaConsumer, place: TopicPartition, pair: tuple[str, int], record: ConsumerRecord, times: dict[TopicPartition, int],
           plain: dict[tuple[str, int], int], moments: dict[TopicPartition, datetime]) -> None:
    consumer.assign([("t", 0), place, record])
    consumer.assign({("t", 0): 5, place: Offset.Beginning})
    consumer.assign({("t", 0): Timestamp(5), ("t", 1): datetime.now(UTC)})
    consumer.assign(consumer.committed([place]))
    consumer.assign(times)
    consumer.assign(plain)
    consumer.assign(moments)
    consumer.assign("t")  # error
    consumer.assign([5])  # error
    consumer.seek(pair, 5, timeout=1.5)
    consumer.seek(record, Offset.End)
    consumer.seek(place, "end")  # error
    consumer.pause()
    consumer.resume(consumer.assignment())
    consumer.offsets_for_times({("t", 0): 5, place: datetime.now(UTC)})
    consumer.offsets_for_times(times)
    consumer.offsets_for_times(plain)
    consumer.offsets_for_times(moments)
    consumer.offsets_for_times([place])  # error
    position: int | None = consumer.position(pair)
    ends: dict[TopicPartition, int] = consumer.end_offsets([pair])

def reads(consumer: KafkaConsumer, sync: KafkaSyncProducer, times: dict[TopicPartition, int], plain: dict[tuple[str, int], int]) -> str:
    consumer.subscribe(["a", "^b"], on_rebalance, timeout=5)
    consumer.subscribe(["a"], on_commit)  # error
    batch: ConsumedBatch = consumer.poll(1.0, 100, view_from=None)
    consumer.poll(view_from="all")  # error
    consumer.commit_sync()
    consumer.commit_sync(batch)
    consumer.commit_sync(batch[0], timeout=5)
    consumer.commit_sync(batch[:2])
    consumer.commit_sync([("t", 0, 5), batch[1]])
    consumer.commit_sync(times)
    consumer.commit_sync(plain)
    consumer.commit_sync({place: 5 for place in consumer.assignment()})
    consumer.commit_sync(batch.ends)
    consumer.commit_sync(5)  # error
    consumer.commit_async(batch, on_commit)
    consumer.commit_async(callback=on_error)  # error
    group: ConsumerGroupMetadata = consumer.group_metadata()
    sync.send_offsets_to_transaction(batch.ends, group)
    sync.send_offsets_to_transaction(times, consumer.group_metadata())
    for record in consumer.poll_batch(headers=True):
        value = record.value.data
        if value is not None:
            value.tobytes()
        bytes(record.key)
        record.last_header_value("x")
        record.offset = 5  # error
    return batch[-1].topic

async def in_loop(consumer: aio.KafkaConsumer, times: dict[TopicPartition, int], plain: dict[tuple[str, int], int]) -> int:
    async with consumer:
        consumer.assign(times)
        consumer.assign(plain)
        await consumer.offsets_for_times(times)
        await consumer.offsets_for_times(plain)
        await consumer.subscribe(["t"], on_rebalance, 5)
        async for record in consumer:
            await consumer.commit(record)
        async for batch in consumer.batches():
            await consumer.commit(batch.ends)
        await consumer.poll(view_from="all")  # error
    return len(await consumer.lag())

good: CommitCallback = on_commit
bad: CommitCallback = on_error  # error
"""


@pytest.mark.parametrize("program", [PROGRAM, READS], ids=["producers", "consumers"])
def test_a_type_checker_says_what_the_clients_say(tmp_path, program):
    (tmp_path / "program.py").write_text(program)
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-warn-unused-ignores", "program.py"], cwd=tmp_path,
                            env={"PATH": "", "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path / "cache")}, capture_output=True, text=True, timeout=400,
                            check=False)
    lines = program.splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert {int(number) for number in re.findall(r"program.py:(\d+): error", result.stdout)} == expected, result.stdout + result.stderr
