"""The interpreter ends while a producer is open: status 0, in bounded time, every callback run, one warning.

All programs start at once and each test awaits its own, since some of them take the
ten seconds that an open producer has at exit.
"""
import re
import time

import pytest
from helpers import NOWHERE, finish, start_python

PROGRAM = """
import logging, os, sys
from kafkapp import *

kind, count, bootstrap, timeout, topic = sys.argv[1:]
logging.getLogger("kafkapp").addHandler(logging.NullHandler())
made = {"bootstrap.servers": bootstrap, "message.timeout.ms": timeout, "linger.ms": 200}
if kind == "sync":
    producer = KafkaSyncProducer(made)
else:
    producer = KafkaAsyncProducer(made, EventsPollingOption[kind])

def callback(metadata, error):
    os.write(1, b"x" if error else b".")        # a write of its own: no buffer to lose at exit

for number in range(int(count)):
    producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
"""
ENDS = {
    "falls off the end": "",
    "sys.exit": "sys.exit(0)\n",
    "in a cycle": "cycle = [producer]; cycle.append(cycle); del producer, cycle\n",
    "a thread sends": """
import threading
def send():
    try:
        while True:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
    except RuntimeError:
        pass
threading.Thread(target=send, daemon=True).start()
""",
    "an attribute of a module": "logging.kept = producer; logging.loop = lambda: logging.kept\n",
}
# kind, records, broker is there, message.timeout.ms, how it ends, seconds that it may take (and ten for all to start)
CASES = [
    *((kind, 0, True, 300000, "falls off the end", 5) for kind in ("Auto", "Manual", "sync")),
    *((kind, 0, False, 300000, "falls off the end", 5) for kind in ("Auto", "Manual", "sync")),
    *((kind, 1000, True, 300000, "falls off the end", 5) for kind in ("Auto", "Manual")),
    *((kind, 1000, False, 500, "falls off the end", 6) for kind in ("Auto", "Manual")),
    *((kind, 1000, False, 300000, "falls off the end", 16) for kind in ("Auto", "Manual")),
    *(("Auto", 100, True, 300000, end, 6) for end in ENDS if end != "falls off the end"),
]
NAMES = [f"{kind}-{count}-{'there' if there else 'away'}-{timeout}-{end}".replace(" ", "_")
         for kind, count, there, timeout, end, _ in CASES]

# Three of them, and what the first one's callback raises must not keep the others from their reports.
SEVERAL = """
import logging, os, sys
from kafkapp import *

logging.getLogger("kafkapp").addHandler(logging.NullHandler())

def callback(metadata, error):
    os.write(1, b"x" if error else b".")
    raise LookupError("from a callback")

producers = [KafkaAsyncProducer({"bootstrap.servers": sys.argv[2]}, EventsPollingOption[sys.argv[1]]) for _ in range(3)]
for producer in producers:
    producer.send(ProducerRecord("t", 0, value=b"v"), callback)
"""


@pytest.fixture(scope="module")
def programs():
    from kafkapp.testing import MockCluster

    with MockCluster() as cluster:
        started = {}
        for name, (kind, count, there, timeout, end, _) in zip(NAMES, CASES, strict=True):
            bootstrap = cluster.bootstrap_servers if there else NOWHERE
            started[name] = start_python(PROGRAM + ENDS[end], kind, count, bootstrap, timeout, name,
                                         flags=["-Wdefault"])
        for kind in ("Auto", "Manual"):
            started[kind] = start_python(SEVERAL, kind, NOWHERE)
        moment = time.monotonic()
        try:
            yield started, moment
        finally:
            for process in started.values():
                process.kill()
                process.communicate()


@pytest.mark.parametrize("name, case", list(zip(NAMES, CASES, strict=True)), ids=NAMES)
def test_an_open_producer_at_exit(programs, name, case):
    started, moment = programs
    _, count, there, _, _, bound = case
    process = started[name]
    out, err = finish(process, max(1, moment + 10 + bound - time.monotonic()))
    assert process.returncode == 0, err
    assert out == ("." if there else "x") * count
    lines = [line for line in err.splitlines() if "Enable tracemalloc" not in line]
    assert len(lines) == 1 and re.search(r"ResourceWarning: .*never closed", lines[0]), err


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_several_open_producers_share_the_last_ten_seconds(programs, kind):
    started, moment = programs
    out, err = finish(started[kind], max(1, moment + 20 - time.monotonic()))
    assert started[kind].returncode == 0, err
    assert out == "xxx"
    assert err.count("LookupError: from a callback") == 3      # each is reported, and once


BOUNDED = """
import sys, time, atexit
start = []
atexit.register(lambda: print(time.monotonic() - start[0]))
from kafkapp import *
kind, bootstrap, topic = sys.argv[1:]
producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap, "log_cb": lambda *args: None}, EventsPollingOption[kind])
if sys.argv[3] != "none":
    producer.send(ProducerRecord(topic, 0, value=b"v"))
start.append(time.monotonic())
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_without_warnings_asked_for_the_end_is_silent_and_quick(kind):
    process = start_python(BOUNDED, kind, NOWHERE, "none")
    out, err = finish(process)
    assert process.returncode == 0 and err == ""
    assert float(out) < 2


CLOSED = """
import atexit, sys
from kafkapp import *
bootstrap, topic = sys.argv[1:]
with KafkaAsyncProducer({"bootstrap.servers": bootstrap}) as producer:
    producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: print(error))
late = KafkaAsyncProducer({"bootstrap.servers": bootstrap})
atexit.register(late.close)
"""


def test_closed_producers_leave_no_word(broker, topic):
    process = start_python(CLOSED, broker.bootstrap_servers, topic, flags=["-Wdefault"])
    out, err = finish(process)
    assert (process.returncode, out, err) == (0, "None\n", "")


RAISING = """
import sys
from kafkapp import *
bootstrap, topic = sys.argv[1:]
producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap}, EventsPollingOption.Manual)
def callback(metadata, error):
    raise LookupError("from the callback")
producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
"""


def test_a_callback_that_raises_at_exit_is_reported_and_does_no_harm(broker, topic):
    process = start_python(RAISING, broker.bootstrap_servers, topic)
    _, err = finish(process)
    assert process.returncode == 0
    assert "from the callback" in err
