"""Runs the command `kafkapp` in a process of its own, behind pipes or on a terminal.

What was sent is read back by another client. Every wait is bounded.
"""
import array
import fcntl
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from readback import read_messages

from kafkapp import ErrorCode

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "kafkapp"]
BOUND = 30  # seconds for anything
MODES = pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",)], ids=["async", "manual", "sync"])
ONE_BY_ONE = ("-p", "0", "-X", "batch.num.messages=1", "-X", "max.in.flight=1")  # a request for each record
REFUSED = ErrorCode.RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS


def environment(**more):
    return {**os.environ, "TERM": "xterm", "COLUMNS": "160", **more}


def start(*arguments, **options):
    """A running command with pipes at its three ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment(), **pipes)


def run(*arguments, stdin=b"", env=None, **options):
    """The outcome of a command: `.returncode`, and `.stdout` and `.stderr` as text."""
    result = subprocess.run([*COMMAND, *map(str, arguments)], env=environment(**(env or {})), capture_output=True,
                            timeout=BOUND, check=False, input=stdin, **options)
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    return result


def finish(process, within=BOUND):
    """The outcome of a command from start(), which has to come in time."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"still running after {within} s") from None
    return process.returncode, out.decode(), err.decode()


def without_logs(monkeypatch):
    """A command that runs in this process sets up the library's logger: for the test alone."""
    logger = logging.getLogger("kafkapp")
    for name, value in (("handlers", []), ("propagate", True), ("level", logging.NOTSET)):
        monkeypatch.setattr(logger, name, value)


def new_topic():
    return f"topic-{uuid.uuid4().hex[:12]}"


def until(condition, within=BOUND):
    """Wait until a condition on another process holds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def write_and_see_read(process, data):
    """Write into a command's standard input and wait until the command has read it all."""
    process.stdin.write(data)
    process.stdin.flush()
    waiting = array.array("i", [1])

    def empty():
        fcntl.ioctl(process.stdin, termios.FIONREAD, waiting)
        return waiting[0] == 0

    until(empty)


@contextmanager
def mock_cluster(*arguments):
    """Bootstrap servers of a `kafkapp mock-cluster` process; its end by SIGTERM is checked."""
    process = start("mock-cluster", *arguments)
    try:
        assert select.select([process.stdout], [], [], BOUND)[0], "no line with bootstrap servers"
        yield process.stdout.readline().decode().rstrip("\n")
    finally:
        process.send_signal(signal.SIGTERM)
        status, out, err = finish(process)
    assert (status, out, err) == (0, "", "")


def values(servers, topic):
    return [message.value() for message in read_messages(servers, topic)]


def take_terminal():
    """In the child: Ctrl-C on the terminal at descriptor 0 is for this process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command that has a terminal for its three ends."""

    def __init__(self, *arguments, stdout=None, env=None):
        ours, theirs = pty.openpty()
        self.fd, self.text = ours, ""
        self._seen = 0
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], env=environment(**(env or {})), stdin=theirs, stderr=theirs,
            stdout=theirs if stdout is None else stdout, start_new_session=True,
            preexec_fn=take_terminal)  # noqa: PLW1509 - the tests have no threads that hold locks here
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Wait until the pattern shows up behind what was expected last; give the match."""
        end = time.monotonic() + BOUND
        while not (match := re.compile(pattern).search(self.text, self._seen)):
            assert time.monotonic() < end and self._read(end), f"{pattern!r} not in {self.text[self._seen:]!r}"
        self._seen = match.end()
        return match

    def wait(self, within=BOUND):
        """The exit status, once all output is read."""
        end = time.monotonic() + within
        while self._read(end):
            pass
        return self.process.wait(timeout=max(0.1, end - time.monotonic()))

    def _read(self, end):
        if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)
