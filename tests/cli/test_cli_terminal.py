"""`kafkapp produce` on a terminal: the session of the quick start, the progress bar, colours."""
import json
import re

import pytest
from command_line import MODES, Terminal, new_topic, run, values

PROMPT = r"Type message value and hit enter to produce message\. \(empty line to quit\)\r\n"


@pytest.fixture
def topic():
    return new_topic()


@MODES
def test_a_session(servers, topic, mode):
    with Terminal("produce", "-b", servers, "-t", topic, "-p", "0", *mode) as terminal:
        terminal.expect(PROMPT)
        terminal.type("hello\n")
        terminal.expect(rf"Message delivered: {topic}-0@0:id\[1\].*Persisted\r\n")
        terminal.type("wörld\n")
        terminal.expect(rf"Message delivered: {topic}-0@1:id\[2\].*Persisted\r\n")
        terminal.type("\n")
        assert terminal.wait() == 0
        terminal.expect(r"2 delivered.*, 0 failed: 11 bytes")
    assert values(servers, topic) == [b"hello", "wörld".encode()]


@MODES
def test_a_session_shows_failures_and_goes_on(servers, topic, mode):
    arguments = ("-p", "0", "-X", "message.max.bytes=1000", *mode)
    with Terminal("produce", "-b", servers, "-t", topic, *arguments) as terminal:
        terminal.expect(PROMPT)
        terminal.type("x" * 1500 + "\n")
        terminal.expect(r"Message failed to be delivered: \S")
        terminal.type("short\n")
        terminal.expect("Message delivered: ")
        terminal.type("\x04")  # end of file
        assert terminal.wait() == 1
        terminal.expect("RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE")
    assert values(servers, topic) == [b"short"]


def test_a_record_that_cannot_be_delivered_is_said_in_a_session(servers, topic):
    with Terminal("produce", "-b", servers, "-t", topic, "-p", "99") as terminal:
        terminal.expect(PROMPT)
        terminal.type("x\n")
        terminal.expect(r"Message failed to be delivered: \S")
        terminal.type("\n")
        assert terminal.wait() == 1


def test_ctrl_c_ends_a_session(servers, topic):
    with Terminal("produce", "-b", servers, "-t", topic) as terminal:
        terminal.expect(PROMPT)
        terminal.type("hello\n")
        terminal.expect("Message delivered: ")
        terminal.type("\x03")
        assert terminal.wait(within=5) == 130
        terminal.expect("1 delivered")
        assert "Traceback" not in terminal.text


def test_a_session_with_an_embedded_cluster_and_no_topic():
    with Terminal("produce", "--embedded") as terminal:
        terminal.expect("using an embedded cluster at ")
        terminal.expect("standard input goes to topic stdin")
        terminal.expect(PROMPT)
        terminal.type("key\n")
        terminal.expect("Message delivered: stdin-")
        terminal.type("\n")
        assert terminal.wait() == 0


def test_json_stays_alone_on_standard_output(servers, topic, tmp_path):
    with open(tmp_path / "out", "wb") as out, \
            Terminal("produce", "-b", servers, "-t", topic, "--json", stdout=out) as terminal:
        terminal.expect(PROMPT)
        terminal.type("hello\n")
        terminal.expect("Message delivered: ")
        terminal.type("\n")
        assert terminal.wait() == 0
    assert json.loads((tmp_path / "out").read_text())["delivered"] == 1


@MODES
def test_a_progress_bar(servers, topic, tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
    with Terminal("produce", "-b", servers, "-t", topic, *mode, path) as terminal:
        assert terminal.wait() == 0
        terminal.expect(r"200/200 bytes")
        terminal.expect(r"2 delivered, [\d,]+ records/s, 0 failed")
        terminal.expect(r"2 delivered.*, 0 failed: 198 bytes in ")


def test_the_bar_shows_failures(servers, topic, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n" * 7)
    with Terminal("produce", "-b", servers, "-t", topic, "-p", "99", path) as terminal:
        assert terminal.wait() == 1
        terminal.expect(r"0 delivered, 0 records/s, .*7 failed")


def test_colours_are_for_terminals(servers, topic, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n")
    arguments = ("produce", "-b", servers, "-t", topic, path)
    result = run(*arguments)
    assert "\x1b" not in result.stdout + result.stderr
    for env, coloured in (({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        with Terminal(*arguments, env=env) as terminal:
            assert terminal.wait() == 0
            assert bool(re.search("\x1b\\[32m1 delivered", terminal.text)) is coloured


def test_no_bar_where_standard_error_is_no_terminal(servers, topic, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n")
    result = run("produce", "-b", servers, "-t", topic, path)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2
