"""`kafkapp produce`: JSON on every way out, the cause of failures while it waits and in the summary, --tee and --dry-run."""
import io
import json
import os
import select
import signal
import socket
import sys

import pytest
from command_line import BOUND, Terminal, finish, mock_cluster, new_topic, run, start, until, values, write_and_see_read

from kafkapp import Error, ErrorCode, ProducerRecord
from kafkapp.cli import streams
from kafkapp.cli.causes import Causes
from kafkapp.cli.input import Job
from kafkapp.cli.session import run_session


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\n")
    return path


@pytest.fixture
def nobody():
    """An address that refuses connections: bound, and not listened at, so that no other program gets the port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{one.getsockname()[1]}"


# -- JSON on every way out ---------------------------------------------------------------------------------------------

KEYS = {"records", "delivered", "failed", "unreported", "bytes", "seconds", "records_per_second", "bytes_per_second", "partitions", "failures", "first_failures",
        "interrupted", "error", "cause", "embedded", "rejects", "dry_run"}


@pytest.mark.parametrize("arguments, error", [
    (("--unknown",), "No such option"), (("-p", "x"), "is not a valid integer"), (("-X", "nothing"), "expected key=value"), (("-t",), "requires an argument"),
    (("-F", "/missing"), "No such file"), (("--sync", "--manual"), "exclude each other"), (("-X", "lingre.ms=5"), "did you mean linger.ms?"), (("/missing",), "/missing: No such file"),
    (("--rejects", "/missing/file"), "No such file"), (("-b", ""), "must not be empty"), (("--key-field", "a", "-f", "csv", "-k", "b"), "exclude each other"),
    ((), "no broker reachable at")], ids=str)
def test_errors_before_anything_is_sent(file, nobody, arguments, error):
    result = run("produce", "--json", "-b", nobody, "-t", "t", "--timeout", "0.2", file, *arguments)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and result.stderr.startswith("kafkapp")
    said = json.loads(result.stdout)
    assert error in said["error"] and said["error"] in result.stderr
    assert set(said) == KEYS and (said["records"], said["interrupted"]) == (0, False)


def test_no_brokers_and_no_topic(file, monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert "no brokers" in json.loads(run("produce", file, "--json").stdout)["error"]
    assert "no topic" in json.loads(run("produce", file, "--json", "-b", "127.0.0.1:1").stdout)["error"]


def test_without_it_errors_leave_standard_output_alone(file):
    for arguments in (["--unknown"], ["-b", "127.0.0.1:1"], ["--", "--json"]):
        assert run("produce", file, *arguments).stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_no_broker_answers(file, nobody, number):
    process = start("produce", "--json", "-b", nobody, "-t", "t", "--timeout", "60", file)
    assert b"Connection refused" in process.stderr.readline()      # so it waits
    process.send_signal(number)
    status, out, err = finish(process)
    assert status == 128 + number
    said = json.loads(out)
    assert set(said) == KEYS and (said["interrupted"], said["records"], said["error"]) == (True, 0, None)


def test_a_file_that_cannot_be_read_to_its_end(broker, tmp_path):
    path = tmp_path / "lines.gz"
    path.write_bytes(b"no gzip")
    result = run("produce", "--json", "-b", broker.bootstrap_servers, "-t", new_topic(), path)
    assert result.returncode == 2 and "cannot be decompressed" in json.loads(result.stdout)["error"]


# -- causes ------------------------------------------------------------------------------------------------------------

def test_the_cause_is_said_while_no_broker_answers(file, nobody):
    process = start("produce", "-b", nobody, "-t", "t", "--timeout", "60", file)
    assert select.select([process.stderr], [], [], BOUND)[0]
    assert process.stderr.readline().decode() == f"waiting: {nobody}/bootstrap: Connect to ipv4#{nobody} failed: Connection refused\n"
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130


def test_the_cause_is_said_once_the_brokers_have_gone_and_in_the_summary():
    with mock_cluster() as servers:
        process = start("produce", "-b", servers, "-t", "t", "--json", "-X", "message.timeout.ms=6000", "-X", "reconnect.backoff.max.ms=200")
        write_and_see_read(process, b"a\n")
        until(lambda: values(servers, "t"))
    process.stdin.write(b"b\n")
    process.stdin.flush()
    line = process.stderr.readline().decode()
    assert line.startswith("waiting: ") and ("refused" in line or "Disconnected" in line or "Connection reset" in line), line
    process.stdin.close()
    process.stdin = None
    status, out, err = finish(process)
    said = json.loads(out)
    assert (status, said["delivered"], said["failures"]) == (1, 1, {"RD_KAFKA_RESP_ERR__MSG_TIMED_OUT": 1})
    assert "Connection refused" in said["cause"]


def test_nothing_is_said_while_all_goes_well_or_nobody_waits(broker, capfd):
    causes, count = Causes({}), [0]
    causes.on_error(Error(ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, "broker/1: Disconnected (after 5ms in state UP)"))
    checks = []

    class Tick:
        """Instead of an event: the checks follow each other at once."""

        def wait(self, seconds):
            checks.append(seconds)
            count[0] += len(checks) < 4
            return len(checks) > 6

    causes._end = Tick()
    causes._watch(lambda: True, lambda: count[0])       # with outcomes, and then without, and without a new error
    assert capfd.readouterr().err == ""
    checks.clear()
    causes.on_error(Error(ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, "broker/1: Disconnected (after 9ms in state UP)"))
    count[0] = 100
    causes._watch(lambda: False, lambda: 100)
    assert capfd.readouterr().err == ""


def test_what_is_delivered_just_before_the_error_does_not_hide_it(capfd):
    causes, checks, count = Causes({}), [], [0]

    class Tick:
        def wait(self, seconds):
            checks.append(1)
            if len(checks) == 1:        # within one second
                count[0] = 1
                causes.on_error(Error(ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, "broker/1: Disconnected"))
            return len(checks) > 3

    causes._end = Tick()
    causes._watch(lambda: True, lambda: count[0])
    assert capfd.readouterr().err == "waiting: broker/1: Disconnected\n"


def test_the_same_cause_is_said_once_and_no_secret(capfd):
    causes, checks = Causes({"sasl.password": "secret-word"}), []

    class Tick:
        def wait(self, seconds):
            checks.append(1)
            causes.on_error(Error(ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, f"b: 'secret-word' failed (after {len(checks)}ms in state CONNECT)"))
            return len(checks) > 5

    causes._end = Tick()
    causes._watch(lambda: True, lambda: 0)
    assert capfd.readouterr().err == "waiting: b: '*' failed\n"
    assert causes.of(["RD_KAFKA_RESP_ERR__MSG_TIMED_OUT"]) == "b: '*' failed"
    assert causes.of(["RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE", "INVALID_LINE"]) is None


def test_the_cause_stands_above_a_progress_bar(file, nobody):
    with Terminal("produce", "-b", nobody, "-t", "t", "--timeout", "60", file) as terminal:
        terminal.expect("waiting: .*Connection refused")
        terminal.type("\x03")
        assert terminal.wait() == 130


# -- tee and dry run ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",), ("-f", "json")], ids=str)
def test_tee_copies_what_is_sent(broker, mode):
    topic, data = new_topic(), b'{"a":1}\n\n{"b":"\xc3\xa9"}\n' if mode == ("-f", "json") else b"one\n\nthree \xff\n"
    process = start("produce", "-b", broker.bootstrap_servers, "-t", topic, "-T", *mode)
    out, err = process.communicate(data, timeout=BOUND)
    assert process.returncode == 0
    assert out == (data.replace(b"\n\n", b"\n") if mode == ("-f", "json") else data)
    assert b" delivered, 0 failed" in err


def test_tee_leaves_out_lines_that_make_no_record(broker):
    result = run("produce", "-b", broker.bootstrap_servers, "-t", new_topic(), "-T", "-f", "json", stdin=b'{"a":1}\nbroken\n{"b":2}')
    assert (result.returncode, result.stdout) == (1, '{"a":1}\n{"b":2}\n')


def test_tee_ends_each_typed_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"first\nsecond\n\n")))
    copied = []
    run_session(Job(lambda *_: None, ProducerRecord("t"), print, print, int, tee=copied.append), int, True)
    assert b"".join(copied) == b"first\nsecond\n"


def test_tee_with_json(broker):
    result = run("produce", "-b", broker.bootstrap_servers, "-t", new_topic(), "--tee", "--json", stdin=b"a\n")
    assert result.stdout == "a\n" and json.loads(result.stderr)["delivered"] == 1


def test_a_dry_run_asks_nobody_and_says_what_it_would_send(file, nobody):
    arguments = ("produce", "-b", nobody, "-t", "t", "-H", "h=1", "-k", "k", "--dry-run")
    result = run(*arguments, file)
    assert result.returncode == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"topic": "t", "headers": [["h", "1"]], "key": "k", "value": value} for value in ("one", "two")]
    assert result.stderr == "2 would be sent, 0 failed: 8 bytes\n  t: 2 records, 8 bytes\n"
    result = run(*arguments, "--json", "-p", "3", "-Z", stdin=b"\n\xff\n")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"topic": "t", "partition": 3, "headers": [["h", "1"]], "key": "k", "value": None},
        {"topic": "t", "partition": 3, "headers": [["h", "1"]], "key": "k", "value_base64": "/w=="}]
    said = json.loads(result.stderr)
    assert (said["records"], said["delivered"], said["dry_run"]) == (2, 0, True)


def test_a_dry_run_needs_no_brokers_and_names_lines_that_are_no_records(tmp_path, monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    path = tmp_path / "rows"
    path.write_bytes(b'{"id":1}\nbroken\n')
    result = run("produce", "-t", "t", "--key-field", "id", "--dry-run", path, "--rejects", tmp_path / "rejects")
    assert result.returncode == 1 and f"  {path}:2: not JSON" in result.stderr
    assert (tmp_path / "rejects").read_bytes() == b"broken\n"
    assert "no topic" in run("produce", "--dry-run", path).stderr
    assert run("produce", "--dry-run", "--embedded", path).stdout.startswith('{"topic": "rows", ')


def test_a_dry_run_of_a_pipe_is_live():
    process = start("produce", "-t", "t", "--dry-run")
    process.stdin.write(b"early\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["value"] == "early"
    assert finish(process)[0] == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_tee_to_a_full_disk_sends_all_and_says_so(broker, file):
    topic = new_topic()
    with open("/dev/full", "wb") as full:
        process = start("produce", "-b", broker.bootstrap_servers, "-t", topic, "-T", file, stdout=full)
        _, err = process.communicate(timeout=BOUND)
    assert process.returncode == 2 and err.endswith(b"kafkapp: standard output: No space left on device\n")
    assert sorted(r.value for r in broker.records(topic)) == [b"one", b"two"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_what_cannot_be_written_is_not_kept(monkeypatch):
    monkeypatch.setattr(streams, "lost", {})
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        for _ in range(3):
            streams.say_bytes(b"x" * 1000)
            streams.say("x")
        [(stream, failure)] = streams.lost.items()
        monkeypatch.undo()
    assert stream == "standard output" and failure.__traceback__ is None    # whose frames hold the text
