"""Ctrl-C: it ends every blocking call within half a second, and the producer continues normally.

Each call blocks in a process of its own, which interrupts itself from a timer.
"""
import json
import threading

import pytest
from faultkit import make, percentiles
from helpers import NOWHERE, run_python, wait_for

from kafkapp.common import log_lines
from kafkapp.client import blocking_calls as requests

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


WITHIN = """
import json, os, signal, sys, threading, time
from kafkapp import *

kind, nowhere, topic = sys.argv[1:]
said = []
made = {"bootstrap.servers": nowhere, "queue.buffering.max.messages": 1, "log_cb": lambda *args: None}
producer = KafkaSyncProducer(made) if kind == "sync" else KafkaAsyncProducer(made)

class Stop(Exception):
    pass

def stop(*args):
    for call in producer.flush, producer.close:
        try:
            call()
        except RuntimeError as error:
            said.append(str(error))
    raise Stop

def send_signal():
    while len(producer) == 0:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)    # its batch waits for room by now, or is about to

signal.signal(signal.SIGTERM, stop)
threading.Thread(target=send_signal).start()
try:
    producer.send_batch(topic, [b"v"] * 3)
except Stop:
    said.append(len(producer))
producer.close(0)
print(json.dumps([said, len(producer)]))
"""


@pytest.mark.parametrize("kind", ["Auto", "sync"])
def test_a_handler_does_not_wait_for_the_batch_that_it_interrupts(topic, kind):
    (flush, close, *left), end = json.loads(run_python(WITHIN, kind, NOWHERE, topic, timeout=60))
    assert flush.startswith("flush() was called from a signal handler that interrupts send_batch()") and close.startswith("close() was called from a")
    assert (left, end) == ([1], 0)


# -- a thread that is started ------------------------------------------------------------------------------------------

def interrupting(start, begun, late):
    """Starts threads, with a Ctrl-C that comes when the thread has ended, or before it begins: `late` are those."""
    def start_thread(run):
        if begun:
            ended = threading.Event()
            start(lambda: (run(), ended.set()))
            assert ended.wait(60)
        else:
            late.append(run)
        raise KeyboardInterrupt
    return start_thread


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
def test_ctrl_c_at_the_start_of_a_request_leaves_nobody_counted(broker, topic, monkeypatch, kind, begun):
    late = []
    producer = make(kind, broker)
    with monkeypatch.context() as patched:
        patched.setattr(requests, "start_thread", interrupting(requests.start_thread, begun, late))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                producer.fetch_broker_metadata(topic)
    for run in late:
        run()
    assert producer.fetch_broker_metadata(topic).topic == topic
    producer.close()
    assert producer._ledger()["topics"] == 0, "the handle was not destroyed"


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_at_the_start_of_the_thread_of_lines_loses_no_line(monkeypatch, begun):
    said, late = [], []
    wait_for(lambda: not log_lines.running)
    with monkeypatch.context() as patched:
        patched.setattr(log_lines, "start_thread", interrupting(log_lines.start_thread, begun, late))
        with pytest.raises(KeyboardInterrupt):
            log_lines.log_later(said.append, 1)
    log_lines.log_later(said.append, 2)
    wait_for(lambda: said == [1, 2] and not log_lines.running)
    for run in late:
        run()
    assert said == [1, 2] and not log_lines.running


def test_control_a_call_that_holds_signals_up_is_detected(topic):
    # It computes in C for a second or more and looks at no signal meanwhile.
    program = PROGRAM.replace("lambda: producer.flush()",
                              "lambda: __import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 4_000_000)")
    assert program != PROGRAM
    assert json.loads(run_python(program, "Auto", "flush", NOWHERE, NOWHERE, topic))["took"] > 0.5
