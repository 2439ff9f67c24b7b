"""Malformed texts for the command `kafkapp`: a table of every place that takes a text and every kind of text.

Arguments, properties files and the environment. Every cell is either taken as it is or refused in one line with status 2;
nothing is a traceback, and nothing that is refused is sent. The commands run in forks of one process, for the time's sake.
"""
import json
import os
import subprocess
import sys

import pytest
from command_line import environment, new_topic, run, without_logs
from readback import read_messages
from scripted_broker import ScriptedBroker, answer

from kafkapp import Error, ErrorCode
from kafkapp.cli import main as cli
from kafkapp.cli.produce import Misuse, Run
from kafkapp.cli.tally import Tally

KINDS = {
    "empty": b"", "blank": b" ", "no UTF-8": b"a\xff", "half a character": b"\xc3", "a surrogate": b"\xed\xa0\x80", "overlong": b"\xc0\xaf",
    "accents": "\u00e9\u65e5".encode(), "beyond 16 bits": "\U0001f600".encode(), "a line end": b"a\nb", "a carriage return": b"a\rb", "a tab": b"a\tb",
    "an escape sequence": b"\x1b[31mred\x1b[0m", "markup": b"[red]x[/red][/", "a format": b"%s%n{}{0!r}", "quotes": b"'\"`$(x)", "backslashes": b"\\a\\",
    "separators": b"a=b:c,d;e", "right to left": "\u202ex".encode(), "no width": "a\u200bb".encode(), "a BOM": "\ufeffa".encode(),
    "NEL": "a\u0085b".encode(), "DEL": b"\x7f", "long": b"x" * 20_000,
}
NO_TEXT = {"no UTF-8", "half a character", "a surrogate", "overlong"}
EVERY = set(KINDS)
UNPRINTABLE = {kind for kind, text in KINDS.items() if not text.decode(errors="surrogateescape").isprintable()}

PRODUCE = [b"produce", b"-b", b"SERVERS", b"-t", b"TOPIC", b"--timeout", b"5"]

# A place: the arguments with that text, and the kinds that are refused there.
ARGUMENTS = {
    "-t": (lambda text: [*PRODUCE, b"-t", text, b"FILE"], NO_TEXT | {"empty", "long"}),
    "-b": (lambda text: [*PRODUCE, b"-b", text, b"FILE"], EVERY),
    "-X": (lambda text: [*PRODUCE, b"-X", text, b"FILE"], EVERY),
    "a property's name": (lambda text: [*PRODUCE, b"-X", text + b"=1", b"FILE"], EVERY),
    "a property's text": (lambda text: [*PRODUCE, b"-X", b"client.id=" + text, b"FILE"], NO_TEXT | {"empty"}),
    "a property's number": (lambda text: [*PRODUCE, b"-X", b"linger.ms=" + text, b"FILE"], EVERY),
    "a property's word": (lambda text: [*PRODUCE, b"-X", b"compression.type=" + text, b"FILE"], EVERY),
    "-F": (lambda text: [*PRODUCE, b"-F", text, b"FILE"], EVERY),
    "a header's name": (lambda text: [*PRODUCE, b"-H", text + b"=1", b"FILE"], UNPRINTABLE | {"empty"}),
    "a header's value": (lambda text: [*PRODUCE, b"-H", b"h=" + text, b"FILE"], set()),
    "-K": (lambda text: [*PRODUCE, b"-K", text, b"FILE"], {"empty"}),
    "-D": (lambda text: [*PRODUCE, b"-D", text, b"FILE"], {"empty"}),
    "-p": (lambda text: [*PRODUCE, b"-p", text, b"FILE"], EVERY),
    "--timeout": (lambda text: [*PRODUCE, b"--timeout", text, b"FILE"], EVERY),
    "FILE": (lambda text: [*PRODUCE, text], EVERY),
    "an option": (lambda text: [*PRODUCE, b"--" + text + b"x", b"FILE"], EVERY),
    "a command": (lambda text: [text, b"FILE"], EVERY),
    "--brokers": (lambda text: [b"mock-cluster", b"--brokers", text], EVERY),
    "--topic": (lambda text: [b"mock-cluster", b"--topic", text + b":0"], EVERY),
    "a scenario": (lambda text: [b"bench", text], EVERY),
    "bench -b": (lambda text: [b"bench", b"-b", text, b"no-such"], EVERY),
    "--scale": (lambda text: [b"bench", b"--scale", text, b"callback"], EVERY),
    "--plot": (lambda text: [b"bench", b"--plot", text, b"no-such"], EVERY),
}
ENVIRONMENT = ("NO_COLOR", "COLUMNS", "TERM", "_KAFKAPP_COMPLETE", "COMP_WORDS", "COMP_CWORD", "KAFKA_HOME")

# What a properties file holds, and the kinds that are refused there.
FILES = {
    "a name": (lambda text: text + b"=1\n", EVERY),
    "a value": (lambda text: b"client.id=" + text + b"\n", NO_TEXT | {"a line end", "a carriage return"}),
    "a comment": (lambda text: b"# " + text + b"\n", NO_TEXT | {"a line end", "a carriage return"}),
    "a whole file": (lambda text: text, EVERY - {"empty", "blank"}),
}

