"""Every way in which the command `kafkapp` ends: one line at most, a telling exit status, never a traceback.

What it writes to may be full, closed or gone; what it reads may be no text, no file, or end early; click may be missing.
"""
import errno
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from command_line import BOUND, COMMAND, ROOT, environment, finish, new_topic, start, until, values
from helpers import LIBRDKAFKA

STREAMS = {1: "standard output", 2: "standard error"}
EXTRA = "import sys; sys.modules[{!r}] = None; sys.argv = ['kafkapp', *{!r}]; import runpy; runpy.run_module('kafkapp', run_name='__main__')"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\n")
    return path


def ended(arguments, *, closed=(), full=(), gone=(), stdin=b"", **options):
    """Exit status and lines on standard error of a command whose descriptors are closed, full disks, or pipes that nobody reads."""
    pipes = {}
    for descriptor in (1, 2):
        if descriptor in full:
            pipes[descriptor] = os.open("/dev/full", os.O_WRONLY)
        elif descriptor in gone:
            reader, pipes[descriptor] = os.pipe()
            os.close(reader)
        else:
            pipes[descriptor] = subprocess.PIPE

    def close():
        for descriptor in closed:
            os.close(descriptor)

    try:
        done = subprocess.run([*COMMAND, *map(os.fsencode, arguments)], env=environment(**options), input=stdin, timeout=BOUND, check=False,
                              stdout=pipes[1], stderr=pipes[2], preexec_fn=close)  # noqa: PLW1509 - no threads hold locks here
    finally:
        for pipe in pipes.values():
            if pipe != subprocess.PIPE:
                os.close(pipe)
    lines = (done.stderr or b"").decode(errors="replace").splitlines()
    assert not any("Traceback" in line or "Exception ignored" in line for line in lines), lines
    return done.returncode, lines


COMMANDS = {"produce": ("produce", "-b", "SERVERS", "-t", "t", "FILE"), "json": ("produce", "-b", "SERVERS", "-t", "t", "--json", "FILE"),
            "sync": ("produce", "-b", "SERVERS", "-t", "t", "--sync", "FILE"), "version": ("--version",), "help": ("--help",),
            "help of a command": ("produce", "--help"), "no command": (), "mock-cluster": ("mock-cluster",), "list": ("bench", "--list")}


@pytest.fixture(params=COMMANDS)
def command(request, servers, file):
    return [{"SERVERS": servers, "FILE": str(file)}.get(word, word) for word in COMMANDS[request.param]]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_at_standard_output(command):
    status, lines = ended(command, full=(1,))
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("kafkapp: ") and os.strerror(errno.ENOSPC) in lines[0]


def test_standard_output_is_closed(command):
    status, lines = ended(command, closed=(1,))
    assert (status, len(lines)) == (2, 1), lines
    assert os.strerror(errno.EBADF) in lines[0]


def test_nobody_reads_standard_output(command):
    assert ended(command, gone=(1,)) == (128 + signal.SIGPIPE, [])


@pytest.mark.parametrize("how", [{"closed": (2,)}, {"gone": (2,)}, {"full": (2,)}], ids=lambda how: next(iter(how)))
def test_standard_error_takes_nothing(servers, file, how):
    assert ended(["produce", "-b", servers, "-t", "t", file], **how)[0] == 0       # it has nothing to say there
    assert ended(["produce", "--embedded", file], **how)[0] == (141 if "gone" in how else 2)   # where to, it says
    for arguments in (["unknown"], ["produce", "-t", "", file], ["produce", "missing"]):
        assert ended(arguments, **how)[0] in (2, 141)


@pytest.mark.parametrize("how", [{"closed": (1, 2)}, {"closed": (0, 1, 2)}, {"gone": (1, 2)}, {"full": (1, 2)}], ids=str)
def test_nothing_can_be_said_anywhere(servers, file, how):
    topic = new_topic()
    assert ended(["produce", "-b", servers, "-t", topic, file], **how)[0] == (141 if "gone" in how else 2)
    assert sorted(values(servers, topic)) == [b"one", b"two"]      # all the same: and no descriptor of ours is another's


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_loss_says_where(servers, file):
    assert ended(["produce", "-b", servers, "-t", "t", file], full=(1,)) == (2, ["kafkapp: standard output: No space left on device"])


def test_undelivered_records_are_reported_with_standard_output_closed(servers, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * 5000 + b"\n")
    status, lines = ended(["produce", "-b", servers, "-t", "t", "-X", "message.max.bytes=2000", large], gone=(1,))
    assert status == 128 + signal.SIGPIPE and "MSG_SIZE_TOO_LARGE" in lines[0]


# -- what is read ------------------------------------------------------------------------------------------------------

def test_standard_input_is_closed(servers):
    status, lines = ended(["produce", "-b", servers, "-t", "t"], closed=(0,), stdin=None)
    assert (status, lines) == (2, ["kafkapp: standard input: Bad file descriptor"])


NO_TEXT = b"a\xff"


@pytest.mark.parametrize("arguments", [(b"-t", NO_TEXT), (b"-b", NO_TEXT), (b"-X", b"client.id=" + NO_TEXT), (b"-X", NO_TEXT + b"=1"),
                                       (b"-H", NO_TEXT + b"=1"), (b"-F", NO_TEXT), (NO_TEXT,), (b"-p", NO_TEXT), (b"--" + NO_TEXT,)])
def test_an_argument_that_is_no_utf8(servers, file, arguments):
    status, lines = ended(["produce", "-b", servers, *arguments, file])
    assert (status, len(lines)) == (2, 1), lines
    assert not re.search("ValueError|UnicodeEncodeError", lines[0])      # the error is handled


