"""`kafkapp produce`: summary, JSON, failures by code, exit status, and the effects of Ctrl-C."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from command_line import (
    COMMAND,
    MODES,
    ONE_BY_ONE,
    REFUSED,
    environment,
    finish,
    new_topic,
    run,
    start,
    until,
    values,
    write_and_see_read,
)

from kafkapp import ErrorCode
from kafkapp.testing import ApiKey

INVALID = ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD


@pytest.fixture
def topic():
    return new_topic()


@pytest.fixture
def to(cluster, topic):
    """The arguments that lead to the topic."""
    return ("produce", "-b", cluster.bootstrap_servers, "-t", topic)


def push_errors(cluster, topic, to, *codes):
    """Let the next produce requests fail; the topic exists already, so that no other request is hit."""
    cluster.create_topic(topic)
    cluster.push_request_errors(ApiKey.Produce, *codes)


def test_the_summary_says_what_went_where_and_how_fast(cluster, topic, to):
    cluster.create_topic(topic, 2)
    assert run(*to, "-p", "0", stdin=b"12345\n" * 1000).returncode == 0
    result = run(*to, "-p", "1", "-K", "=", stdin=b"k=1\nkey=22\n")
    assert (result.returncode, result.stderr) == (0, "")
    head, row = result.stdout.splitlines()
    assert re.fullmatch(r"2 delivered, 0 failed: 7 bytes in \d+\.\d\d s, [\d,]+ records/s, \d+\.\d\d MB/s", head)
    assert row == f"  {topic}-1: 2 records, 7 bytes"


def test_json_for_a_machine(cluster, topic, to):
    began = time.monotonic()
    result = run(*to, "-K", "=", "--json", stdin=b"k=value\n" * 3)
    assert (result.returncode, result.stderr) == (0, "")
    summary = json.loads(result.stdout)
    assert 0 < summary["seconds"] < time.monotonic() - began
    assert summary.pop("records_per_second") == pytest.approx(3 / summary["seconds"], rel=0.01)
    assert summary.pop("bytes_per_second") == pytest.approx(18 / summary.pop("seconds"), rel=0.01)
    (place,) = summary.pop("partitions")
    assert place.pop("partition") in range(4)
    assert place == {"topic": topic, "records": 3, "bytes": 18}
    assert summary == {"records": 3, "delivered": 3, "failed": 0, "unreported": 0, "bytes": 18, "failures": {},
                    "first_failures": [], "interrupted": False, "error": None, "embedded": False, "cause": None, "rejects": None, "dry_run": False}


@MODES
def test_failures_are_counted_by_code_and_shown_with_their_line(cluster, topic, to, tmp_path, mode):
    push_errors(cluster, topic, to, REFUSED, INVALID, REFUSED)
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\nc\nd\ne\n")
    result = run(*to, *ONE_BY_ONE, *mode, path)
    assert result.returncode == 1
    assert result.stdout.startswith("2 delivered, 3 failed: 2 bytes in ")
    assert f"2 x {REFUSED.name}\n1 x {INVALID.name}\n" in result.stderr
    assert re.findall(rf"^  {path}:(\d+): Broker: ", result.stderr, re.MULTILINE) == ["1", "2", "3"]
    assert values(cluster.bootstrap_servers, topic) == [b"d", b"e"]


def test_failures_in_json(cluster, topic, to):
    push_errors(cluster, topic, to, INVALID, REFUSED)
    result = run(*to, *ONE_BY_ONE, "--json", stdin=b"a\nb\nc\n")
    summary = json.loads(result.stdout)
    assert (result.returncode, summary["records"], summary["delivered"], summary["failed"]) == (1, 3, 1, 2)
    assert summary["failures"] == {REFUSED.name: 1, INVALID.name: 1}
    assert [(failure["file"], failure["line"], failure["code"]) for failure in summary["first_failures"]] == [
        ("standard input", 1, INVALID.name), ("standard input", 2, REFUSED.name)]
    assert all(failure["message"] for failure in summary["first_failures"])


def test_only_the_first_failures_are_shown(cluster, topic, to):
    push_errors(cluster, topic, to, *[REFUSED] * 25)
    result = run(*to, *ONE_BY_ONE, stdin=b"a\n" * 30)
    assert f"25 x {REFUSED.name}\n" in result.stderr
    assert re.findall(r"^  standard input:(\d+): ", result.stderr, re.MULTILINE) == [str(n) for n in range(1, 11)]
    assert "... and 15 more" in result.stderr


@MODES
def test_a_line_too_large_fails_alone(cluster, topic, to, mode):
    result = run(*to, "-p", "0", *mode, "-X", "message.max.bytes=1000", stdin=b"a\n" + b"x" * 2000 + b"\nb\n")
    assert result.returncode == 1
    assert "2 delivered, 1 failed" in result.stdout
    assert "1 x RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE\n  standard input:2: " in result.stderr
    assert values(cluster.bootstrap_servers, topic) == [b"a", b"b"]


@MODES
def test_a_partition_that_is_not_there(to, mode):
    result = run(*to, *mode, "-p", "77", stdin=b"a\nb\n")
    assert result.returncode == 1
    assert "0 delivered, 2 failed" in result.stdout
    assert "2 x RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION" in result.stderr


@MODES
def test_a_fatal_error_ends_it(cluster, topic, to, mode):
    cluster.push_request_errors(ApiKey.InitProducerId, ErrorCode.RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
    process = start(*to, *mode, "-p", "0", "-X", "enable.idempotence=true")

    def ended():
        try:
            process.stdin.write(b"line\n")
            process.stdin.flush()
        except BrokenPipeError:
            return True
        return False

    until(ended)  # although its input would go on forever
    status, out, err = finish(process)
    assert status == 1
    assert re.match(r"0 delivered, [1-9]\d* failed", out)
    assert re.search(r"^kafkapp: stopped: .*Cluster authorization failed$", err, re.MULTILINE)


def stopped(process, number=signal.SIGINT):
    process.send_signal(number)
    begin = time.monotonic()
    outcome = finish(process, within=5)
    assert time.monotonic() - begin < 2
    return outcome


@MODES
def test_ctrl_c_while_a_pipe_is_silent(cluster, topic, to, mode):
    process = start(*to, "-p", "0", *mode)
    write_and_see_read(process, b"a\nb\nunfinished")
    until(lambda: values(cluster.bootstrap_servers, topic) == [b"a", b"b"])
    status, out, err = stopped(process)
    assert (status, out.split(":")[0]) == (130, "2 delivered, 0 failed")
    assert "interrupted" in err and "Traceback" not in err
    assert values(cluster.bootstrap_servers, topic) == [b"a", b"b"]


@MODES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_nothing_can_be_delivered(cluster, topic, to, mode, number):
    cluster.create_topic(topic, 1)
    cluster.set_leader(topic, 0, None)
    process = start(*to, *mode, "--json")
    write_and_see_read(process, b"a\nb\nc\n")
    status, out, err = stopped(process, number)
    summary = json.loads(out)
    assert (status, summary["delivered"], summary["interrupted"]) == (128 + number, 0, True)
    if mode == ("--sync",):  # it waited for the first one, whose outcome nobody can know
        assert (summary["unreported"], summary["failed"]) == (1, 1)
    else:
        assert (summary["records"], summary["failures"]) == (3, {"RD_KAFKA_RESP_ERR__PURGE_QUEUE": 3})
    assert "Traceback" not in err


@MODES
def test_ctrl_c_while_the_queue_is_full(cluster, topic, to, mode, tmp_path):
    cluster.create_topic(topic, 1)
    cluster.set_leader(topic, 0, None)
    path = tmp_path / "file"
    path.write_bytes(b"line\n" * 5000)
    os.mkfifo(tmp_path / "fifo")
    process = start(*to, *mode, "--json", "-X", "queue.buffering.max.messages=100", tmp_path / "fifo", path)
    with open(tmp_path / "fifo", "wb") as fifo:  # opened by both: it is about to send
        fifo.write(b"first\n")
    time.sleep(0.5)  # whatever it is doing by then, the outcome has to be the same
    status, out, _ = stopped(process)
    summary = json.loads(out)
    assert (status, summary["delivered"]) == (130, 0)
    assert summary["records"] == (1 if mode == ("--sync",) else 100)


def test_ctrl_c_in_the_middle_counts_what_the_broker_has(cluster, topic, to):
    process = start(*to, "-p", "0", "--json")
    process.stdin.write(b"line\n" * 100_000)
    process.stdin.flush()
    status, out, _ = stopped(process)
    summary = json.loads(out)
    assert (status, summary["failed"]) == (130, 0)
    assert 0 < summary["delivered"] == len(values(cluster.bootstrap_servers, topic))


def test_a_reader_that_went_away_is_no_traceback(to):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen([*COMMAND, *to], env=environment(), stdin=subprocess.PIPE, stdout=writing,
                               stderr=subprocess.PIPE)
    os.close(writing)
    process.stdin.write(b"a\n")
    process.stdin.close()
    process.stdin = None
    process.wait(30)
    with process.stderr as err:
        assert (process.returncode, err.read()) == (128 + signal.SIGPIPE, b"")
