"""close() while a name server, a callback or a thread with a lock does not respond: one outcome for each record.

docs/guide/blocking.md says what each call may take; test_blocking_calls.py measures all of them.
"""
import importlib.util
import json
import threading

import pytest
from helpers import NOWHERE, Reports, Stopwatch, finish, properties, run_python, start_python, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, ProducerRecord

QUIET = {"log_cb": lambda *args: None, "error_cb": lambda error: None}

# -- a name server -----------------------------------------------------------------------------------------------------

# The records are on their way to a broker whose thread then asks the name server, to connect again.
SILENT = """
import gc, json, os, sys, time
from kafkapp import *
from kafkapp.testing import MockCluster

kind, end, silent = sys.argv[1:]
cluster = MockCluster()
cluster.create_topic("t", partitions=1)
properties = {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 0, "broker.address.ttl": 0, "reconnect.backoff.max.ms": 300,
              "log_cb": lambda *args: None, "error_cb": lambda error: None}
producer = KafkaAsyncProducer(properties, EventsPollingOption[kind])
reported, payloads, batches = [], [bytearray(b"v") for _ in range(6)], []
producer.send(ProducerRecord("t", 0, value=b"v"))
producer.flush(10)
cluster.set_rtt(1, 60)

def callback(metadata, error):
    reported.append((metadata.record_id, error and error.code.name))

for number in range(3):
    producer.send(ProducerRecord("t", 0, value=payloads[number], id=number), callback)
producer.send(ProducerRecord("t", 0, value=payloads[3]))
batch = producer.send_batch("t", payloads[4:], partition=0, callback=lambda batch: batches.append(batch.done))
time.sleep(0.5)
cluster.broker_down(1)
time.sleep(1)           # the broker's thread has the records in its own queue, and tries again
with open(silent, "w") as file:
    file.write("127.0.0.1")
limit = time.monotonic() + 20
while not os.path.exists(silent + ".asked") and time.monotonic() < limit:
    time.sleep(0.01)
assert os.path.exists(silent + ".asked")

def held():
    count = 0
    for payload in payloads:
        try:
            payload.append(0)
        except BufferError:
            count += 1
    return count

if end != "close":
    sys.exit(3)
begin = time.monotonic()
producer.close(0.2)
took, after = time.monotonic() - begin, held()
ledger = producer._ledger()
os.remove(silent)
limit = time.monotonic() + 20
while held() and time.monotonic() < limit:
    time.sleep(0.01)
print(json.dumps([took, reported, batches, batch.errors.tolist(), after, held(), ledger]))
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_records_whose_broker_is_looked_for_are_completed_and_their_memory_is_held_as_long_as_it_may_be_read(silent, kind):
    took, reported, batches, errors, after, finally_, ledger = json.loads(run_python(SILENT, kind, "close", silent, timeout=60))
    assert took < 0.2 + 2 + 3
    assert sorted(number for number, _ in reported) == [0, 1, 2] and batches == [True]
    assert {code for _, code in reported} <= {"RD_KAFKA_RESP_ERR__PURGE_INFLIGHT", "RD_KAFKA_RESP_ERR__PURGE_QUEUE"}
    assert set(errors) <= {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
    assert after == 6, "librdkafka may still read it"
    assert finally_ == 0
    assert not any(ledger.values())


@pytest.mark.parametrize("begun", [True, False])
def test_memory_that_may_be_read_is_held_when_ctrl_c_falls_into_the_end(silent, begun):
    program = SILENT.replace("producer.close(0.2)\n", """
import kafkapp.client.handle
real = kafkapp.client.handle.start_thread
def interrupted(run):
    if begun:
        real(run)
    raise KeyboardInterrupt
kafkapp.client.handle.start_thread = interrupted
try:
    producer.close(0.2)
except KeyboardInterrupt:
    reported.append("KeyboardInterrupt")