@pytest.mark.parametrize("mode", ["--sync", "--manual", "--json"])
def test_a_topic_that_is_no_utf8(servers, file, mode):
    for more in ({}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}):
        status, lines = ended(["produce", "-b", servers, mode, "-t", NO_TEXT, file], **more)
        assert status == 2 and lines == ["kafkapp produce: Invalid value for '-t' / '--topic': must be UTF-8. See 'kafkapp produce --help'."]


def test_what_may_be_no_utf8(servers, tmp_path):
    path = os.fsencode(tmp_path / "lines") + NO_TEXT
    with open(path, "wb") as lines:
        lines.write(b"one;two\xff")
    assert ended(["produce", "-b", servers, "-t", "t", "-K", ";", "-H", b"h=" + NO_TEXT, path]) == (0, [])
    status, lines = ended(["produce", "--embedded", path])        # it says what becomes of the name
    assert (status, len(lines)) == (0, 2) and "goes to topic linesa_" in lines[1]


def test_what_is_no_file(servers, tmp_path):
    assert ended(["produce", "-b", servers, tmp_path]) == (2, [f"kafkapp: {tmp_path}: Is a directory"])
    assert ended(["produce", "-b", servers, "-F", tmp_path, "x"])[0] == 2
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    topic = new_topic()
    process = start("produce", "-b", servers, "-t", topic, fifo)
    with open(fifo, "wb") as end:
        end.write(b"one\ntw")
    assert finish(process)[0] == 0
    assert sorted(values(servers, topic)) == [b"one", b"tw"]


def once_it_is_read(fifo):
    """The other end of a named pipe, once the command has opened it."""
    ends = []

    def opened():
        try:
            ends.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as failure:
            assert failure.errno == errno.ENXIO
        return ends

    until(opened)
    return ends[0]


@pytest.mark.parametrize("mode", ["--manual", "--json"])
def test_a_file_that_shrinks(servers, tmp_path, mode):
    """What was sent of it before is in the queue, and not yet on its way, when it is truncated."""
    path, fifo = tmp_path / "lines", tmp_path / "fifo"
    path.write_bytes(b"a line\n" * 3000)
    os.mkfifo(fifo)
    process = start("produce", mode, "-b", servers, "-t", "t", "-X", "linger.ms=200000", path, fifo)
    end = once_it_is_read(fifo)
    os.truncate(path, 0)
    os.close(end)
    status, _, err = finish(process)
    if LIBRDKAFKA < (2, 13):        # its threads block the signal, and nothing may be done about that
        assert status in (2, -signal.SIGBUS)
    else:
        assert (status, err) == (2, "kafkapp: a FILE has been truncated while it was being sent\n")


# -- signals -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("mode", [(), ("--sync",), ("--manual",)], ids=str)
def test_a_signal_while_lines_come(servers, number, mode):
    topic = new_topic()
    process = start("produce", "-b", servers, "-t", topic, *mode)
    process.stdin.write(b"one\n")
    process.stdin.flush()
    until(lambda: values(servers, topic))
    process.send_signal(number)
    status, out, err = finish(process)
    assert status == 128 + number
    assert out.startswith("1 delivered") and err.startswith("interrupted:") and err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_no_broker_answers(file, number):
    process = start("produce", "-b", "127.0.0.1:1", "-v", "--timeout", "20", "-t", "t", file)
    process.stderr.readline()       # it has failed to connect, once
    process.send_signal(number)
    status, _, err = finish(process)
    assert status == 128 + number and "Traceback" not in err


def test_the_terminal_goes_away(servers):
    """As when a window is closed: SIGHUP, and nowhere to write to any more."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "produce", "-b", servers, "-t", "t"], env=environment(), stdin=theirs, stdout=theirs,
                               stderr=subprocess.PIPE, start_new_session=True)
    os.close(theirs)
    assert b"Type message" in os.read(ours, 1000)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    status, _, err = process.wait(BOUND), *process.communicate(timeout=BOUND)
    assert status in (2, 128 + signal.SIGHUP, -signal.SIGHUP) and b"Traceback" not in err


# -- what is missing ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(missing):
    arguments = ["--version"] if missing == "click" else ["bench", "-r", "1", "--scale", "0.0001", "callback"]
    done = subprocess.run([sys.executable, "-c", EXTRA.format(missing, arguments)], env=environment(), capture_output=True, text=True,
                          timeout=BOUND, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kafkapp: the command needs click and rich: pip install 'kafkapp[cli]'\n"


def test_another_module_that_is_missing_is_called_by_its_name():
    done = subprocess.run([sys.executable, "-c", EXTRA.format("kafkapp.cli.input", ["--version"])], env=environment(), capture_output=True,
                          text=True, timeout=BOUND, check=False)
    assert done.returncode == 2 and "kafkapp.cli.input" in done.stderr and "pip" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_library_has_no_dependencies_but_by_extras():
    import tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("dependencies", []) == []
    assert {line.split(">")[0] for line in project["optional-dependencies"]["cli"]} == {"click", "rich"}
    assert any(extra.startswith("kafkapp[cli,") for extra in project["optional-dependencies"]["test"])
    assert project["scripts"] == {"kafkapp": "kafkapp.__main__:main"}


def test_what_nobody_thought_of_is_one_line_and_a_traceback_only_for_developers():
    code = "import sys, runpy, kafkapp.cli.main; kafkapp.cli.main.run = lambda: {}['what']; runpy.run_module('kafkapp', run_name='__main__')"
    for flags, tracebacks in ((), 0), (("-X", "dev"), 1):
        done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=BOUND, check=False)
        assert done.stderr.count("Traceback") == tracebacks, done.stderr
        assert done.stderr.splitlines()[-1].endswith("KeyError: 'what'")
        assert done.returncode == 2 - tracebacks
