"""A consumer ends although views of its memory live: in time, without a connection, a warning or a log line; the bytes stay."""
import json

import pytest
from helpers import LIBRDKAFKA, properties, run_python

from kafkapp import KafkaSyncProducer

PROGRAM = """
import asyncio, gc, json, logging, os, sys, threading, time, warnings
import kafkapp.aio
from kafkapp import EventsPollingOption, KafkaConsumer, Offset

way, bootstrap, topic, reconnects = sys.argv[1:]
warnings.simplefilter("always")
said = []
warnings.showwarning = lambda message, *_: said.append(str(message))
logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(sys.stdout)])
given = {"bootstrap.servers": bootstrap, "fetch.wait.max.ms": 20, "auto.offset.reset": "earliest", "session.timeout.ms": 2500,
         "heartbeat.interval.ms": 100, "log_cb": lambda *line: said.append(line)}

def sockets():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return sum(name.startswith("socket:") for name in found)

def threads(name):
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                found.append(file.read().strip())
        except OSError:
            pass
    return [each for each in found if each.startswith(name)]

def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)

def read(consumer):
    found = []
    while sum(map(len, found)) < 3:
        found.append(consumer.poll(20))
    return [record for batch in found for record in batch]

async def read_and_close():
    consumer = kafkapp.aio.KafkaConsumer(given)
    consumer.assign({(topic, 0): 0})
    found = []
    while len(found) < 3:
        found += await consumer.poll(20)
    begin = time.monotonic()
    await consumer.close()
    return found, time.monotonic() - begin, consumer

before = sockets()
if way == "aio":
    found, took, consumer = asyncio.run(read_and_close())
else:
    consumer = KafkaConsumer(given, EventsPollingOption.Manual if way == "manual" else EventsPollingOption.Auto)
    if way == "group":
        consumer.subscribe([topic], timeout=20)
    else:
        consumer.assign({(topic, 0): 0})
    found = read(consumer)
    begin = time.monotonic()
    if way == "dropped":
        consumer = None
        assert "was never closed" in said.pop(), said
    else:
        consumer.close()
    took = time.monotonic() - begin
assert consumer is None or consumer.pinned_bytes > 0
if way != "aio" and not reconnects:     # a loop has sockets of its own
    wait_for(lambda: sockets() == before)
assert threads("kafkapp end")
good = [bytes(record.value) for record in found] == [b"x" * 4096, b"y" * 100_000, b"z" * 500_000]
view = memoryview(found[1].value)
del found
gc.collect()
good = good and bytes(view) == b"y" * 100_000 and bool(threads("kafkapp end"))
if way != "exit":
    del view
    wait_for(lambda: not threads("kafkapp end") and not threads("rdk:"))
    assert consumer is None or consumer.pinned_bytes == 0
print(json.dumps([took, good, said]))
"""


@pytest.fixture
def filled(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"x" * 4096, b"y" * 100_000, b"z" * 500_000], partition=0)
    return topic


@pytest.mark.parametrize("way", ["closed", "group", "manual", "dropped", "aio", "exit"])
def test_it_ends_in_time_and_the_bytes_stay(broker, filled, way):
    """It takes a few milliseconds, and may take 1 s by contract; the bound here is for a machine that does much beside. Before 2.10 a thread
    of librdkafka's that tries to connect does so once more, though the client ends."""
    reconnects = "" if LIBRDKAFKA >= (2, 10) else "yes"
    took, good, said = json.loads(run_python(PROGRAM, way, broker.bootstrap_servers, filled, reconnects, timeout=60))
    assert took < 1.5 and good and not said


OPEN = """
import sys
from kafkapp import KafkaConsumer
consumer = KafkaConsumer({"bootstrap.servers": sys.argv[1]})
consumer.assign({(sys.argv[2], 0): 0})
batch = consumer.poll(20)
view = memoryview(batch[0].value)
if sys.argv[3] == "closed":
    consumer.close()
print(len(view), consumer.pinned_bytes > 0)
"""


@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_program_ends_with_live_views(broker, filled, state):
    assert run_python(OPEN, broker.bootstrap_servers, filled, state).strip() == "4096 True"
