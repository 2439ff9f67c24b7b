"""`kafkapp produce` of .gz, .bz2, .xz and .zst files: their lines, as they come; files that are broken, cut off or no such."""
import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading

import pytest
import zstandard
from command_line import BOUND, environment, finish, new_topic, run, start, until, values

from kafkapp.cli.compressed import ending, opener, reading
from kafkapp.cli.formats import BadInput

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}
ENDINGS = pytest.mark.parametrize("end", COMPRESS)


def content(end, data):
    read = reading(opener(end)(io.BytesIO(data)))
    return b"".join(iter(read, b""))


@ENDINGS
def test_lines_of_a_compressed_file(broker, tmp_path, end):
    path, topic = tmp_path / f"lines{end}", new_topic()
    lines = [b"%d" % n for n in range(20_000)]
    path.write_bytes(COMPRESS[end](b"\n".join(lines)))
    result = run("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "0", path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [r.value for r in broker.records(topic)] == lines


@ENDINGS
def test_a_whole_compressed_file_and_rows(broker, tmp_path, end):
    path, topic = tmp_path / f"rows.csv{end}", new_topic()
    path.write_bytes(COMPRESS[end](b"id\n1\n"))
    for form in "file", "csv":
        assert run("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "0", "-f", form, path).returncode == 0
    assert [r.value for r in broker.records(topic)] == [b"id\n1\n", b'{"id":"1"}']


@ENDINGS
def test_members_one_after_the_other_and_nothing(end):
    compress = COMPRESS[end]
    assert content(end, compress(b"one\n") + compress(b"") + compress(b"two\n" * 100_000)) == b"one\n" + b"two\n" * 100_000
    assert content(end, compress(b"")) == b""


@ENDINGS
def test_a_file_that_is_cut_off_or_none_is_never_taken_for_its_end(end):
    whole = COMPRESS[end](os.urandom(5000))
    for data in (whole[:-1], whole[:2000], whole[:5], b"no such thing at all", whole[:50] + b"\0\0\0\0" + whole[54:]):
        with pytest.raises(BadInput, match="cannot be decompressed: ."):
            content(end, data)


@ENDINGS
def test_a_broken_file_is_one_line_and_what_stands_before_is_sent(broker, tmp_path, end):
    path, topic = tmp_path / f"lines{end}", new_topic()
    path.write_bytes(COMPRESS[end](b"".join(b"%d\n" % n for n in range(300_000)))[:-9])
    result = run("produce", "-b", broker.bootstrap_servers, "-t", topic, "--json", path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"kafkapp: {path}: cannot be decompressed: ") and result.stderr.count("\n") == 1
    assert str(path) in result.stdout


@ENDINGS
def test_memory_does_not_follow_what_a_file_expands_to(tmp_path, end):
    """A gigabyte of zeros, of which a block is in memory at once."""
    path = tmp_path / f"zeros{end}"
    path.write_bytes(COMPRESS[end](bytes(1 << 26)) * 16)
    code = ("import resource, sys; from kafkapp.cli.compressed import *; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
            "read = reading(opener(sys.argv[1])(open(sys.argv[2], 'rb')))\nprint(sum(map(len, iter(read, b''))))")
    done = subprocess.run([sys.executable, "-c", code, end, path], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == (f"{1 << 30}\n", "")


def test_a_compressed_pipe_is_live(broker, tmp_path):
    path, topic = tmp_path / "pipe.gz", new_topic()
    os.mkfifo(path)
    process = start("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "0", path)
    with open(path, "wb") as pipe, gzip.GzipFile(fileobj=pipe, mode="wb") as end:
        end.write(b"early\n")
        end.flush()
        pipe.flush()
        until(lambda: [r.value for r in broker.records(topic)] == [b"early"])
        end.write(b"late\n")
    assert finish(process)[0] == 0
    assert values(broker.bootstrap_servers, topic) == [b"early", b"late"]


def test_the_ending_says_it():
    assert [ending(path) for path in ("a.gz", "a.csv.zst", "a.gzip", "-", "gz", "a.GZ", "a.xz.txt")] == [".gz", ".zst", None, None, None, None, None]


def test_standard_input_is_sent_as_it_is(broker):
    topic, data = new_topic(), gzip.compress(b"x").replace(b"\n", b"")
    assert run("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "0", stdin=data).returncode == 0
    assert [r.value for r in broker.records(topic)] == [data]


@pytest.mark.parametrize("end, module, cure", [(".zst", "zstandard", "pip install 'kafkapp[zstd]'"), (".bz2", "bz2", "bz2")])
def test_a_module_that_is_missing_is_said_before_anything_is_sent(broker, tmp_path, end, module, cure):
    path, topic, plain = tmp_path / f"lines{end}", new_topic(), tmp_path / "plain"
    path.write_bytes(b"")
    plain.write_bytes(b"a\n")
    code = ("import sys, runpy; sys.modules.update({'compression.zstd': None, %r: None}); sys.argv = ['kafkapp', *sys.argv[1:]];"
            "runpy.run_module('kafkapp', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code % module, "produce", "-b", broker.bootstrap_servers, "-t", topic, plain, path],
                          env=environment(), capture_output=True, text=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"kafkapp: {path}: {end} needs Python's module ") and cure in done.stderr and done.stderr.count("\n") == 1


def test_by_cpythons_own_zstd_where_it_is_there(monkeypatch):
    """What CPython 3.14 has, played by a module of the same shape."""
    threads = threading.active_count()
    module = type(sys)("compression.zstd")
    module.open = gzip.open
    monkeypatch.setitem(sys.modules, "compression", type(sys)("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    assert content(".zst", gzip.compress(b"by that one")) == b"by that one"
    assert threading.active_count() == threads
