"""Scenarios of reading: a table, no code that runs anything.

Values have 100 bytes, records no keys. What is taken from a full queue lies in two topics of the case's own; what is read
from end to end, in one that the cases share. They have as many records as the embedded cluster keeps, which makes topics
of four partitions: with a real broker `--scale` makes it longer.
"""
from __future__ import annotations

from typing import Any

from kafkapp.bench.case import READS, WAITS, Case
from kafkapp.bench.scenario import Scenario, Target

RECORDS, SHARED = 200_000, 150_000
# All of a case is in the client's queue before it is taken: what is measured is taking it.
FULL = {"queued.min.messages": 10_000_000, "queued.max.messages.kbytes": 2_000_000}
BACKOFF = {"fetch.queue.backoff.ms": 10}        # kafkapp's default; librdkafka's is 1000
C = "C, 1000 a call"
KAFKAPP, CONFLUENT, CONFLUENT_AIO = ("kafkapp.consumer.polling",), ("confluent_kafka",), ("confluent_kafka.aio",)


def reading(path: str, label: str, needs: tuple[str, ...] = KAFKAPP, **more: Any) -> Case:
    return Case(label, READS, path, RECORDS, topics=2, needs=needs, **more)


def full(path: str, label: str, needs: tuple[str, ...] = KAFKAPP, **more: Any) -> Case:
    return reading(path, label, needs, settings=FULL, options={"full": True}, **more)


def flow(path: str, label: str, needs: tuple[str, ...] = KAFKAPP, **more: Any) -> Case:
    return Case(label, READS, path, SHARED, needs=needs, options={"shared": True}, **more)


def ratio(figure: str, upper: str, lower: str) -> Any:
    return lambda outcomes: getattr(outcomes[upper], figure) / getattr(outcomes[lower], figure)


BATCH_10K, BATCH_100K = "poll_batch(10,000)", "poll_batch(100,000)"
RECORDS_10K, RECORDS_1K = "poll(10,000), values", "poll(1000), values"
CONSUME_10K, CONSUME_1K, POLL = "confluent-kafka consume(10,000)", "confluent-kafka consume(1000)", "confluent-kafka poll()"

CONSUME = Scenario(
    "consume", "taking what has been fetched; batches are exported to Arrow, of records each value is read",
    (full("c", C), full("batches", BATCH_10K, batch=10_000), full("batches", BATCH_100K, batch=100_000),
     full("records", RECORDS_10K, batch=10_000), full("records", RECORDS_1K, batch=1000),
     full("confluent", CONSUME_10K, CONFLUENT, batch=10_000),
     full("confluent", CONSUME_1K, CONFLUENT, batch=1000), full("confluent", POLL, CONFLUENT)),
    (Target("thread CPU of poll_batch(10,000) against the C loop", ratio("sender_us", BATCH_10K, C), at_most=1.25),
     Target("of poll_batch(100,000)", ratio("sender_us", BATCH_100K, C), at_most=1.35),
     Target("of records, poll(10,000) against consume(10,000)", ratio("sender_us", RECORDS_10K, CONSUME_10K), at_most=0.35),
     Target("of records, poll(10,000) against consume(1000)", ratio("sender_us", RECORDS_10K, CONSUME_1K), at_most=0.45),
     Target("of records, poll(1000) against consume(1000)", ratio("sender_us", RECORDS_1K, CONSUME_1K), at_most=0.45)),
    ("rate", "sender_us"), counted=True)

OWN_10K = "confluent-kafka consume(10,000), its defaults"
FLOW = Scenario(
    "consume-flow", "from the assignment to the last record; confluent-kafka with fetch.queue.backoff.ms=10 too",
    (flow("c", C, settings=BACKOFF), flow("batches", BATCH_10K, batch=10_000), flow("records", RECORDS_10K, batch=10_000),
     flow("confluent", CONSUME_10K, CONFLUENT, batch=10_000, settings=BACKOFF),
     flow("confluent", CONSUME_1K, CONFLUENT, batch=1000, settings=BACKOFF),
     flow("confluent", OWN_10K, CONFLUENT, batch=10_000)),
    (Target("CPU of poll_batch against the C loop", ratio("cpu_us", BATCH_10K, C)),
     Target("CPU of poll_batch against consume(10,000)", ratio("cpu_us", BATCH_10K, CONSUME_10K), at_most=0.30, real=True),
     Target("CPU of poll_batch against consume(1000)", ratio("cpu_us", BATCH_10K, CONSUME_1K), at_most=0.40, real=True),
     Target("rate against consume(10,000), both with a back-off of 10 ms", ratio("rate", BATCH_10K, CONSUME_10K), at_least=2.5, real=True),
     Target("rate against consume(10,000), each with its defaults", ratio("rate", BATCH_10K, OWN_10K), at_least=8, real=True)))

