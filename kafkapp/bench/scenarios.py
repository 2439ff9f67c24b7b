"""Scenarios of `kafkapp bench`: a table, no code that runs anything.

By default values have 100 bytes, all records go to partition 0 of a new topic, acks=all, linger.ms=5, and the queue of a
client holds a whole case.
"""
from __future__ import annotations

from typing import Any

from kafkapp.bench.case import Case
from kafkapp.bench.reading_scenarios import READING
from kafkapp.bench.scenario import Scenario, Target

OURS, C, BATCH_C, CONFLUENT = "kafkapp", "C", "C, batches", "confluent-kafka"
OURS_TUNED, TUNED = "kafkapp, tuned", "confluent-kafka, tuned"
KAFKAPP = ("kafkapp.producer.send",)


def ours(path: str, records: int, label: str = OURS, **more: Any) -> Case:
    return Case(label, "ours", path, records, needs=KAFKAPP, **more)


def c_program(records: int, label: str = C, path: str = "send", **more: Any) -> Case:
    return Case(label, "c_program", path, records, **more)


def confluent(path: str, records: int, label: str = CONFLUENT, **more: Any) -> Case:
    return Case(label, "confluent", path, records, needs=("confluent_kafka",), **more)


def pure(path: str, records: int, needs: str, label: str, **more: Any) -> Case:
    return Case(label, "pure_python", path, records, needs=(needs,), **more)


def rates(upper: str, lower: str) -> Any:
    return lambda outcomes: outcomes[upper].rate / outcomes[lower].rate


def cpus(upper: str, lower: str) -> Any:
    return lambda outcomes: outcomes[upper].cpu_us / outcomes[lower].cpu_us


CALLBACK = Scenario(
    "callback", "send with a callback; as documented, and tuned: positional arguments, a poll in 1000 records",
    (ours("send", 500_000), ours("tuned", 500_000, OURS_TUNED), ours("keywords", 500_000, "kafkapp, keywords"),
     ours("manual", 500_000, "kafkapp, Manual, tuned"), c_program(500_000), confluent("send", 500_000), confluent("tuned", 500_000, TUNED),
     pure("aiokafka", 50_000, "aiokafka", "aiokafka"), pure("kafka-python", 20_000, "kafka", "kafka-python")),
    (Target("rate against confluent-kafka, both as documented", rates(OURS, CONFLUENT), at_least=3.5, beyond=4),
     Target("rate against confluent-kafka, both tuned", rates(OURS_TUNED, TUNED)),
     Target("rate against the C loop, tuned", rates(OURS_TUNED, C), at_least=0.50, beyond=0.80),
     Target("CPU against the C loop, tuned", cpus(OURS_TUNED, C)),
     Target("CPU against confluent-kafka, both as documented", cpus(OURS, CONFLUENT), at_most=0.40, beyond=0.33, real=True)),
    counted=True)

NO_CALLBACK = Scenario(
    "no-callback", "send(record) without callback, no copy",
    (ours("send", 500_000, callback=False), ours("tuned", 500_000, OURS_TUNED, callback=False),
     ours("tuned", 500_000, "kafkapp, copy, tuned", callback=False, copy=True),
     c_program(500_000), confluent("send", 500_000, callback=False), confluent("tuned", 500_000, TUNED, callback=False)),
    (Target("rate against confluent-kafka, both as documented", rates(OURS, CONFLUENT), at_least=2.75, beyond=3.5),
     Target("rate against confluent-kafka, both tuned", rates(OURS_TUNED, TUNED)),
     Target("rate against the C loop, tuned", rates(OURS_TUNED, C)),
     Target("CPU against the C loop, tuned", cpus(OURS_TUNED, C))), counted=True)

BATCH = Scenario(
    "batch", "1000 records a call; kafkapp: no copy, one report for the batch; confluent-kafka: copy, a callback each",
    (ours("list", 1_000_000, "kafkapp, list", batch=1000), c_program(1_000_000),
     ours("columns", 1_000_000, "kafkapp, buffer and offsets", batch=1000), c_program(1_000_000, BATCH_C, batch=1000),
     confluent("batch", 1_000_000, "confluent-kafka, produce_batch", batch=1000)),
    (Target("list against the C loop", rates("kafkapp, list", C), at_least=1.25),
     Target("buffer and offsets against C's batches", rates("kafkapp, buffer and offsets", BATCH_C),
            at_least=1.05, beyond=1.2)), counted=True)