ledger = producer._ledger()
del producer
gc.collect()
""".replace("begun", str(begun))).replace("ledger = producer._ledger()\nos.remove", "os.remove")
    if not begun:
        program = program.replace("while held() and", "while False and")
    _, reported, _, _, after, finally_, ledger = json.loads(run_python(program, "Auto", "close", silent, timeout=60))
    assert reported[-1] == "KeyboardInterrupt" and len(reported) == 4
    assert after == 6, "librdkafka may still read it"
    assert finally_ == (0 if begun else 6)
    assert not any(ledger.values())


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_process_ends_while_a_name_server_keeps_silent(silent, kind):
    with Stopwatch() as watch:
        process = start_python(SILENT, kind, "exit", silent)
        out, err = finish(process, 60)
    assert (process.returncode, out) == (3, "")
    assert "it was never closed, and 6 records are not known to be delivered (t: 6); " in err and err.count("\n") == 1
    assert watch.seconds < 40


# -- a callback --------------------------------------------------------------------------------------------------------

def waiting(lock, reports, entered):
    def callback(metadata, error):
        entered.set()
        with lock:
            reports(metadata, error)
    return callback


def test_close_warns_and_returns_before_a_callback_that_waits_for_the_one_who_closes():
    reports, entered, lock = Reports(), threading.Event(), threading.Lock()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=100))
    for number in range(5):
        producer.send(ProducerRecord("t", 0, value=bytearray(b"v"), id=number), waiting(lock, reports, entered))
    with lock:
        assert entered.wait(10)
        with pytest.warns(RuntimeWarning, match=r"close\(\) returned while a callback"), Stopwatch() as watch:
            producer.close(0.2)
        assert 5 < watch.seconds < 0.2 + 7 + 3 and len(reports) == 0
        assert "closed" in repr(producer)
    reports.wait(5)         # each once, on the background thread, which ends then
    wait_for(lambda: not any(thread.ident == reports.threads[0] for thread in threading.enumerate()))
    assert sorted(reports.ids) == list(range(5)) and len(set(reports.threads)) == 1
    wait_for(lambda: not any(producer._ledger().values()))
    producer.close()


def test_several_that_close_return_before_a_callback_that_goes_on():
    reports, entered, lock, took = Reports(), threading.Event(), threading.Lock(), []
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=100))
    producer.send(ProducerRecord("t", 0, value=b"v"), waiting(lock, reports, entered))

    def close(timeout):
        with Stopwatch() as watch:
            producer.close(timeout)
        took.append(watch.seconds)

    with lock:
        assert entered.wait(10)
        threads = [threading.Thread(target=close, args=(timeout,), daemon=True) for timeout in (None, 0.2, 0)]
        with pytest.warns(RuntimeWarning, match="while a callback"):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
    assert len(took) == 3 and max(took) < 0.2 + 7 + 3
    reports.wait(1)


def test_a_callback_of_a_manual_producer_in_another_thread_does_not_hold_close_up():
    reports, entered, lock = Reports(), threading.Event(), threading.Lock()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=100), EventsPollingOption.Manual)
    for number in range(3):
        producer.send(ProducerRecord("t", 0, value=bytearray(b"v"), id=number), waiting(lock, reports, entered))
    thread = threading.Thread(target=producer.poll_events, args=(10,), daemon=True)
    with lock:
        thread.start()
        assert entered.wait(10)
        with pytest.warns(RuntimeWarning, match="while a callback"), Stopwatch() as watch:
            producer.close(0.2)
        assert watch.seconds < 0.2 + 7 + 3
    thread.join(10)
    assert sorted(reports.ids) == [0, 1, 2]
    wait_for(lambda: not any(producer._ledger().values()))


@pytest.mark.parametrize("polling", EventsPollingOption)
def test_a_finalizer_does_not_wait_for_a_callback_that_may_wait_for_it(polling):
    reports, entered, lock = Reports(), threading.Event(), threading.Lock()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=100), polling)
    producer.send(ProducerRecord("t", 0, value=b"v"), waiting(lock, reports, entered))
    with lock, pytest.warns(ResourceWarning, match="never closed"), Stopwatch() as watch:
        del producer
    assert entered.is_set() and watch.seconds < 1 + 3
    reports.wait(1)


def test_a_finalizer_that_the_collector_calls_does_not_wait():
    import gc

    reports = Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=2000))
    producer.send(ProducerRecord("t", 0, value=b"v"), reports)
    cycle = [producer]
    cycle.append(cycle)
    del producer, cycle
    with pytest.warns(ResourceWarning, match="never closed"), Stopwatch() as watch:
        gc.collect()
    assert watch.seconds < 1.5 and len(reports) == 0
    reports.wait(1)


def test_a_producer_that_goes_on_its_own_background_thread_is_closed():
    # Its last reference goes between two callbacks: with the payload of a record that has none.
    class Last(bytearray):
        pass

    reports = Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE, QUIET, message_timeout_ms=300))
    payload = Last(b"v")
    payload.producer = producer
    producer.send(ProducerRecord("t", 0, value=payload))
    with pytest.warns(ResourceWarning, match="never closed"):
        del payload, producer
        from kafkapp.client.client import clients
        wait_for(lambda: not any(client.name for client in clients), 20)
    assert len(reports) == 0


LOCKED = """
import logging, sys, threading, time
from kafkapp import *
logging.getLogger("kafkapp").setLevel(1)
logging.getLogger("kafkapp").addHandler(logging.NullHandler())
call, polling = sys.argv[1:]
def work():
    producer = KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "debug": "all", "message.timeout.ms": 500},
                                  EventsPollingOption[polling])
    batch = producer.send_batch("t", [b"v"])
    with logging._lock:
        getattr(batch if call == "wait" else producer, call)()
    producer.close()
    print(batch.done)
