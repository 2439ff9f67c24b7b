"""`with producer.transaction():`, and Ctrl-C in the calls that it makes.

On the embedded cluster; a scripted producer shows what the context retries and when it stops retrying.
"""
import json
import time

import pytest
from helpers import finish, run_python, start_python
from transactional_producers import AGAIN, ENDS, FATAL, KINDS, Sent, counted, create_sources, err, failing, open_producer

from kafkapp import KafkaException
from kafkapp.testing import ApiKey
from kafkapp.producer.transactions import Transaction


@pytest.fixture(params=KINDS)
def producer(request, cluster):
    with open_producer(request.param, cluster) as producer:
        producer.init_transactions(10)
        yield producer


INTERRUPTED = """
import json, os, signal, sys, threading, time
from kafkapp import *

signal.signal(signal.SIGINT, signal.default_int_handler)     # a run in the background starts with it ignored
kind, call, bootstrap, topic = sys.argv[1:]
made = {"bootstrap.servers": bootstrap, "transactional.id": topic, "linger.ms": 0, "log_cb": lambda *log: None}
producer = KafkaSyncProducer(made) if kind == "sync" else KafkaAsyncProducer(made, EventsPollingOption[kind.capitalize()])
if call != "init":
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.send_batch(topic, [b"v"], partition=0).wait(10)
calls = {"init": producer.init_transactions, "commit": producer.commit_transaction, "abort": producer.abort_transaction,
         "offsets": lambda: producer.send_offsets_to_transaction([("source", 0, 1)], ("group", -1, "", None))}
print("ready", flush=True)
sys.stdin.readline()
interrupted = []
timer = threading.Timer(0.25, lambda: (interrupted.append(time.monotonic()), os.kill(os.getpid(), signal.SIGINT)))
timer.start()
try:
    if call == "offsets":
        producer.abort_transaction(10)
        with producer.transaction():        # which waits, to abort, until the request has come to its end
            calls[call]()
    calls[call]()
    ended = "returned"
except KeyboardInterrupt:
    ended = "KeyboardInterrupt"
took = time.monotonic() - interrupted[0]
if call != "offsets":
    calls[call]()
producer.begin_transaction()
producer.abort_transaction()
producer.close()
print(json.dumps({"ended": ended, "took": took}))
"""

SLOW = {"init": ApiKey.InitProducerId, "commit": ApiKey.EndTxn, "abort": ApiKey.EndTxn, "offsets": ApiKey.AddOffsetsToTxn}


@pytest.mark.parametrize("kind, call", [(kind, call) for kind in KINDS for call in ("init", "commit", "abort")]
                         + [("auto", "offsets")])
def test_ctrl_c_ends_the_call_which_can_be_made_again(cluster, topic, kind, call):
    create_sources(cluster)
    process = start_python(INTERRUPTED, kind, call, cluster.bootstrap_servers, topic)
    try:
        assert process.stdout.readline() == "ready\n"
        cluster.push_broker_errors(1, SLOW[call], (0, 1.5))
        out, errors = finish_with(process, "go\n")
    finally:
        process.kill()
    assert process.returncode == 0, errors
    seen = json.loads(out)
    assert seen["ended"] == "KeyboardInterrupt"
    assert seen["took"] < 0.5 or call == "offsets"


def finish_with(process, text):
    process.stdin.write(text)
    process.stdin.flush()
    return finish(process)


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_commits_gives_its_producer_and_aborts_when_its_body_raises(cluster, topic, kind):
    with counted(kind, cluster) as (producer, count):
        producer.init_transactions(10)
        sent = Sent(producer, topic)
        with producer.transaction() as same:
            assert same is producer
            sent.send(b"committed")
        assert sent.codes == [None]
        for raised in (ZeroDivisionError, KeyboardInterrupt, GeneratorExit):
            with pytest.raises(raised), producer.transaction():
                sent.send(b"aborted")
                producer.flush(10)
                raise raised
        assert count(ApiKey.EndTxn) == 4
        assert failing(producer.commit_transaction, 5).code == err("_STATE")        # nothing is left open


class Scripted:
    """A fake producer whose commits and aborts end as the script says."""

    def __init__(self, **script):
        self.script, self.calls = script, []

    def begin_transaction(self):
        self.calls.append("begin")

    def end(self, name):
        self.calls.append(name)
        if error := self.script[name].pop(0):
            raise KafkaException(error)

    def commit_transaction(self):
        self.end("commit")

    def abort_transaction(self):
        self.end("abort")


@ENDS
def test_the_context_repeats_what_can_be_repeated(commit, abort, calls, raised):
    producer = Scripted(commit=list(commit), abort=list(abort))
    try:
        with Transaction(producer):
            pass
        assert raised is None
    except KafkaException as failure:
        assert failure.error == raised
    assert producer.calls == ["begin", *calls]


def test_the_context_does_not_hide_the_bodys_exception_behind_the_aborts():
    producer = Scripted(abort=[AGAIN, FATAL])
    with pytest.raises(ZeroDivisionError) as failure, Transaction(producer):
        raise ZeroDivisionError
    assert producer.calls == ["begin", "abort", "abort"]
    assert any("could not be aborted" in note and "fatal" in note for note in failure.value.__notes__)


def test_between_two_tries_the_context_waits():
    producer = Scripted(commit=[AGAIN, AGAIN, None])
    begin = time.monotonic()
    with Transaction(producer):
        pass
    assert time.monotonic() - begin > 0.15


def test_the_interpreter_ends_with_a_transaction_open(broker, topic):
    code = """
import sys
from kafkapp import *
producer = KafkaAsyncProducer({"bootstrap.servers": sys.argv[1], "transactional.id": sys.argv[2]})
producer.init_transactions(10)
producer.begin_transaction()
producer.send(ProducerRecord(sys.argv[2], 0, value=b"v"), lambda metadata, error: print(error))
"""
    assert run_python(code, broker.bootstrap_servers, topic) == "None\n"