PATHS = Scenario(
    "paths", "each way to send from Python",
    tuple(ours(path, 300_000, f"{path}, {how}{'' if called else ', no callback'}", callback=called, copy=how == "copy",
               batch=1000 if path in ("list", "columns") else 0)
          for path in ("tuned", "manual", "try_send", "list", "columns") for how in ("no copy", "copy")
          for called in (True, False)), default=False, counted=True)

SIZES = {10: "10 B", 100: "100 B", 1000: "1 kB", 10_000: "10 kB", 100_000: "100 kB", 1_000_000: "1 MB"}
MAX_MESSAGE = {"message.max.bytes": 1_048_588}


def of_size(size: int) -> int:
    """The number of records with which a case takes a fraction of a second."""
    return max(300, min(200_000, 200_000_000 // size))


def ways(size: int, callback: bool = True, compression: str = "", client: Any = ours, name: str = "") -> list[Case]:
    more: dict[str, Any] = {"settings": {**MAX_MESSAGE, **({"compression.type": compression} if compression else {})}}
    suffix = f"{', ' + compression if compression else ''}{'' if callback else ', no callback'}"
    path = "tuned" if client is ours else "send"
    return [client(path=path, records=of_size(size), label=f"{name}{how} {SIZES[size]}{suffix}", size=size,
                   callback=callback, copy=how == "copy", **more) for how in ("copy", "no copy")]


COPY_SHOWS = ("cpu_us", "wall_us", "sender_us", "peak_mb")
COPY = Scenario(
    "copy", "copy against no copy, by size, with callback",
    (*[case for size in SIZES for case in ways(size)],
     *[case for size in (10_000, 100_000, 1_000_000) for case in ways(size, client=c_program, name="C, ")]),
    tuple(target for size in ("10 kB", "100 kB", "1 MB") for target in (
        Target(f"CPU of no copy against copy, {size}", cpus(f"no copy {size}", f"copy {size}"), at_most=0.55),
        Target(f"the same in C, {size}", cpus(f"C, no copy {size}", f"C, copy {size}")))),
    COPY_SHOWS)

COPY_ALL = Scenario(
    "copy-all", "copy against no copy by size, compression and callback",
    tuple(case for compression in ("", "lz4", "zstd") for callback in (True, False) for size in SIZES
          for case in ways(size, callback, compression)), (), COPY_SHOWS, default=False)

STALL = Scenario(
    "stall", "one send of 200 MB while another Python thread ticks; nothing is sent out",
    tuple(client(path="stall", records=1, label=label, size=200_000_000, copy=copy, online=False,
                 settings={"message.max.bytes": 1_000_000_000})
          for client, label, copy in ((ours, "kafkapp, no copy", False), (ours, "kafkapp, copy", True),
                                      (confluent, CONFLUENT, True))),
    (Target("longest stall, no copy, ms", lambda outcomes: outcomes["kafkapp, no copy"].stall_ms, at_most=1.0),
     Target("longest stall, copy, ms", lambda outcomes: outcomes["kafkapp, copy"].stall_ms, at_most=1.0),
     Target("longest stall, confluent-kafka, ms", lambda outcomes: outcomes[CONFLUENT].stall_ms)),
    ("stall_ms", "call_ms"))

REPORTS = Scenario(
    "reports", "delivery reports dispatched while another Python thread computes",
    (ours("reports", 200_000), confluent("reports", 20_000)),
    (Target("a report, µs", lambda outcomes: outcomes[OURS].report_us, at_most=0.7),
     Target("a report, confluent-kafka, µs", lambda outcomes: outcomes[CONFLUENT].report_us)),
    ("report_us",))

SYNC = Scenario(
    "sync", "one synchronous send after the other, linger.ms=0",
    (ours("sync", 3000), c_program(3000, path="sync"), confluent("sync", 3000, "confluent-kafka, produce and flush")),
    (Target("median latency against confluent-kafka",
            lambda outcomes: outcomes[OURS].p50_us / outcomes["confluent-kafka, produce and flush"].p50_us,
            at_most=1.0, beyond=0.8),), ("p50_us", "p99_us"), counted=True)

ASYNCIO = Scenario(
    "asyncio", "kafkapp.aio: many sends gathered, and one after the other",
    (Case(OURS, "asynchronous", "kafkapp", 100_000, needs=("kafkapp.aio",)),
     Case("confluent-kafka AIOProducer", "asynchronous", "confluent", 50_000, needs=("confluent_kafka.aio",)),
     pure("aiokafka", 50_000, "aiokafka", "aiokafka"),
     Case("kafkapp, one by one", "asynchronous", "kafkapp-lone", 1000, needs=("kafkapp.aio",)),
     pure("aiokafka-lone", 1000, "aiokafka", "aiokafka, one by one")),
    (Target("rate against the better of the two", lambda outcomes: outcomes[OURS].rate / max(
        outcomes["confluent-kafka AIOProducer"].rate, outcomes["aiokafka"].rate), at_least=4, beyond=5),
     Target("one lone await, ms", lambda outcomes: outcomes["kafkapp, one by one"].p50_us / 1e3, at_most=0.3)),
    ("rate", "cpu_us", "p50_us", "p99_us"))

MEMORY = Scenario(
    "memory", "memory of a record in flight, with no broker there",
    (ours("hold", 300_000, online=False), c_program(300_000, path="hold", online=False),
     c_program(300_000, "C, copy", path="hold", online=False, copy=True), confluent("hold", 300_000, online=False)),
    (Target("bytes a record beyond the C program", lambda outcomes: outcomes[OURS].held_bytes
            - outcomes[C].held_bytes, at_most=64, beyond=48),
     Target("the same of confluent-kafka, which copies", lambda outcomes: outcomes[CONFLUENT].held_bytes
            - outcomes["C, copy"].held_bytes)), ("held_bytes",))

IMPORT = Scenario(
    "import", "starting Python with an import",
    (Case("import kafkapp", "programs", "start-up", 10, needs=KAFKAPP, online=False, options={"module": "kafkapp"}),
     Case("nothing", "programs", "start-up", 10, online=False),
     Case("import confluent_kafka", "programs", "start-up", 10, needs=("confluent_kafka",), online=False,
          options={"module": "confluent_kafka"})),
    (Target("import kafkapp, ms", lambda outcomes: (outcomes["import kafkapp"].p50_us - outcomes["nothing"].p50_us)
            / 1e3, at_most=20, beyond=10),
     Target("the same in CPU, ms", lambda outcomes: (outcomes["import kafkapp"].cpu_us - outcomes["nothing"].cpu_us) / 1e3)),
    ("p50_us", "cpu_us"))


def topic_growth(outcomes: Any) -> float:
    explained = outcomes["kafkapp, 1 topic"].cpu_us + outcomes["C, 1000 topics"].cpu_us - outcomes["C, 1 topic"].cpu_us
    return float(outcomes["kafkapp, 1000 topics"].cpu_us / explained)


TOPICS = Scenario(
    "topics", "the records go round robin to 1, 10, 100, 1000 topics",
    tuple(client(path=path, records=200_000, label=f"{name}, {topics} topic{'s' if topics > 1 else ''}", topics=topics)
          for client, name, path in ((ours, OURS, "tuned"), (c_program, C, "send")) for topics in (1, 10, 100, 1000)),
    (Target("CPU at 1000 topics against what C's growth explains", topic_growth, at_most=1.2),), counted=True)

PARTITIONS = Scenario(
    "partitions", "the records go round robin to 1 and to 4 partitions",
    tuple(client(path=path, records=200_000, label=f"{name}, {partitions}", partitions=partitions)
          for client, name, path in ((ours, OURS, "tuned"), (c_program, C, "send")) for partitions in (1, 4)), default=False)

FLAT = Scenario(
    "flat", "cost of a record, ten times the records",
    (ours("tuned", 300_000, "kafkapp, few"), ours("tuned", 3_000_000, "kafkapp, many"),
     c_program(300_000, "C, few"), c_program(3_000_000, "C, many")),
    (Target("CPU of many against few", cpus("kafkapp, many", "kafkapp, few"), at_most=1.1),
     Target("the same in C", cpus("C, many", "C, few"))))

FLAT_LONG = Scenario(
    "flat-long", "cost of a record, 10^5 to 10^7 records",
    tuple(client(path=path, records=10 ** power, label=f"{name}, 10^{power}")
          for client, name, path in ((ours, OURS, "tuned"), (c_program, C, "send")) for power in (5, 6, 7)),
    (Target("CPU of 10^7 against 10^6", cpus("kafkapp, 10^7", "kafkapp, 10^6"), at_most=1.1),), default=False)

# With librdkafka's default queue: how far a deeper one fills depends on the machine, and its memory is never returned.
STEADY = Scenario(
    "steady", "does the process grow over 20 M records?",
    (ours("steady", 20_000_000, settings={"queue.buffering.max.messages": 100_000}),),
    (Target("growth of its memory, bytes a record", lambda outcomes: outcomes[OURS].growth_bytes, at_most=0.1),),
    ("growth_bytes", "rate"), default=False)

# Nothing is sent out: on a machine of two cores the broker and librdkafka's threads would compete with the senders.
THREADS = Scenario(
    "threads", "send(record, callback) by 1 and 2 threads; nothing is sent out; differs in a free-threaded Python",
    tuple(ours("threads", 400_000, label, online=False, options={"threads": count, "producers": producers})
          for label, count, producers in (("1 thread", 1, 1), ("2 threads, a producer each", 2, 2),
                                          ("2 threads, one producer", 2, 1))),
    (Target("rate of 2 threads with a producer each against 1", rates("2 threads, a producer each", "1 thread")),
     Target("rate of 2 threads with one producer against 1", rates("2 threads, one producer", "1 thread")),
     Target("CPU of the same", cpus("2 threads, one producer", "1 thread"))),
    ("rate", "wall_us", "cpu_us"), default=False)

TRACED, TRACED_API = "kafkapp, traced", "kafkapp, traced, no SDK"
TRACING = Scenario(
    "tracing", "send with a callback, and with a span of OpenTelemetry's for each record, which no exporter gets",
    (ours("send", 200_000),
     Case(TRACED, "ours", "traced", 200_000, needs=(*KAFKAPP, "opentelemetry.sdk"), options={"sdk": True}),
     Case(TRACED_API, "ours", "traced", 200_000, needs=(*KAFKAPP, "opentelemetry.trace"), options={"sdk": False})),
    (Target("CPU of a record with a span, µs more", lambda outcomes: outcomes[TRACED].cpu_us - outcomes[OURS].cpu_us),
     Target("the same without an SDK", lambda outcomes: outcomes[TRACED_API].cpu_us - outcomes[OURS].cpu_us)),
    default=False, counted=True)

FILE = Scenario(
    "file", "a file's lines of 65 bytes: kafkapp produce and kcat, with the start of either",
    (Case("kafkapp produce", "programs", "kafkapp-produce", 2_000_000, size=65, needs=(*KAFKAPP, "kafkapp.cli.main"),
          options={"file": "lines"}),
     Case("kcat -P -l", "programs", "kcat", 2_000_000, size=65, needs=("bin:kcat",), options={"file": "lines"})),
    (Target("wall time against kcat", lambda outcomes: outcomes["kafkapp produce"].seconds
            / outcomes["kcat -P -l"].seconds, at_most=0.9, beyond=0.7),
     Target("CPU against kcat", cpus("kafkapp produce", "kcat -P -l"), at_most=0.9, beyond=0.7)),
    ("seconds", "cpu_seconds"))

JAVA = Scenario(
    "java", "the official Java producer; needs -b, and KAFKA_HOME",
    (ours("tuned", 500_000), Case("Java", "programs", "java", 1_000_000, needs=("bin:java", "env:KAFKA_HOME"))),
    (Target("rate against the Java producer", rates(OURS, "Java"), at_least=2.5, beyond=3, real=True),),
    ("rate", "cpu_us"), default=False)

ALL = {scenario.name: scenario for scenario in (
    CALLBACK, NO_CALLBACK, BATCH, COPY, STALL, REPORTS, SYNC, ASYNCIO, MEMORY, IMPORT, TOPICS, FLAT, FILE,
    PATHS, COPY_ALL, PARTITIONS, FLAT_LONG, THREADS, TRACING, STEADY, JAVA, *READING)}
