"""`kafkapp produce`: the records made from files, pipes and options, read back by another client."""
import os
import subprocess
import threading

import pytest
from command_line import (
    BOUND,
    COMMAND,
    MODES,
    environment,
    finish,
    new_topic,
    run,
    start,
    values,
    write_and_see_read,
)
from readback import read_messages



@pytest.fixture
def topic():
    return new_topic()


@pytest.fixture
def produce(servers, topic):
    """Run `kafkapp produce` into partition 0 of the topic; it has to succeed."""
    def produce(*arguments, partition=("-p", "0"), **options):
        result = run("produce", "-b", servers, "-t", topic, *partition, *arguments, **options)
        assert result.returncode == 0, result.stderr
        return result
    return produce


@pytest.fixture
def file(tmp_path):
    def file(content, name="lines.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        return path
    return file


@MODES
@pytest.mark.parametrize("copy", [(), ("--copy",)], ids=["no copy", "copy"])
def test_each_line_is_a_record(produce, servers, topic, file, mode, copy):
    produce(file(b"first\n\nthird \xff\x00\r\nlast, without an end"), *mode, *copy)
    assert values(servers, topic) == [b"first", b"", b"third \xff\x00\r", b"last, without an end"]


@pytest.mark.parametrize("content, expected", [
    (b"", []), (b"\n", [b""]), (b"a\n", [b"a"]), (b"a", [b"a"]), (b"a\n\n", [b"a", b""])])
def test_ends_of_a_file(produce, servers, topic, file, content, expected):
    result = produce(file(content))
    assert f"{len(expected)} delivered, 0 failed" in result.stdout
    assert values(servers, topic) == expected


def test_null_empty(produce, servers, topic, file):
    produce(file(b"k:v\n:v\nk:\n\nx"), "-K", ":", "--null-empty")
    assert [(m.key(), m.value()) for m in read_messages(servers, topic)] == [
        (b"k", b"v"), (None, b"v"), (b"k", None), (None, None), (None, b"x")]


def test_keys_end_at_the_first_key_delimiter(produce, servers, topic, file):
    produce(file(b"k::v::w\nno key\n::empty key\nk::\n"), "--key-delimiter", "::")
    assert [(m.key(), m.value()) for m in read_messages(servers, topic)] == [
        (b"k", b"v::w"), (None, b"no key"), (b"", b"empty key"), (b"k", b"")]


@pytest.mark.parametrize("option, delimiter", [
    ("|", b"|"), (r"\0", b"\0"), (r"\r\n", b"\r\n"), (r"\xFF\t", b"\xff\t"), (r"\\n", b"\\n"), ("é", "é".encode())])
def test_delimiters(produce, servers, topic, file, option, delimiter):
    produce(file(delimiter.join([b"one\n", b"two", b"", b"four"])), "--delimiter", option)
    assert values(servers, topic) == [b"one\n", b"two", b"", b"four"]


def test_headers(produce, servers, topic, file):
    produce(file(b"v"), "--header", "name=value=1", "-H", "name=", "-H", "more=é")
    assert [m.headers() for m in read_messages(servers, topic)] == [
        [("name", b"value=1"), ("name", b""), ("more", "é".encode())]]


def test_partition(produce, servers, topic, file):
    produce(file(b"a\nb\n"), partition=("--partition", "2"))
    assert [(m.partition(), m.value()) for m in read_messages(servers, topic)] == [(2, b"a"), (2, b"b")]


def test_the_partitioner_spreads_keys(produce, servers, topic, file):
    produce(file(b"".join(b"key%d=value\n" % n for n in range(100))), "-K", "=", partition=())
    assert {m.partition() for m in read_messages(servers, topic)} == {0, 1, 2, 3}


def test_several_files_and_standard_input_in_their_order(produce, servers, topic, file):
    produce(file(b"a1\na2", "a"), "-", file(b"b1\n", "b"), stdin=b"i1\ni2")
    assert values(servers, topic) == [b"a1", b"a2", b"i1", b"i2", b"b1"]


def test_without_topic_each_file_names_its_own(file):
    one, two = file(b"1", "one é.txt"), file(b"2\n3", "two")
    result = run("produce", "--embedded", one, two)
    assert result.returncode == 0
    assert f"{one} goes to topic one__.txt\n" in result.stderr
    assert f"{two} goes to topic two\n" in result.stderr


@MODES
def test_a_pipe(produce, servers, topic, mode):
    produce(*mode, stdin=b"a\n\nb")
    assert values(servers, topic) == [b"a", b"", b"b"]


def test_records_of_a_pipe_go_out_before_it_ends(servers, topic):
    process = start("produce", "-b", servers, "-t", topic, "-p", "0")
    write_and_see_read(process, b"early\nunfinished ")
    for _ in range(100):
        if found := values(servers, topic):
            break
    assert found == [b"early"]
    process.stdin.write(b"line\n")
    assert finish(process)[0] == 0
    assert values(servers, topic) == [b"early", b"unfinished line"]


def test_a_delimiter_across_two_reads_of_a_pipe(servers, topic):
    process = start("produce", "-b", servers, "-t", topic, "-p", "0", "-D", "|+|")
    for part in (b"one|", b"+", b"|two|+", b"|", b"|+", b"|four|+"):
        write_and_see_read(process, part)
    assert finish(process)[0] == 0
    assert values(servers, topic) == [b"one", b"two", b"", b"four|+"]


def test_long_lines_of_a_pipe(produce, servers, topic):
    lines = [b"x" * 300_000, b"short", b"y" * 70_000, b"z" * 1_500_000]
    produce("-X", "message.max.bytes=2000000", stdin=b"\n".join(lines))
    assert values(servers, topic) == lines


def test_a_named_pipe(produce, servers, topic, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"a\nb\n",), daemon=True)
    writer.start()
    produce(path)
    writer.join(BOUND)
    assert values(servers, topic) == [b"a", b"b"]


def test_a_redirected_file_goes_on_where_it_stands(servers, topic, file):
    with open(file(b"read already\nrest\nof it"), "rb", buffering=0) as opened:
        opened.seek(13)
        done = subprocess.run([*COMMAND, "produce", "-b", servers, "-t", topic, "-p", "0"], stdin=opened,
                              env=environment(), timeout=BOUND, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert values(servers, topic) == [b"rest", b"of it"]


def test_a_file_that_calls_itself_empty_and_is_not(produce, servers, topic):
    produce("/proc/version")
    with open("/proc/version", "rb") as version:
        assert values(servers, topic) == [version.read().rstrip(b"\n")]


@MODES
def test_more_lines_than_the_queue_holds(produce, servers, topic, file, mode):
    count = 2_000 if mode == ("--sync",) else 30_000
    result = produce(file(b"".join(b"%d\n" % n for n in range(count))), *mode,
                     "-X", "queue.buffering.max.messages=100")
    assert f"{count:,} delivered, 0 failed" in result.stdout
    assert values(servers, topic) == [b"%d" % n for n in range(count)]
