"""Every blocking call at the worst moment: it ends within the time in docs/guide/blocking.md, and on Ctrl-C.

Each situation is a process of its own, which makes every call that applies, beside a producer in the state that the
situation needs. Only the time of each call matters here, not what it returns or raises.
"""
import json
import re

import pytest
from helpers import NOWHERE, ROOT, finish, start_python

import kafkapp
import kafkapp.aio
import kafkapp.testing

PAGE = (ROOT / "docs" / "guide" / "blocking.md").read_text()
TIMEOUT = 0.3
SLACK = 3           # seconds for a machine that is busy
CLIENTS = {kafkapp.KafkaAsyncProducer, kafkapp.KafkaSyncProducer, kafkapp.KafkaConsumer}
ASYNCIO = [kafkapp.aio.KafkaProducer, kafkapp.aio.KafkaConsumer]
SPECIAL = {"__init__", "__del__", "__enter__", "__exit__", "__aenter__", "__aexit__"}


# -- the page ----------------------------------------------------------------------------------------------------------

def names(text):
    return re.findall(r"`([\w.]+)(?:\(\))?`", text)


ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")][1:]
BLOCKS = {name: bound for calls, bound, _ in ROWS for name in names(calls)}
AT_ONCE = set(names(PAGE.partition("These return at once:")[2].partition("\n\n")[0]))


def public(cls):
    """The calls of a class, as the page may name them."""
    qualified = f"aio.{cls.__name__}" if cls in ASYNCIO else cls.__name__
    for name in dir(cls):
        if name in SPECIAL and getattr(cls, name) is not getattr(object, name, None) or not name.startswith("_"):
            if name == "__init__":
                yield {qualified}
            else:
                yield {f"{qualified}.{name}", *({name} if cls in CLIENTS else ())}


