"""Runs a case with misbehaving objects in a Python of its own, with a common prologue."""
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import kafkapp

SECONDS = 60

# What every case starts from. `evil()` does all that can be done to the producer, and keeps what was raised.
START = r'''
import faulthandler, gc, sys, threading, time, warnings
faulthandler.enable()
faulthandler.dump_traceback_later(50, exit=True)
warnings.simplefilter("ignore", ResourceWarning)
from kafkapp import *
Exporter = object
try:
    from exporter import Exporter
except ImportError:
    pass

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "message.timeout.ms": 60000, "linger.ms": 0}
unraised = []
sys.unraisablehook = lambda args: unraised.append(args.exc_value)
reports, raised = [], []

def callback(metadata, error):
    reports.append(error)

def new(kind, **more):
    properties = NOWHERE | {name.replace("_", "."): value for name, value in more.items()}
    if kind == "sync":
        return KafkaSyncProducer(properties)
    return KafkaAsyncProducer(properties, EventsPollingOption[kind])

def attempt(*calls):
    for call in calls:
        try:
            call()
        except Exception as exc:
            raised.append(exc)

depth = 0
def evil(producer, *, close=False):
    """Re-enter the producer by every call it has."""
    global depth
    if depth > 3:
        return
    depth += 1
    try:
        if isinstance(producer, KafkaSyncProducer):
            attempt(lambda: producer.send(ProducerRecord("other", value=bytearray(b"inner")), 0.01))
        else:
            attempt(lambda: producer.send(ProducerRecord("other", value=bytearray(b"inner")), callback),
                    lambda: producer.try_send(ProducerRecord("other", value=b"inner"), callback),
                    lambda: producer.poll_events(0))
        attempt(lambda: producer.flush(0), lambda: len(producer), lambda: repr(producer),
                lambda: producer.purge(), lambda: producer.get_property("acks"), gc.collect)
        if close:
            attempt(lambda: producer.close(0))
    finally:
        depth -= 1

def end(producer):
    attempt(lambda: producer.purge())
    attempt(lambda: producer.flush(10))
    attempt(lambda: producer.close(5))
    assert "closed" in repr(producer), producer
    deadline = time.monotonic() + 20        # the last thread that used the handle releases it, maybe after this one
    while any(producer._ledger().values()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(producer._ledger().values()), producer._ledger()
'''


def run_case(tmp_path, code, kind="Auto"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(kafkapp.__file__).parent.parent)])}
    process = subprocess.run([sys.executable, "-X", "dev", "-c", START + f"kind = {kind!r}\n" + textwrap.dedent(code) + "\nprint('end')"],
                             env=environment, text=True, capture_output=True, timeout=SECONDS)
    assert process.returncode == 0 and process.stdout.endswith("end\n"), process.stdout + process.stderr[-4000:]
