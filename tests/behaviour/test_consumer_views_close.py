"""A consumer ends although views of its memory live: in time, without a connection, a warning or a log line; the bytes stay."""
import contextlib
import inspect
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from helpers import LIBRDKAFKA, ROOT, properties, run_python, shared_library, thread_names
from proxy import Front

import kafkapp
from kafkapp import KafkaSyncProducer

PROGRAM = inspect.getsource(thread_names) + """
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
    return [each for each in thread_names().values() if each.startswith(name)]

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


# -- Arrow arrays at the end of the process ----------------------------------------------------------------------------

LATE = """
import atexit, ctypes, sys, threading, time
order, library, bootstrap, topic, state, tls = sys.argv[1:]
c = ctypes.CDLL(library)
if order == "exit handler, the last":
    c.release_at_exit()     # before OpenSSL has registered its own, which runs earlier then
if order == "atexit, after kafkapp's":
    atexit.register(lambda: held.clear())
from kafkapp import KafkaConsumer
import pyarrow

consumer = KafkaConsumer({"bootstrap.servers": bootstrap} | ({"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"} if tls else {}))
consumer.assign({(topic, 0): 0})
batch = consumer.poll(20)
held = [pyarrow.record_batch(batch)]
assert held[0]["value"].to_pylist()[0] == b"x" * 4096 and consumer.pinned_bytes > 0
if order.startswith(("exit handler", "native thread")):
    schema, array = batch.__arrow_c_array__()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    c.hold(ctypes.c_void_p(get(array, b"arrow_array")))
    held.clear()
    del batch
    assert consumer.pinned_bytes > 0
if order == "exit handler, the first":
    c.release_at_exit()
if order == "native thread":
    c.release_in_thread(int(state == "closed") * 100_000)
if order == "atexit, before kafkapp's":
    atexit.register(lambda: held.clear())
if order == "capsules":
    held[:] = batch.__arrow_c_array__()
if order == "daemon threads":
    def spin():
        while True:
            again = pyarrow.record_batch(batch)
            del again
    for _ in range(4):
        threading.Thread(target=spin, daemon=True).start()
if order == "cycle":
    class Cycle: pass
    cycle = Cycle()
    cycle.me, cycle.held = cycle, held
if state == "closed":
    consumer.close()
if order not in ("global", "daemon threads", "capsules"):
    batch = None
print("good", flush=True)
"""
ORDERS = ["global", "cycle", "capsules", "atexit, before kafkapp's", "atexit, after kafkapp's", "daemon threads", "native thread", "exit handler, the first", "exit handler, the last"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return shared_library(ROOT / "tests" / "native" / "late_release.c", tmp_path_factory.mktemp("native") / "late_release.so")


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in source, target:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def encrypted(broker, tmp_path_factory):
    """The address of the embedded cluster behind TLS: before a proxy that puts this address into its answers."""
    names = [tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "certificate.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", names[0], "-out", names[1], "-days", "1", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(names[1], names[0])

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError):
                    ends = context.wrap_socket(connection, server_side=True), socket.create_connection(("127.0.0.1", proxy.port))
                    for pair in ends, ends[::-1]:
                        threading.Thread(target=pump, args=pair, daemon=True).start()

    with Front(broker.bootstrap_servers) as front, socket.create_server(("127.0.0.1", 0)) as listener:
        proxy, = front
        proxy.renamed = {proxy.target: listener.getsockname()[1]}
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("tls", ["", "tls"], ids=["plain", "tls"])
@pytest.mark.parametrize("state", ["open", "closed"])
@pytest.mark.parametrize("order", ORDERS)
def test_arrow_arrays_may_be_released_at_the_end_of_the_process(request, broker, filled, library, order, state, tls):
    """By whom and when ever: the callback needs no interpreter and no open client, nor what OpenSSL has freed by then."""
    if tls and ("ssl" not in kafkapp.librdkafka_features() or not shutil.which("openssl")):
        pytest.skip("needs a librdkafka with TLS, and the openssl command, to make a certificate")
    servers = request.getfixturevalue("encrypted") if tls else broker.bootstrap_servers
    done = subprocess.run([sys.executable, "-c", LATE, order, library, servers, filled, state, tls], timeout=60, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if line != "released" and "never closed" not in line]
    assert (done.returncode, done.stdout, said) == (0, "good\n", []), done.stderr
    assert not order.startswith("exit handler") or "released" in done.stderr