@pytest.mark.parametrize("cls", [*CLIENTS, *ASYNCIO], ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_call_is_on_the_page(cls):
    missing = [spelled for spelled in public(cls) if not spelled & {*BLOCKS, *AT_ONCE}]
    assert missing == []


def test_every_call_of_a_batch_is_on_the_page():
    missing = [spelled for spelled in public(kafkapp.Batch) if not spelled & {*BLOCKS, *AT_ONCE, "Batch"}]
    assert missing == []


def test_a_call_that_is_not_on_the_page_is_found():
    class Waits(kafkapp.KafkaSyncProducer):
        def wait_for_ever(self):
            pass

    assert {"Waits.wait_for_ever"} in [spelled for spelled in public(Waits) if not spelled & {*BLOCKS, *AT_ONCE}]


# -- the calls ---------------------------------------------------------------------------------------------------------

# Makes the calls of one kind of producer, each on one of its own, and prints how long each took, from its begin or, where it
# is interrupted, from then on; a call that was over before is left out.
PROGRAM = """
import gc, json, logging, os, signal, sys, threading, time, warnings
from kafkapp import *
from kafkapp.aio.loop_client import LoopClient

situation, kind, servers, timeout, interrupts = *sys.argv[1:4], float(sys.argv[4]), sys.argv[5] == "True"
warnings.simplefilter("ignore")
none = None if interrupts else timeout
never, entered = threading.Event(), threading.Event()
kept, took = [], {}

def blocks(*args):
    entered.set()
    never.wait()

def make():
    properties = {"bootstrap.servers": servers, "log_cb": lambda *args: None, "error_cb": lambda error: None}
    callback = None
    if situation == "a thread holds the locks of logging":
        properties = {"bootstrap.servers": servers, "debug": "all"}
    elif situation == "the queue is full":
        properties["queue.buffering.max.messages"] = 1
    elif situation == "a callback blocks":
        callback = blocks
        properties |= {"stats_cb": blocks, "statistics.interval.ms": 10} if kind == "sync" else {"message.timeout.ms": 50}
    if kind == "transactions":
        properties["transactional.id"] = "id"
    entered.clear()
    if kind == "consumer":
        if situation == "a callback blocks":
            properties |= {"stats_cb": blocks, "statistics.interval.ms": 10}
        producer = KafkaConsumer(properties)
        producer.assign([("t", 0)])     # from where the group has committed, which nobody says
    elif kind == "sync":
        producer = KafkaSyncProducer(properties)
    else:
        producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual if kind == "Manual" else EventsPollingOption.Auto)
    if kind in ("Auto", "Manual"):
        producer.send(ProducerRecord("t", 0, value=bytearray(b"v")), callback)
    if situation == "a callback blocks":
        if kind == "Manual":
            threading.Thread(target=producer.poll_events, args=(20,), daemon=True).start()
        assert entered.wait(20)
    if situation == "a name server keeps silent":
        time.sleep(0.2)         # until a thread of librdkafka's asks it
    if situation == "the collector finds a dropped producer":
        gc.collect()
        dropped = [KafkaAsyncProducer({"bootstrap.servers": servers, "log_cb": lambda *args: None})]
        dropped[0].send(ProducerRecord("t", 0, value=b"v"))
        dropped.append(dropped)
        del dropped
        gc.set_threshold(1)
    kept.append(producer)       # nobody drops it
    return producer

record = ProducerRecord("t", 0, value=bytearray(b"v"))
both = {
    "fetch_broker_metadata": lambda producer: producer.fetch_broker_metadata("t", none),
    "list_topics": lambda producer: producer.list_topics(none),
    "flush": lambda producer: producer.flush(none),
    "purge": lambda producer: producer.purge(),
    "close": lambda producer: producer.close(none),
}
calls = {
    "Auto": both | {
        "send": lambda producer: producer.send(record, timeout=none),
        "send_batch": lambda producer: producer.send_batch("t", [b"v"] * 3, timeout=none),
        "Batch.wait": lambda producer: producer.send_batch("t", [b"v"] * 3, timeout=0).wait(none),
    },
    "Manual": both | {
        "poll_events": lambda producer: producer.poll_events(none),
        "Batch.wait": lambda producer: producer.send_batch("t", [b"v"] * 3).wait(none),
    },
    "sync": both | {
        "send": lambda producer: producer.send(record, none),
        "send_batch": lambda producer: producer.send_batch("t", [b"v"] * 3, timeout=none),
    },
    "transactions": {"init_transactions": lambda producer: producer.init_transactions(none)},
    "consumer": {
        "poll_batch": lambda consumer: consumer.poll_batch(none),
        "assign": lambda consumer: consumer.assign({("t", 0): Timestamp(1)}, none),
        "seek": lambda consumer: consumer.seek(("t", 0), 5, none),
        "pause": lambda consumer: consumer.pause(),
        "end_offsets": lambda consumer: consumer.end_offsets([("t", 0)], none),
        "offsets_for_times": lambda consumer: consumer.offsets_for_times({("t", 0): 5}, none),
        "lag": lambda consumer: consumer.lag(none),
        "committed": lambda consumer: consumer.committed([("t", 0)], none),
        "commit_sync": lambda consumer: consumer.commit_sync({("t", 0): 5}, none),
        "fetch_broker_metadata": both["fetch_broker_metadata"],
        "list_topics": both["list_topics"],
        "close": both["close"],
    },
}
if not interrupts:
    calls["Auto"]["__del__"] = lambda producer: LoopClient(producer).abandon()

def attempt(name, call):
    producer, reported = make(), []

    def interrupt():
        reported.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(timeout, interrupt)
    begin, ended = time.monotonic(), []
    try:
        if interrupts:
            timer.start()
        try:
            call(producer)
        except (KafkaException, RuntimeError):
            pass
        finally:
            ended.append(time.monotonic())
        if interrupts:
            timer.join()
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    gc.set_threshold(700, 10, 10)
    if not interrupts:
        took[name] = ended[0] - begin
    elif reported and reported[0] < ended[0]:
        took[name] = ended[0] - reported[0]

if situation == "a thread holds the locks of logging":
    handler, held = logging.StreamHandler(open(os.devnull, "w")), threading.Event()
    logging.getLogger("kafkapp").addHandler(handler)
    logging.getLogger("kafkapp").setLevel(1)

    def hold():
        with logging._lock, handler.lock:       # as dictConfig does, and a handler at work
            held.set()
            never.wait()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()

async def attempt_aio(name, call):
    import asyncio
    from kafkapp.aio import KafkaProducer
    for _ in range(40):
        asyncio.get_running_loop().run_in_executor(None, never.wait)
    kept.append(KafkaProducer(kept[-1].properties))
    kept.append(kept[-1].send(record))
    await asyncio.sleep(0.2)
    begin = time.monotonic()
    try:
        await call(kept[-2])
    except KafkaException:
        pass
    took[name] = time.monotonic() - begin
    print(json.dumps(took), flush=True)
    os._exit(0)

for name, call in calls.get(kind, {}).items():
    attempt(name, call)
if kind not in calls:
    import asyncio
    call = both[kind.partition(".")[2]]
    make()
    asyncio.run(attempt_aio("aio.KafkaProducer." + kind.partition(".")[2], call))
print(json.dumps(took), flush=True)
os._exit(0)
"""
KINDS = ["Auto", "Manual", "sync", "transactions"]
AIO = ["aio.flush", "aio.close", "aio.fetch_broker_metadata"]      # while the default executor is busy
SITUATIONS = ["the broker is away", "a name server keeps silent", "a thread holds the locks of logging", "the queue is full",
              "the collector finds a dropped producer", "a callback blocks"]

# A transactional producer is an asynchronous one: its callbacks are too. A consumer has its own calls, and logs as a producer does.
CASES = [(kind, situation) for kind in KINDS for situation in SITUATIONS if (kind, situation) != ("transactions", "a callback blocks")]
CASES += [("consumer", situation) for situation in ("the broker is away", "a name server keeps silent", "a callback blocks")]

# asyncio itself logs; and a future's callbacks are the loop's.
AIO_CASES = [(kind, situation) for kind in AIO for situation in SITUATIONS if situation not in (
    "a thread holds the locks of logging", "a callback blocks")]


def bound(kind, name):
    """What the page gives a call, in seconds beyond its timeout; a machine that is busy has some more."""
    cls = {"sync": "KafkaSyncProducer", "consumer": "KafkaConsumer", "aio consumer": "aio.KafkaConsumer"}.get(kind, "KafkaAsyncProducer")
    text = BLOCKS.get(f"{cls}.{name}") or BLOCKS[name]
    return sum(int(number) for number in re.findall(r"(\d+) s", text.partition(":")[0])) + SLACK


def walk(silent, situation, kind, interrupts):
    silent.write_text("silent.test")
    servers = "silent.test:9092" if situation == "a name server keeps silent" else NOWHERE
    out, err = finish(start_python(PROGRAM, situation, kind, servers, TIMEOUT, interrupts), 100)
    assert out, err
    return json.loads(out)


@pytest.mark.parametrize("kind, situation", CASES + AIO_CASES)
def test_each_call_is_over_in_time(silent, kind, situation):
    took = walk(silent, situation, kind, False)
    assert took and {name: seconds for name, seconds in took.items() if seconds > TIMEOUT + bound(kind, name)} == {}


@pytest.mark.parametrize("kind, situation", CASES)
def test_ctrl_c_ends_each_call(silent, kind, situation):
    took = walk(silent, situation, kind, True)
    assert took and {name: seconds for name, seconds in took.items() if seconds > 0.5} == {}
