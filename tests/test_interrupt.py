"""Ctrl-C ends every blocking call within half a second, and the producer goes on as if nothing had happened.

Layer: tests of the contract. Each call blocks in a process of its own, which interrupts itself from a timer.
"""
import json

import pytest
from faultkit import percentiles
from support import NOWHERE, run_python

PROGRAM = """
import json, os, signal, sys, threading, time
from kafkapp import *

kind, call, bootstrap, nowhere, topic = sys.argv[1:]
calls = []
made = {"bootstrap.servers": nowhere, "queue.buffering.max.messages": 1, "log_cb": lambda *args: None}
if kind == "sync":
    producer = KafkaSyncProducer(made)
else:
    producer = KafkaAsyncProducer(made, EventsPollingOption[kind])

def callback(metadata, error):
    calls.append((metadata.record_id, error.code.name))

def fill():
    if kind != "sync":
        producer.send(ProducerRecord(topic, 0, value=b"v", id="first"), callback)

record = ProducerRecord(topic, 0, value=b"v", id="second")
blocking = {
    "send": lambda: producer.send(record, *([callback] if kind != "sync" else [])),
    "send_batch": lambda: producer.send_batch(topic, [b"v"]),
    "flush": lambda: producer.flush(),
    "close": lambda: producer.close(),
    "with": lambda: producer.__exit__(None, None, None),
    "poll_events": lambda: producer.poll_events(None),
    "fetch_broker_metadata": lambda: producer.fetch_broker_metadata(topic, 60),
}[call]
fill()
interrupted = []

def interrupt():
    interrupted.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

timer = threading.Timer(0.25, interrupt)
timer.start()
try:
    blocking()
    ended = "returned"
except KeyboardInterrupt:
    ended = "KeyboardInterrupt"
took = time.monotonic() - interrupted[0] if interrupted else None
outstanding = len(producer)
purged = time.monotonic()
try:
    producer.close(0)
except RuntimeError as error:
    ended = repr(error)
print(json.dumps({"ended": ended, "took": took, "outstanding": outstanding, "calls": calls, "left": len(producer),
                  "close": time.monotonic() - purged}))
"""
CASES = [("Auto", "send"), ("Auto", "send_batch"), ("Auto", "flush"), ("Auto", "close"), ("Auto", "with"),
         ("Auto", "fetch_broker_metadata"), ("Manual", "flush"), ("Manual", "close"), ("Manual", "poll_events"),
         ("Manual", "fetch_broker_metadata"), ("sync", "send"), ("sync", "send_batch"),
         ("sync", "fetch_broker_metadata")]


@pytest.mark.parametrize("kind, call", CASES)
def test_ctrl_c_ends_a_blocking_call(topic, faults, kind, call):
    took = []
    for _ in range(faults.rounds(1, 20)):
        seen = json.loads(run_python(PROGRAM, kind, call, NOWHERE, NOWHERE, topic))
        assert seen["ended"] == "KeyboardInterrupt"
        assert seen["took"] < 0.5
        assert seen["left"] == 0 and seen["close"] < 2
        if kind == "sync":
            assert seen["outstanding"] == (0 if call == "fetch_broker_metadata" else 1)
        else:
            assert seen["calls"] == [["first", "RD_KAFKA_RESP_ERR__PURGE_QUEUE"]]
            assert seen["outstanding"] in ((0, 1) if call in ("close", "with") else (1,))
        took.append(seen["took"])
    faults.figure(interrupted_ms=percentiles(took))


CALLBACK = """
import os, signal, sys, threading
from kafkapp import *

bootstrap, topic = sys.argv[1:]
served, again = [], []
producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap, "linger.ms": 60000}, EventsPollingOption.Manual)

def callback(metadata, error):
    served.append(metadata.record_id)
    if len(served) == 1:
        signal.raise_signal(signal.SIGINT)      # as a Ctrl-C that falls into a callback

for number in range(10):
    producer.send(ProducerRecord(topic, 0, value=b"v", id=number), callback)
try:
    producer.flush(10)
except KeyboardInterrupt:
    again.append("KeyboardInterrupt")
producer.flush(10)
producer.close()
print(again, served)
"""


def test_ctrl_c_inside_a_callback_loses_no_other_callback(broker, topic):
    assert run_python(CALLBACK, broker.bootstrap_servers, topic).strip() == \
        f"['KeyboardInterrupt'] {list(range(10))}"


HANDLED = """
import os, signal, sys, threading, time
from kafkapp import *

bootstrap, topic = sys.argv[1:]
handled = []
signal.signal(signal.SIGUSR1, lambda *args: handled.append(time.monotonic()))
producer = KafkaSyncProducer({"bootstrap.servers": bootstrap, "linger.ms": 700})
sent = []
threading.Timer(0.2, lambda: (sent.append(time.monotonic()), os.kill(os.getpid(), signal.SIGUSR1))).start()
metadata = producer.send(ProducerRecord(topic, 0, value=b"v"))
producer.close()
print(metadata.offset, len(handled), handled[0] - sent[0] < 0.3)
"""


def test_a_signal_whose_handler_returns_is_handled_in_time_and_the_call_goes_on(broker, topic):
    assert run_python(HANDLED, broker.bootstrap_servers, topic).split() == ["0", "1", "True"]


def test_control_a_call_that_holds_signals_up_is_told_of(topic):
    # It computes in C for a second or more and looks at no signal meanwhile.
    program = PROGRAM.replace("lambda: producer.flush()",
                              "lambda: __import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 4_000_000)")
    assert program != PROGRAM
    assert json.loads(run_python(program, "Auto", "flush", NOWHERE, NOWHERE, topic))["took"] > 0.5
