"""`kafkapp produce --count`, `--rate` and `--fail-fast`: how many records, how fast, and where it ends."""
import json
import time

import pytest
from command_line import MODES, ONE_BY_ONE, REFUSED, finish, run, start, until, write_and_see_read

import kafkapp.cli.limits
from kafkapp.cli.limits import Limits
from kafkapp.testing import ApiKey



@pytest.fixture
def to(cluster, topic):
    return ("produce", "-b", cluster.bootstrap_servers, "-t", topic, "-p", "0")


@MODES
@pytest.mark.parametrize("how", [(), ("--rejects", "rejects"), ("-T",)], ids=str)
def test_count_goes_over_all_files(cluster, topic, to, tmp_path, mode, how):
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    for path, text in ((one, b"1\n2\n"), (two, b"3\n4\n5\n"), (three, b"6\n")):
        path.write_bytes(text)
    result = run(*to, *mode, *how, "-c", "4", one, two, three, cwd=tmp_path)
    assert result.returncode == 0
    assert [r.value for r in cluster.records(topic)] == [b"1", b"2", b"3", b"4"]
    if how == ("-T",):
        assert result.stdout == "1\n2\n3\n4\n" and "4 delivered" in result.stderr


def test_count_ends_a_pipe_that_goes_on(cluster, topic, to):
    process = start(*to, "-c", "2")
    write_and_see_read(process, b"a\nb\nc\n")
    assert process.wait(30) == 0
    finish(process)
    assert [r.value for r in cluster.records(topic)] == [b"a", b"b"]


def test_count_is_of_records_and_not_of_lines(cluster, topic, to):
    result = run(*to, "-f", "csv", "-c", "2", stdin=b'id\n\n"1\n1"\nx,y\n2\n3\n')
    assert result.returncode == 1 and "2 delivered, 1 failed" in result.stdout
    assert [json.loads(r.value)["id"] for r in cluster.records(topic)] == ["1\n1", "2"]


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(kafkapp.cli.limits, "time", self)

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("rate", [0.5, 3, 1000, 12345.6])
def test_no_more_than_the_rate_at_any_time(monkeypatch, rate):
    clock = Clock(monkeypatch)
    limits, sent = Limits(rate=rate), 0
    while clock.now < 110:
        room = limits.room(16384)
        assert room >= 1
        limits.spend(room)
        sent += room
        assert sent <= 1 + rate * (clock.now - 100 + 0.1) + 1e-6
    assert sent >= rate * 10 - 1


def test_a_pause_is_not_caught_up_with(monkeypatch):
    clock = Clock(monkeypatch)
    limits = Limits(rate=100)
    limits.room()
    limits.spend(1)
    clock.now += 3600
    assert limits.room(16384) <= 12


@MODES
def test_a_rate_takes_its_time(cluster, topic, to, mode):
    began = time.monotonic()
    result = run(*to, *mode, "--rate", "50", stdin=b"x\n" * 60)
    assert time.monotonic() - began > 1        # 59 of them had to wait, 5 of those not long
    assert result.returncode == 0 and len(cluster.records(topic)) == 60


@MODES
@pytest.mark.parametrize("how", [(), ("-k", "k", "-K", ":")], ids=["lines", "format"])
def test_fail_fast_ends_at_the_first_failure(cluster, topic, to, mode, how):
    cluster.push_request_errors(ApiKey.Produce, REFUSED)
    process = start(*to, *ONE_BY_ONE, *mode, *how, "--fail-fast")
    fed = []

    def ended():
        try:
            process.stdin.write(b"%d\n" % len(fed))
            process.stdin.flush()
        except BrokenPipeError:
            return True
        fed.append(1)
        return False

    until(ended)        # although its input would go on forever
    status, out, err = finish(process)
    assert status == 1 and "1 failed" in out
    assert "kafkapp: stopped after a failure: the lines behind it are not sent\n" in err
    stored = [int(r.value) for r in cluster.records(topic)]
    assert stored == list(range(1, len(stored) + 1))        # what was on its way has arrived
    if mode == ("--sync",):
        assert stored == []


def test_fail_fast_at_a_line_that_is_no_record(cluster, topic, to):
    result = run(*to, "-f", "json", "--fail-fast", stdin=b'{"a":1}\nno\n{"a":2}\n')
    assert result.returncode == 1 and "1 delivered, 1 failed" in result.stdout
    assert [r.value for r in cluster.records(topic)] == [b'{"a":1}']


def test_without_it_the_others_are_sent(cluster, topic, to):
    result = run(*to, "-f", "json", stdin=b'{"a":1}\nno\n{"a":2}\n')
    assert result.returncode == 1 and "2 delivered, 1 failed" in result.stdout


@pytest.mark.parametrize("how", [(), ("-f", "json")], ids=str)
def test_the_end_does_not_wait_for_when_another_record_would_be_due(how):
    result = run("produce", "-t", "t", "--dry-run", "--rate", "0.001", *how, stdin=b"{}\n")
    assert result.returncode == 0 and "1 would be sent" in result.stderr
