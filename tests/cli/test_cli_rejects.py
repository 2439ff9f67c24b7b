"""`kafkapp produce --rejects`: the lines that were not delivered, byte for byte, in a file that makes them arrive when it is sent."""
import json
import os
import signal
import subprocess
import sys

import pytest
from command_line import BOUND, MODES, ONE_BY_ONE, REFUSED, finish, run, start, until, write_and_see_read

from kafkapp.cli.formats import BadInput
from kafkapp.cli.rejects import Line, Rejects
from kafkapp.testing import ApiKey


@pytest.fixture
def to(cluster, topic):
    return ("produce", "-b", cluster.bootstrap_servers, "-t", topic)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rejects"


@MODES
def test_undelivered_and_refused_lines_arrive_when_they_are_sent_again(cluster, topic, to, file, mode):
    lines = [b"k:one", b":two\r", b"three", b"k:" + b"x" * 2000, b"five\xff", b"no end"]
    cluster.push_request_errors(ApiKey.Produce, *[REFUSED] * 2)
    how = (*ONE_BY_ONE, *mode, "-K", ":", "-Z", "-X", "message.max.bytes=1500")
    result = run(*to, *how, "--rejects", file, stdin=b"\n".join(lines))
    assert result.returncode == 1 and "3 delivered, 3 failed" in result.stdout
    assert f"3 failed lines are in {file}\n" in result.stderr
    assert sorted(file.read_bytes().splitlines(True)) == sorted(line + b"\n" for line in (lines[0], lines[1], lines[3]))
    result = run("produce", *to[1:], "-K", ":", "-p", "0", file)
    assert result.returncode == 0
    assert sorted(r.value for r in cluster.records(topic)) == sorted([b"one", b"two\r", b"three", b"x" * 2000, b"five\xff", b"no end"])


@MODES
def test_no_file_without_rejects(to, file, mode):
    result = run(*to, *mode, "--rejects", file, "--json", stdin=b"a\nb\n")
    assert result.returncode == 0 and json.loads(result.stdout)["rejects"] is None
    assert not file.exists()


def test_the_delimiter_of_the_input_ends_a_reject(to, file):
    run(*to, "-p", "77", "-D", r"\0", "--rejects", file, stdin=b"a\n\0b")
    assert sorted(file.read_bytes().split(b"\0")) == [b"", b"a\n", b"b"]


@MODES
def test_many_batches(to, file, mode):
    count = 100 if mode == ("--sync",) else 40_000
    lines = [b"%d" % n for n in range(count)]
    result = run(*to, *mode, "-p", "77", "--rejects", file, "--json", "-X", "queue.buffering.max.messages=1000", stdin=b"\n".join(lines))
    summary = json.loads(result.stdout)
    assert (summary["failed"], summary["rejects"]) == (count, {"file": str(file), "lines": count})
    assert sorted(file.read_bytes().splitlines(), key=int) == lines


def test_lines_that_make_no_record(cluster, topic, to, file):
    result = run(*to, "--key-field", "id", "--rejects", file, stdin=b'{"id":1}\n\nbroken \xff\n{"no":1}\n{"id":2}\n')
    assert result.returncode == 1 and len(cluster.records(topic)) == 2
    assert file.read_bytes() == b'broken \xff\n{"no":1}\n'


def test_rows_have_their_header(cluster, topic, to, file, tmp_path):
    one, two, other = tmp_path / "one.csv", tmp_path / "two.csv", tmp_path / "other.csv"
    one.write_bytes(b'id,note\n1,a\n2,"b\nc",d\n3,e\n')
    two.write_bytes(b"id,note\n4\n")
    other.write_bytes(b"nr,note\n5\n")
    result = run(*to, "-f", "csv", "--rejects", file, one, two, other)
    assert result.returncode == 2 and f"kafkapp: {other}: its header is not that" in result.stderr
    assert file.read_bytes() == b'id,note\n2,"b\nc",d\n4\n'
    assert len(cluster.records(topic)) == 2


def test_the_names_of_whole_files(to, file, tmp_path):
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"x\n" * 2000)
    small.write_bytes(b"a\n")
    result = run(*to, "-f", "file", "-X", "message.max.bytes=1500", "--rejects", file, large, small)
    assert result.returncode == 1
    assert file.read_bytes() == os.fsencode(large) + b"\n"


@MODES
def test_ctrl_c_keeps_what_was_not_delivered(cluster, topic, to, file, mode):
    """And not what was read and not sent: the first line of --sync only once its send has begun."""
    cluster.set_leader(topic, 0, None)
    for _ in range(5):
        process = start(*to, *mode, "-p", "0", "--rejects", file)
        write_and_see_read(process, b"a\nb\nunfinished")
        process.send_signal(signal.SIGINT)
        status, _, err = finish(process)
        assert status == 130 and "Traceback" not in err
        if file.exists() or mode != ("--sync",):
            break
    assert sorted(file.read_bytes().splitlines()) == ([b"a"] if mode == ("--sync",) else [b"a", b"b"])