AIO_BATCHES, AIO_RECORDS, AIO_CONSUME, AIOKAFKA = "kafkapp.aio, batches", "kafkapp.aio, async for", "AIOConsumer.consume(10,000)", "aiokafka, async for"
LOOPED = Scenario(
    "consume-asyncio", "the same in an event loop, all with a back-off of 10 ms",
    (flow("aio-batches", AIO_BATCHES, ("kafkapp.aio",), batch=10_000), flow("aio-records", AIO_RECORDS, ("kafkapp.aio",)),
     flow("aio-confluent", AIO_CONSUME, CONFLUENT_AIO, batch=10_000, settings=BACKOFF),
     flow("aiokafka", AIOKAFKA, ("aiokafka",))),
    (Target("CPU of batches against AIOConsumer", ratio("cpu_us", AIO_BATCHES, AIO_CONSUME), at_most=0.40),
     Target("CPU of records against AIOConsumer", ratio("cpu_us", AIO_RECORDS, AIO_CONSUME), at_most=0.50),
     Target("CPU of async for against aiokafka's", ratio("cpu_us", AIO_RECORDS, AIOKAFKA), at_most=0.1)),
    ("rate", "cpu_us"))

FETCHED, NOTHING = "64 partitions, nobody takes", "nothing to read"
AT_REST = Scenario(
    "consume-rest", "a consumer with kafkapp's defaults that nobody polls: what it fetches ahead, and its CPU then",
    (Case(FETCHED, READS, "queue", 600_000, topics=16, needs=KAFKAPP),
     Case(NOTHING, READS, "queue", 1000, topics=16, needs=KAFKAPP, options={"empty": True})),
    (Target("memory of what is fetched ahead, MB", lambda outcomes: outcomes[FETCHED].held_mb, at_most=100),
     Target("% of a core, full queue", lambda outcomes: outcomes[FETCHED].core_percent, at_most=1),
     Target("% of a core, nothing to read", lambda outcomes: outcomes[NOTHING].core_percent, at_most=0.2)),
    ("held_mb", "core_percent"))



def waits(path: str, label: str, needs: tuple[str, ...] = KAFKAPP) -> Case:
    # The embedded cluster answers no sooner than this, though a record has come.
    return Case(label, WAITS, path, 400, needs=needs, settings={"fetch.wait.max.ms": 5})


POLL_ONE, AIO_ONE = "kafkapp, poll", "kafkapp.aio, async for"
WAKE_UP = Scenario(
    "consume-wake", "a record every 2 to 3 ms: from available (asyncio: a descriptor is readable; else: it is queued) to in hand",
    (waits("aio", AIO_ONE, ("kafkapp.aio",)), waits("poll", POLL_ONE), waits("c", "C, one a call"),
     waits("confluent", POLL, CONFLUENT), waits("aio-confluent", "AIOConsumer.poll()", CONFLUENT_AIO),
     waits("aiokafka", AIOKAFKA, ("aiokafka",))),
    (Target("descriptor readable to record in hand, asyncio, µs", lambda outcomes: outcomes[AIO_ONE].p50_us, at_most=50),
     Target("queued to in hand, a poll that waits, µs", lambda outcomes: outcomes[POLL_ONE].p50_us, at_most=50)),
    ("p50_us", "p99_us", "sent_us"))

HELD_10K, HELD_100K = "batches of 10,000", "batches of 100,000"
HELD = Scenario(
    "consume-memory", "batches that are all kept: bytes a record beyond its value",
    tuple(full("held", label, batch=batch) for label, batch in ((HELD_10K, 10_000), (HELD_100K, 100_000))),
    (Target("bytes a record, 10,000 in a batch: 40 and 4 KiB a batch", lambda outcomes: outcomes[HELD_10K].held_bytes,
            at_most=40 + 4096 / 10_000),
     Target("bytes a record, 100,000 in a batch", lambda outcomes: outcomes[HELD_100K].held_bytes, at_most=40 + 4096 / 100_000)),
    ("held_bytes",))

READING = (CONSUME, FLOW, LOOPED, WAKE_UP, HELD, AT_REST)