DRIVER = r"""
import json, os, sys, tempfile

import kafkapp.__main__, kafkapp.cli.main, kafkapp.bench, kafkapp.testing

for line in sys.stdin:
    job = json.loads(line)
    outputs = [tempfile.TemporaryFile() for _ in range(2)]
    pid = os.fork()
    if not pid:
        status = 99
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, output in enumerate(outputs, 1):
                os.dup2(output.fileno(), number)
            sys.argv = ["kafkapp", *(os.fsdecode(bytes.fromhex(argument)) for argument in job["arguments"])]
            os.environb.update({bytes.fromhex(name): bytes.fromhex(value) for name, value in job["environment"].items()})
            kafkapp.__main__.main()
        except SystemExit as left:
            status = left.code
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for output in outputs:
        output.seek(0)
    print(json.dumps([status, *(output.read().decode(errors="replace") for output in outputs)]), flush=True)
"""


@pytest.fixture
def outcome(servers, tmp_path):
    """Runs a command of these arguments; gives status, standard output and standard error."""
    file, topic = tmp_path / "file", new_topic()
    file.write_bytes(b"one\n")
    names = {b"SERVERS": servers.encode(), b"FILE": os.fsencode(file), b"TOPIC": topic.encode()}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)

    def run(arguments, variables=()):
        job = {"arguments": [names.get(argument, argument).hex() for argument in arguments],
               "environment": {name.encode().hex(): value.hex() for name, value in dict(variables).items()}}
        driver.stdin.write(json.dumps(job) + "\n")
        driver.stdin.flush()
        return json.loads(driver.stdout.readline())

    run.topic = topic
    yield run
    driver.stdin.close()
    assert driver.wait(timeout=30) == 0
    driver.stdout.close()


def check(said, refused, where):
    status, out, err = said
    assert "Traceback" not in err, where
    if refused:
        assert (status, out) == (2, ""), (where, said)
        assert err.startswith("kafkapp") and err.count("\n") == 1 and err.endswith("\n"), (where, err)
        assert "Error:" not in err.split(": ", 2)[1], (where, err)      # an exception that nobody thought of
    else:
        assert (status, err) == (0, ""), (where, said)


@pytest.mark.slow
@pytest.mark.parametrize("place", ARGUMENTS)
def test_arguments(outcome, servers, place):
    arguments, refused = ARGUMENTS[place]
    for kind, text in KINDS.items():
        check(outcome(arguments(text)), kind in refused, (place, kind))
    if refused == EVERY:
        assert read_messages(servers, outcome.topic) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", FILES)
def test_properties_files(outcome, tmp_path, place):
    contents, refused = FILES[place]
    settings = tmp_path / "client.properties"
    for kind, text in KINDS.items():
        settings.write_bytes(contents(text))
        check(outcome([*PRODUCE, b"-F", os.fsencode(settings), b"FILE"]), kind in refused, (place, kind))


@pytest.mark.parametrize("text", ["\\u0000", "\\uD800", "\\uDC00\\uD800", "\\u12", "\\uFFFG"])
def test_escapes_in_properties_files(outcome, tmp_path, text):
    settings = tmp_path / "client.properties"
    settings.write_text(f"client.id=a{text}b\n")
    check(outcome([*PRODUCE, b"-F", os.fsencode(settings), b"FILE"]), True, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENT)
def test_the_environment(outcome, name):
    for kind, text in KINDS.items():
        completing = {"_KAFKAPP_COMPLETE": b"bash_complete", "COMP_WORDS": b"kafkapp pro", "COMP_CWORD": b"1"} if name.startswith("COMP_") else {}
        status, out, err = outcome([b"--help"], {**completing, name: text})
        assert "Traceback" not in err and err.count("\n") <= 1, (name, kind, err)
        assert status in ((0, 1, 2) if "COMP" in name else (0,)), (name, kind, err)
        assert "produce" in out or "COMP" in name


def test_what_is_taken_arrives_as_it_is(outcome, servers):
    headers = [argument for text in KINDS.values() for argument in (b"-H", b"h=" + text)]
    assert outcome([*PRODUCE, *headers, b"FILE"])[0] == 0
    [message] = read_messages(servers, outcome.topic)
    assert message.headers() == [("h", text) for text in KINDS.values()]


WORDS = "no\nkafkapp: all is well\r\x1b[2J\x9b1A\u202e"
LINE = r"no\nkafkapp: all is well\r\x1b[2J\x9b1A\u202e"


def test_what_a_broker_says_is_one_line_and_moves_no_cursor():
    tally = Tally()
    tally.failed("file", 7, Error(ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD, WORDS))
    assert tally.failures_text().split("\n")[1:] == [f"  file:7: {LINE}"]
    assert tally.as_dict()["first_failures"][0]["message"] == WORDS     # for a machine, as it is


def test_a_broker_text_that_ends_the_run_is_one_line_and_moves_no_cursor(monkeypatch, capsys):
    without_logs(monkeypatch)

    def refuse(self):
        raise Misuse(WORDS)

    monkeypatch.setattr(Run, "run", refuse)
    monkeypatch.setattr("sys.argv", ["kafkapp", "produce"])
    assert cli.run() == 2
    assert capsys.readouterr().err == r"kafkapp: no kafkapp: all is well \x1b[2J\x9b1A\u202e" + "\n"


def test_of_a_batch_the_command_says_what_the_code_means():
    # Whatever the broker says: a batch keeps its items' codes, and no words.
    with ScriptedBroker(lambda asked: answer(ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD, words=WORDS)) as broker:
        said = run("produce", "-b", broker.bootstrap_servers, "-t", "t", "-p", "0", stdin=b"v\n")
    assert said.returncode == 1
    count, failure = said.stderr.splitlines()
    assert count == "1 x RD_KAFKA_RESP_ERR_INVALID_RECORD"
    assert failure == "  standard input:1: Broker: Broker failed to validate record"