thread = threading.Thread(target=work, daemon=True)
thread.start()
thread.join(20)
print(thread.is_alive(), flush=True)
import os
os._exit(0)
"""


@pytest.mark.parametrize("polling", ["Auto", "Manual"])
@pytest.mark.parametrize("call", ["close", "flush", "wait"])
def test_calls_without_a_timeout_do_not_wait_for_logging(call, polling):
    assert run_python(LOCKED, call, polling, timeout=40).split() == ["True", "False"]


# -- a fork ------------------------------------------------------------------------------------------------------------

# The child of a callback: its other callbacks are the parent's. It ends by itself, whatever the callback does then.
FORKS = """
import json, os, signal, sys, time
from kafkapp import *

how, bootstrap, after = sys.argv[1:]
parent, (read, write), children, reported = os.getpid(), os.pipe(), [], []

def fork(*args):
    reported.append(1)
    if os.getpid() != parent:
        os.write(write, b"c")
    elif not children:
        child = os.fork()
        if child:
            children.append(child)
        elif after == "exits":
            sys.exit(0)
        elif after == "calls":
            for call in (producer.flush, producer.close, lambda: producer.send(record)):
                try:
                    call()
                except RuntimeError:
                    pass
                else:
                    os.write(write, b"C")

def token(config):
    fork()
    return "token", time.time() + 3600, "me", {}

record = ProducerRecord("t", 0, value=bytearray(b"v"))
made = {"bootstrap.servers": bootstrap, "message.timeout.ms": 300, "log_cb": lambda *args: None, "error_cb": lambda error: None}
made |= {"stats_cb": {"stats_cb": fork, "statistics.interval.ms": 10}, "log_cb": {"log_cb": fork, "debug": "all"},
         "error_cb": {"error_cb": fork}, "sync": {"stats_cb": fork, "statistics.interval.ms": 10},
         "token": {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER",
                   "oauthbearer_token_refresh_cb": token}}.get(how, {})
if how == "sync":
    producer = KafkaSyncProducer(made)
else:
    producer = KafkaAsyncProducer(made, EventsPollingOption.Manual if how == "Manual" else EventsPollingOption.Auto)
callback = fork if how in ("Auto", "Manual", "closing") else None
if how == "sync":
    try:
        producer.send(record)
    except KafkaException:
        pass
elif how == "batch":
    for _ in range(5):
        producer.send_batch("t", [bytearray(b"v")] * 3, partition=0, callback=fork)
else:
    for _ in range(5):
        producer.send(record, callback)
limit = time.monotonic() + 10
while not children and time.monotonic() < limit:
    if how == "closing":
        producer.close(0)
    elif how == "Manual":
        producer.poll_events(0.1)       # in the child it raises, which ends it
    else:
        time.sleep(0.01)
assert os.getpid() == parent and children
ended = 0
while not ended and time.monotonic() < limit + 10:
    ended, status = os.waitpid(children[0], os.WNOHANG)
    time.sleep(0.01)
if not ended:
    os.kill(children[0], signal.SIGKILL)
producer.close(5)
os.set_blocking(read, False)
try:
    ran = os.read(read, 100).decode()
except BlockingIOError:
    ran = ""
