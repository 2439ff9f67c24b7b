"""fork: every call of the child raises at once, the parent is unaffected, and the child can make its own producer.

The fork happens in a process of its own, not in pytest.
"""
import json

import pytest
from helpers import STARTED, run_python

PROGRAM = STARTED + """
import gc, json, os, sys, time, traceback
from kafkapp import *

kind, bootstrap, topic = sys.argv[1:]
calls = []

def make(client_id):
    made = {"bootstrap.servers": bootstrap, "client.id": client_id, "log_cb": lambda *args: None}
    if kind == "sync":
        return KafkaSyncProducer(made)
    return KafkaAsyncProducer({**made, "linger.ms": 60000}, EventsPollingOption[kind])

def send(producer, number):
    record = ProducerRecord(topic, 0, value=b"%d" % number, id=number)
    if kind == "sync":
        calls.append(producer.send(record).record_id)
    else:
        producer.send(record, lambda metadata, error: calls.append(error or metadata.record_id))

producer = make("parent")
send(producer, 0)
started(producer, topic)

def child(write):
    record = ProducerRecord(topic, 0, value=b"v")
    blocking = {
        "send": lambda: producer.send(record),
        "send_batch": lambda: producer.send_batch(topic, [b"v"]),
        "flush": lambda: producer.flush(5),
        "purge": lambda: producer.purge(),
        "close": lambda: producer.close(5),
        "enter": lambda: producer.__enter__(),
        "fetch_broker_metadata": lambda: producer.fetch_broker_metadata(topic, 5),
    }
    if kind != "sync":
        blocking["try_send"] = lambda: producer.try_send(record)
        if kind == "Manual":
            blocking["poll_events"] = lambda: producer.poll_events(5)
    seen = {}
    for name, call in blocking.items():
        start = time.monotonic()
        try:
            ended = repr(call())
        except BaseException as error:
            ended = type(error).__name__ + ": " + str(error)
        seen[name] = [ended, time.monotonic() - start]
    del calls[:]
    own = make("child")
    send(own, 1)
    own.close(10)
    seen["own"] = [repr(calls), 0]
    return seen

read_end, write_end = os.pipe()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        os.close(read_end)
        seen = child(write_end)
        start = time.monotonic()
        del producer
        gc.collect()
        seen["del"] = ["deleted", time.monotonic() - start]
        os.write(write_end, json.dumps(seen).encode())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
os.close(write_end)
text = b""
while piece := os.read(read_end, 65536):
    text += piece
status = os.waitpid(pid, 0)[1]
send(producer, 2)
producer.close(10)
print(json.dumps({"child": json.loads(text or "{}"), "status": status, "calls": calls}))
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
def test_the_child_is_refused_and_the_parent_goes_on(broker, topic, kind):
    seen = json.loads(run_python(PROGRAM, kind, broker.bootstrap_servers, topic))
    assert seen["status"] == 0
    child = seen["child"]
    assert child.pop("own")[0] == "[1]"
    assert child.pop("del")[1] < 0.5
    for name, (ended, seconds) in child.items():
        assert ended.startswith("RuntimeError: ") and "fork" in ended, (name, ended)
        assert seconds < 0.3, name
    assert seen["calls"] == [0, 2]


EXIT = """
import os, sys
from kafkapp import *

kind, bootstrap, topic = sys.argv[1:]
made = {"bootstrap.servers": bootstrap, "linger.ms": 60000}
producer = KafkaAsyncProducer(made, EventsPollingOption[kind])
def callback(metadata, error):
    os.write(1, b"called in %d\\n" % os.getpid())

producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
pid = os.fork()
if pid == 0:
    sys.exit(0)         # an ordinary end, with atexit and finalisation
status = os.waitpid(pid, 0)[1]
producer.close(10)
os.write(1, b"parent %d status %d\\n" % (os.getpid(), status))
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_child_that_ends_in_the_ordinary_way_neither_hangs_nor_reports(broker, topic, kind):
    called, parent = run_python(EXIT, kind, broker.bootstrap_servers, topic).splitlines()
    assert parent.split()[2:] == ["status", "0"]
    assert called.split()[-1] == parent.split()[1]
