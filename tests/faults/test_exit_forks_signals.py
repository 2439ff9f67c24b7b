"""The end of the interpreter, forks and signals at bad moments: status, time, and the output on stderr.

Faults F23 and F27 to F30, the rest of the exit matrix. Each program runs in a process of its own.
"""
import os
import signal
import subprocess
import time

import pytest
from helpers import NOWHERE, STARTED, Stopwatch, finish, run_python, start_python

START = """
import atexit, gc, os, signal, sys, threading, time
from kafkapp import *

kind, bootstrap, topic = sys.argv[1:]
quiet = {"log_cb": lambda *args: None, "error_cb": lambda *args: None}

def make(**more):
    properties = {"bootstrap.servers": bootstrap, **quiet, **more}
    if kind == "sync":
        return KafkaSyncProducer(properties)
    return KafkaAsyncProducer(properties, EventsPollingOption[kind])

def callback(metadata, error):
    os.write(1, b"x" if error else b".")

def send(producer, count=1):
    for _ in range(count):
        producer.send(ProducerRecord(topic, 0, value=bytearray(b"v")), callback)
"""
# After 100 records were sent: code, callbacks (None: any number), exit status, a word on stderr (None: nothing).
ENDS = {
    "closed": ("producer.close()", 100, 0, None),
    "closed in atexit": ("atexit.register(producer.close)", 100, 0, None),
    "closed in __del__ at shutdown": ("""
class Holder:
    def __del__(self): producer.close()
sys.kept = Holder()""", 100, 0, "never closed"),
    "closing in a daemon thread": ("threading.Thread(target=producer.close, daemon=True).start()", 100, 0, None),
    "closing in another thread": ("threading.Thread(target=producer.close).start()", 100, 0, None),
    "sys.exit(3)": ("sys.exit(3)", 100, 3, "never closed"),
    "an exception": ("raise LookupError('the end')", 100, 1, "the end"),
    "os._exit": ("os._exit(4)", None, 4, None),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", None, -signal.SIGTERM, None),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL); time.sleep(9)", None, -signal.SIGKILL, None),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 100, (1, -signal.SIGINT), "KeyboardInterrupt"),
    "held by a thread-local": ("local = threading.local(); local.kept = producer; del producer", 100, 0, "never closed"),
    "in a cycle, collected": ("box = [producer]; box.append(box); del producer, box; gc.collect()", 100, 0, "never closed"),
    "a pool with work left": ("""
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
for _ in range(50): pool.submit(send, producer)""", 150, 0, "never closed"),
    "asyncio.run cancelled": ("""
import asyncio
async def main(): raise asyncio.CancelledError
try: asyncio.run(main())
except asyncio.CancelledError: pass""", 100, 0, "never closed"),
    "made in atexit": ("""
def late():
    global other
    try: other = make()
    except KafkaException: return           # 3.12 starts no thread any more
    send(other)
atexit.unregister(kafkapp.client.shutdown.close_all); atexit.register(kafkapp.client.shutdown.close_all); atexit.register(late)
""", None, 0, "never closed"),
    "made after the last": ("""
def late():
    global other
    try: other = make()
    except KafkaException: return
    send(other)
atexit.unregister(kafkapp.client.shutdown.close_all); atexit.register(late); atexit.register(kafkapp.client.shutdown.close_all)
""", None, 0, "never closed"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_the_exit_matrix(broker, topic, kind, end):
    code, callbacks, status, word = ENDS[end]
    program = f"{START}\nimport kafkapp.client.shutdown\nproducer = make()\nsend(producer, 100)\n{code}\n"
    with Stopwatch() as watch:
        process = start_python(program, kind, broker.bootstrap_servers, topic, flags=["-Wdefault::ResourceWarning"])
        out, err = finish(process, 25)
    assert process.returncode in (status if isinstance(status, tuple) else (status,)), err
    assert watch.seconds < 15
    assert "Fatal Python error" not in err and "Segmentation" not in err
    if callbacks is not None:
        assert out == "." * callbacks, err
    assert (word in err) if word else err == ""


SEVERAL = START + """
kept = [make(**{"message.timeout.ms": 300000}) for _ in range(3)]
for producer in kept: send(producer, 5)
kept.append(KafkaAsyncProducer({"bootstrap.servers": sys.argv[3], **quiet}, EventsPollingOption[kind]))
send(kept[-1], 5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_all_producers_left_open_have_ten_seconds_together(broker, kind):
    # Three without a broker, made first; the fourth delivers nevertheless.
    with Stopwatch() as watch:
        out = run_python(SEVERAL, kind, NOWHERE, broker.bootstrap_servers, timeout=40)
    assert sorted(out) == ["."] * 5 + ["x"] * 15
    assert watch.seconds < 18


HANDLER = START + """
# Nothing of Python runs in a callback while the call waits: in one of its callbacks close() raises.
quiet = {"log_level": 0, "error_cb": [].append}
producer = make(**{"linger.ms": 60000})
send(producer, 10)

def stop(*args):
    producer.close(0.5)
    os.write(1, b"closed ")

signal.signal(signal.SIGTERM, stop)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    CALL
except RuntimeError as exc:
    assert "closed" in str(exc), exc
producer.close()
"""
CALLS = {
    "close": ("Auto", "producer.close()"),
    "close, Manual": ("Manual", "producer.close()"),
    "flush": ("Auto", "producer.flush()"),
    "flush, Manual": ("Manual", "producer.flush()"),
    "poll_events": ("Manual", "producer.poll_events(20)"),
    "fetch_broker_metadata": ("Auto", "producer.fetch_broker_metadata(topic, 20)"),
    "Batch.wait": ("Auto", "producer.send_batch(topic, [b'v']).wait(20)"),
}


@pytest.mark.parametrize("call", CALLS)
def test_close_in_a_signal_handler_whatever_it_interrupts(call):
    # No broker: the call still waits when the signal comes, and close(0.5) in its handler purges.
    kind, code = CALLS[call]
    with Stopwatch() as watch:
        out = run_python(HANDLER.replace("CALL", code), kind, NOWHERE, "t", timeout=25)
    assert "closed" in out and out.count("x") == 10
    assert watch.seconds < 15


STORM = START + """
handled = []
signal.signal(signal.SIGALRM, lambda *args: handled.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
producer = make(**{"queue.buffering.max.messages": 50})
for _ in range(30):
    send(producer, 20)
    producer.flush()
    producer.fetch_broker_metadata(topic)
producer.close()
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(handled) > 3)
"""


def test_a_storm_of_signals_changes_nothing(broker, topic):
    assert run_python(STORM, "Auto", broker.bootstrap_servers, topic, timeout=40) == "." * 600 + "True\n"


INTERRUPTS = START + """
armed = False

def handler(*args):
    global armed
    if armed:       # but once in each "try", and not on the way to the next one
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, handler)