print(json.dumps([bool(ended), ran, len(reported)]))
"""


@pytest.mark.parametrize("after", ["returns", "exits", "calls"])
@pytest.mark.parametrize("how", ["Auto", "Manual", "batch", "closing", "sync", "stats_cb", "log_cb", "error_cb", "token"])
def test_the_child_of_a_callback_runs_no_other(how, after):
    program = start_python(FORKS, how, NOWHERE, after)
    out, err = finish(program, 40)
    assert out, err
    ended, ran, reported = json.loads(out)
    assert (ended, ran) == (True, "")
    assert reported == 5 if how in ("Auto", "Manual", "batch", "closing") else reported >= 1


# The callback of a record that librdkafka does not report in time forks, in close() or in the last call that uses a closed
# producer. The child has no other thread.
FORKS_UNREPORTED = SILENT.partition("if end != ")[0].replace("error and error.code.name))", "error and error.code.name)); fork()") + """
import threading, warnings
from kafkapp.aio.loop_client import LoopClient
warnings.simplefilter("ignore")
parent, children, ended = os.getpid(), [], 0
inside, closed = threading.Event(), threading.Event()

def fork():
    if not children:
        children.append(os.fork())

def stays(metadata, error):
    inside.set()
    closed.wait(30)

def checked(call, *args):
    try:
        call(*args)
    except RuntimeError:
        if os.getpid() != parent:
            os._exit(40 + len(reported))
    if os.getpid() != parent:
        os._exit(20 + len(reported))

if end == "poll":
    producer.send(ProducerRecord("u", value=b"v"), stays)
    LoopClient(producer).purge()
    polling = threading.Thread(target=checked, args=(producer.poll_events, 10))
    polling.start()
    assert inside.wait(10)
checked(producer.close, 0.2)
closed.set()
if end == "poll":
    polling.join(30)
limit = time.monotonic() + 10
while not ended and time.monotonic() < limit:
    ended, status = os.waitpid(children[0], os.WNOHANG)
    time.sleep(0.01)
if not ended:
    os.kill(children[0], 9)
    status = 9
os.remove(silent)
print(json.dumps([os.waitstatus_to_exitcode(status), sorted(number for number, _ in reported), batches]))
"""


# In the child a background thread ends, and a call raises.
@pytest.mark.parametrize(("kind", "end", "code"), [("Auto", "close", 0), ("Manual", "close", 41), ("Manual", "poll", 41)])
def test_the_child_of_a_callback_of_an_unreported_record_runs_no_other(silent, kind, end, code):
    assert json.loads(run_python(FORKS_UNREPORTED, kind, end, silent, timeout=90)) == [code, [0, 1, 2], [True]]


# -- green threads -----------------------------------------------------------------------------------------------------

GREEN = """
from gevent import monkey
monkey.patch_all()
import gevent, os, threading, time
from kafkapp import *
from kafkapp.testing import MockCluster
seen, threads = [], set()

def on_delivery(metadata, error):
    seen.append(error)
    threads.add(threading.get_native_id())

with MockCluster() as cluster:
    properties = {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 0}
    with KafkaSyncProducer(properties) as producer:
        producer.send(ProducerRecord("t", value=b"v"), 10)
        assert producer.fetch_broker_metadata("t", 10).topic == "t"
    producer = KafkaAsyncProducer(properties)
    greenlets = [gevent.spawn(producer.send, ProducerRecord("t", value=b"v"), on_delivery) for _ in range(100)]
    gevent.joinall(greenlets)
    producer.flush(10)
    producer.purge()
    producer.close(5)
    del producer
    KafkaAsyncProducer(properties).send(ProducerRecord("t", value=b"v"), on_delivery)   # dropped
print(len(seen), seen.count(None), len(threads - {threading.get_native_id()}) > 0)
"""


@pytest.mark.skipif(not importlib.util.find_spec("gevent"), reason="gevent is not installed")
def test_gevents_monkey_patching_leaves_us_threads():
    assert run_python(GREEN, flags=["-Wignore"], timeout=60).split() == ["101", "101", "True"]


def test_the_name_server_keeps_silent(silent):
    silent.write_text("silent.test")
    program = ("import socket, threading; thread = threading.Thread(target=socket.getaddrinfo, args=('silent.test', 1), daemon=True);"
               "thread.start(); thread.join(0.5); print(thread.is_alive())")
    assert run_python(program).strip() == "True"

