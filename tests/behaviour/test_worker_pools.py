"""Processes of multiprocessing deliver what was sent, without flush and close: a forked one ends without `atexit`."""
import subprocess
import sys

import pytest
from helpers import consume

PROGRAM = """
import multiprocessing, os, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
how, method, imported, bootstrap, topic = sys.argv[1:]
if imported == "before":
    import kafkapp

def start(*given):
    global producer, topic
    from kafkapp import KafkaAsyncProducer
    bootstrap, topic = given
    producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap, "linger.ms": 60000})     # only a flush or a close sends

def send(number):
    from kafkapp import ProducerRecord
    producer.send(ProducerRecord(topic, value=b"%d" % number))

def work(*given):
    start(*given)
    for number in range(1000):
        send(number)

def threaded(*given):
    def late():
        time.sleep(1)           # the target has returned
        for number in range(1000):
            send(number)

    start(*given)
    threading.Thread(target=late).start()

def nested(*given):
    child = multiprocessing.get_context("fork").Process(target=work, args=given)
    child.start()
    child.join()

if __name__ == "__main__":
    context, given = multiprocessing.get_context(method), (bootstrap, topic)
    if how == "Pool":
        with context.Pool(2, start, given) as pool:
            pool.map(send, range(1000))
            pool.close()
            pool.join()
    elif how == "ProcessPoolExecutor":
        with ProcessPoolExecutor(2, context, start, given) as pool:
            list(pool.map(send, range(1000), chunksize=100))
    else:
        process = context.Process(target=globals()[how] if how in ("nested", "threaded") else work, args=given)
        process.start()
        process.join()
        sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("how, method, imported", [
    *((how, method, "before") for how in ("Pool", "ProcessPoolExecutor", "Process") for method in ("fork", "spawn", "forkserver")),
    ("Pool", "fork", "in the worker"), ("nested", "fork", "before"),
    *(("threaded", method, "before") for method in ("fork", "spawn"))])
def test_what_a_worker_has_sent_is_delivered(broker, topic, tmp_path, how, method, imported):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, program, how, method, imported, broker.bootstrap_servers, topic], capture_output=True, text=True,
                          timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(int(message.value()) for message in consume(broker, topic, 1000)) == list(range(1000))