@pytest.mark.parametrize("how", [("--dry-run", "-f", "json"), (), ("--manual",), ("--sync",)], ids=str)
def test_ctrl_c_while_a_line_is_written_into_the_file(to, file, how):
    text = b"x" * 2000
    program = "import os, signal, sys; write = os.write; import kafkapp.cli.main; from kafkapp.__main__ import main\n" \
              "os.write = lambda *data: (write(*data), signal.raise_signal(signal.SIGINT))[0]; main()"
    arguments = [*to, *how, "-X", "message.max.bytes=1000", "--rejects", str(file), "--json"]
    result = subprocess.run([sys.executable, "-c", program, *arguments], input=text + b"\n", capture_output=True, timeout=BOUND, check=False)
    assert result.returncode == 130 and b"Traceback" not in result.stderr
    assert file.read_bytes() == text + b"\n"
    said = result.stderr if "--dry-run" in how else result.stdout
    assert json.loads(said.splitlines()[0])["failed"] == 1


# -- the file ----------------------------------------------------------------------------------------------------------

def refusal(*arguments):
    result = run("produce", "-b", "127.0.0.1:1", "-t", "t", "--timeout", "0.1", *arguments)
    assert (result.returncode, result.stdout) == (2, ""), result
    return result.stderr


def test_a_file_that_holds_lines_is_refused(file, tmp_path):
    file.write_bytes(b"of yesterday\n")
    assert f"{file} holds lines already: send them, or move it away" in refusal("--rejects", file)
    assert file.read_bytes() == b"of yesterday\n"
    assert "No such file or directory" in refusal("--rejects", tmp_path / "missing" / "file")
    assert "Is a directory" in refusal("--rejects", tmp_path)
    assert "--rejects" in refusal("--rejects", "")


def test_an_empty_file_stays_and_one_of_a_run_that_could_not_begin_goes(file, tmp_path):
    file.write_bytes(b"")
    assert "no broker reachable" in refusal("--rejects", file)
    assert file.read_bytes() == b""
    assert "no broker reachable" in refusal("--rejects", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@MODES
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_ends_the_run_and_loses_no_line(cluster, topic, to, mode):
    cluster.push_request_errors(ApiKey.Produce, *[REFUSED] * 3)
    process = start(*to, *ONE_BY_ONE, *mode, "--rejects", "/dev/full")
    fed = []

    def ended():
        try:
            process.stdin.write(b"%d\n" % len(fed))
            process.stdin.flush()
        except BrokenPipeError:
            return True
        fed.append(b"%d" % len(fed))
        return False

    until(ended)        # although its input would go on forever
    status, _, err = finish(process)
    assert status == 2
    assert err.count("kafkapp: /dev/full: No space left on device\n") == 1
    _, _, rest = err.partition("the failed lines that it has no room for follow\n")
    failed = [line for line in rest.splitlines() if line.isdigit()]
    assert failed[0] == "0"
    assert sorted([*failed, *(r.value.decode() for r in cluster.records(topic))], key=int) == [str(n) for n in range(len(failed) + len(cluster.records(topic)))]


class Disk:
    """os.write on a disk that is full for a while, in the middle of a line."""

    def __init__(self, monkeypatch, room):
        self.room, self.write = room, os.write
        monkeypatch.setattr("kafkapp.cli.rejects.os.write", self)

    def __call__(self, descriptor, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        done = self.write(descriptor, bytes(data[:self.room]))
        self.room -= done
        return done


def test_a_full_disk_leaves_whole_lines(file, monkeypatch, capsys):
    rejects = Rejects(str(file), b"\n")
    rejects.begin(b"head")
    disk = Disk(monkeypatch, 10)
    for number, text in enumerate((b"one", b"two", b"three"), 1):
        rejects.add(Line(number, text))
    assert file.read_bytes() == b"head\none\n" and rejects.failure is not None
    disk.room = 5       # for one line more, at the end
    rejects.close()
    assert file.read_bytes() == b"head\none\ntwo\n"
    assert capsys.readouterr().err == f"kafkapp: {file}: No space left on device; the failed lines that it has no room for follow\nthree\n"
    assert rejects.count == 2


def test_a_full_disk_that_gets_room_in_time(file, monkeypatch, capsys):
    rejects = Rejects(str(file), b"\n")
    disk = Disk(monkeypatch, 2)
    for number, text in enumerate((b"one", b"two"), 1):
        rejects.add(Line(number, text))
    disk.room = 100
    rejects.close()
    assert (file.read_bytes(), capsys.readouterr().err) == (b"one\ntwo\n", "")


def test_another_header_is_refused(file):
    rejects = Rejects(str(file), b"\n")
    rejects.begin(b"a")
    rejects.begin(b"a")
    with pytest.raises(BadInput, match="one by one"):
        rejects.begin(b"b")
    rejects.close()
    assert not file.exists()