def interrupt():
    while not stop.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)

hits = 0
for _ in range(8):
    stop = threading.Event()
    producer = make(**{"linger.ms": 5})
    thread = threading.Thread(target=interrupt)
    thread.start()
    for _ in range(100):
        try:
            try:
                armed = True
                producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
                producer.flush(0.01)
            finally:
                armed = False
        except KeyboardInterrupt:
            hits += 1
        except KafkaException:
            pass
    for _ in range(50):
        try:
            armed = True
            producer.close()
            armed = False
            break
        except KeyboardInterrupt:
            hits += 1
    stop.set()
    thread.join()
    producer.close()
    assert producer._ledger()["outstanding"] == 0 and producer._ledger()["states"] == 0
assert hits > 20, hits
print("whole")
"""


def test_interrupts_in_close_leave_a_producer_that_can_be_closed(broker, topic):
    assert run_python(INTERRUPTS, "Auto", broker.bootstrap_servers, topic, timeout=60).endswith("whole\n")


FORKS = START + STARTED + """
import warnings
warnings.simplefilter("ignore")
producer = make(**{"linger.ms": 0})
started(producer, topic)
stop = threading.Event()
sent = []

def load():
    while not stop.is_set():
        producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: sent.append(error))
        if len(producer) > 500:
            time.sleep(0.001)

threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads: thread.start()
statuses = []
for number in range(int(os.environ["FORKS"])):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                producer.flush(1)
            except RuntimeError:
                status = 0
            if number % 5 == 0:
                with make() as own:
                    own.send(ProducerRecord(topic, 1, value=b"child"))
            del producer
            gc.collect()
        finally:
            os._exit(status)
    end = time.monotonic() + 10
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > end:
            break
        time.sleep(0.001)
    if not done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        status = "hangs"
    statuses.append(status)
stop.set()
for thread in threads: thread.join()
producer.close()
print(set(statuses), set(sent), len(sent) > 0)
"""


def test_forks_under_load(broker, topic, faults):
    os.environ["FORKS"] = str(faults.rounds(20, 1000))
    assert run_python(FORKS, "Auto", broker.bootstrap_servers, topic, timeout=faults.rounds(60, 900)) == "{0} {None} True\n"


PROCESSES = """
import multiprocessing, os, sys

def work(kind, bootstrap, topic):
    from kafkapp import KafkaAsyncProducer, EventsPollingOption, ProducerRecord
    outcomes = []
    with KafkaAsyncProducer({"bootstrap.servers": bootstrap}, EventsPollingOption[kind]) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: outcomes.append(error))
    return outcomes == [None]

if __name__ == "__main__":
    method, kind, bootstrap, topic = sys.argv[1:]
    if method == "fork":
        assert work(kind, bootstrap, topic)         # the parent has used librdkafka already
    with multiprocessing.get_context(method).Pool(2) as pool:
        print(pool.starmap(work, [(kind, bootstrap, topic)] * 4))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(broker, topic, tmp_path, method):
    import sys

    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    result = subprocess.run([sys.executable, script, method, "Auto", broker.bootstrap_servers, topic], timeout=60,
                            capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "[True, True, True, True]\n"), result.stderr


def test_control_an_exit_that_hangs_is_a_failure():
    process = start_python("import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(AssertionError, match="still running"):
        finish(process, 0.5)
    assert time.monotonic() - start < 5


def test_control_callbacks_that_did_not_run_are_missed(broker, topic):
    # os._exit leaves no time for them: what the exit matrix counts is not there of itself.
    program = f"{START}\nproducer = make(**{{'linger.ms': 1000}})\nsend(producer, 100)\nos._exit(0)\n"
    assert len(run_python(program, "Auto", broker.bootstrap_servers, topic)) < 100


def test_control_a_child_that_does_not_notice_the_fork_is_a_failure(broker, topic, monkeypatch):
    monkeypatch.setenv("FORKS", "1")
    program = FORKS.replace("producer.flush(1)", "producer.name")       # which answers in the child too
    assert run_python(program, "Auto", broker.bootstrap_servers, topic, timeout=60) == "{256} {None} True\n"
