"""Bad endpoints: names that do not resolve, servers that speak nonsense, retries that run out, a pause.

Faults F03, F16, F43, F47. Each has its control: the same call with a healthy broker.
"""
import os
import signal
import socket
import threading
import time

import pytest
from faultkit import Books, make
from helpers import Stopwatch, finish, start_python

from kafkapp import ErrorCode, PersistedStatus, ProducerRecord

NO_NAME = "x" * 64 + ".invalid:9092"        # no label may be as long: no resolver is asked


def outcome(bootstrap, kind, *more, **named):
    """(the books, seconds) of a few records that have a second to arrive."""
    books = Books()
    limits = {"message.timeout.ms": 1000, "socket.timeout.ms": 500}
    with Stopwatch() as watch, make(kind, bootstrap, limits, *more, **named) as producer:
        for _ in range(5):
            number = books.number()
            books.accept(number)
            producer.send(ProducerRecord("t", value=bytearray(b"v"), id=number), books.report)
        producer.flush(20)
    books.check()
    return books, watch.seconds


@pytest.fixture
def well(cluster):
    cluster.create_topic("t")
    return cluster.bootstrap_servers


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_name_that_does_not_resolve_ends_in_a_timeout(kind):
    said = []
    books, seconds = outcome(NO_NAME, kind, {"error_cb": said.append})
    assert set(books.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT} and seconds < 4
    assert ErrorCode.RD_KAFKA_RESP_ERR__RESOLVE in {error.code for error in said}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_one_bad_name_among_several_does_no_harm(well, kind):
    books, _ = outcome(f"{NO_NAME},{well}", kind, message_timeout_ms=9000)      # it may try that one first, and again
    assert set(books.codes) == {None}


NONSENSE = {
    "closes": b"",
    "a response of 2 GiB": b"\x7f\xff\xff\xff" + b"\0" * 50,
    "a negative size": b"\xff\xff\xff\xfe" + b"\0" * 50,
    "a response that nobody asked for": b"\0\0\0\x08\0\0\x30\x39\0\0\0\0",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "noise": None,
}


@pytest.fixture
def answer(request, faults):
    """The address of a server that answers each connection with the same bytes, and hangs up."""
    said, stop = NONSENSE[request.param], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def serve():
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                try:
                    connection.settimeout(0.2)
                    if said != b"":
                        connection.recv(4096)
                    connection.sendall(faults.random.randbytes(200) if said is None else said)
                except OSError:
                    pass        # the client was quicker

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize("answer", NONSENSE, indirect=True)
@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_server_that_speaks_nonsense(answer, faults, kind):
    for _ in range(faults.rounds(1, 5)):
        books, seconds = outcome(answer, kind, reconnect_backoff_ms=5, reconnect_backoff_max_ms=20)
        assert set(books.codes) == {ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT} and seconds < 4


def test_control_a_server_that_speaks_sense(well):
    assert set(outcome(well, "Auto")[0].codes) == {None}


@pytest.mark.parametrize("retries, error", [(1, "RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS"), (5, None)])
def test_retries_run_out_with_the_last_code(cluster, topic, faults, retries, error):
    # Three refusals: with one retry the record fails, and is known not to be in the log; the control, with five, arrives.
    reports = []
    with make("Auto", cluster, {"linger.ms": 0, "retries": retries, "retry.backoff.ms": 10}) as producer:
        for _ in range(faults.rounds(3, 100)):
            cluster.push_request_errors(0, *[ErrorCode.RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS] * 3)
            producer.send(ProducerRecord(topic, 0, value=b"v"), lambda metadata, error: reports.append((metadata, error)))
            producer.flush(10)
            cluster.clear_request_errors(0)
    assert len(reports) == faults.rounds(3, 100)
    assert {said and said.code.name for _, said in reports} == {error}
    assert {metadata.persisted_status for metadata, _ in reports} == {PersistedStatus.Not if error else PersistedStatus.Done}


STOPPED = """
import sys, threading, time
from kafkapp import *
outcomes, longest, last = [], 0, time.monotonic()
with KafkaAsyncProducer({"bootstrap.servers": sys.argv[1]}, EventsPollingOption[sys.argv[2]]) as producer:
    print("running", flush=True)
    while len(outcomes) < 200 or longest < 1:
        producer.send(ProducerRecord("t", value=bytearray(b"v")), lambda metadata, error: outcomes.append(error))
        if sys.argv[2] == "Manual": producer.poll_events()
        time.sleep(0.002)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
print(set(outcomes))
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_process_that_is_stopped_for_a_while_loses_nothing(well, kind):
    # The program ends when it has seen the pause.
    process = start_python(STOPPED, well, kind)
    assert process.stdout.readline() == "running\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGCONT)
    out, err = finish(process, 20)
    assert (process.returncode, out) == (0, "{None}\n"), err


def test_control_a_process_that_was_not_stopped_does_not_end(well):
    process = start_python(STOPPED, well, "Auto")
    with pytest.raises(AssertionError, match="still running"):
        finish(process, 2)
