"""The line splitter: cuts are right wherever blocks end, and values are slices of the mapped file."""
import gc
import mmap
import os
import threading
from itertools import chain
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kafkapp.cli.input
from kafkapp import Error, ErrorCode, KafkaException, ProducerRecord
from kafkapp.cli.input import FatalError, Job, send_file, send_streamed, send_text

FATAL = Error(ErrorCode.RD_KAFKA_RESP_ERR__FATAL, "broken", is_fatal=True)


class Recorder:
    """A producer that keeps what it is sent; lines in `refusing` are refused with an error of theirs."""

    def __init__(self, refusing=None, **how):
        self.sent, self.refusals, self.moves = [], [], []
        self.refusing = refusing or {}
        self.job = Job(self.send, ProducerRecord("t"), None, lambda *refusal: self.refusals.append(refusal),
                       self.moves.append, **how)

    def send(self, record, report, option):
        if error := self.refusing.get(record.id):
            raise KafkaException(error)
        self.sent.append(SimpleNamespace(id=record.id, key=record.key, value=record.value))

    @property
    def values(self):
        return [None if record.value is None else bytes(record.value) for record in self.sent]


def cut(data, delimiter):
    lines = data.split(delimiter)
    return lines[:-1] if lines[-1] == b"" else lines


def send_pipe(job, blocks):
    """Send what comes out of a pipe in these very blocks."""
    given = chain(filter(None, blocks), [b""])
    read = os.read
    kafkapp.cli.input.os = SimpleNamespace(read=lambda descriptor, size: next(given))
    try:
        send_streamed(job, 0)
    finally:
        kafkapp.cli.input.os = os
    assert read is os.read


@given(blocks=st.lists(st.text("ab|", max_size=6).map(str.encode), max_size=6),
       delimiter=st.sampled_from([b"|", b"||", b"|a|", b"aa"]))
@settings(max_examples=500, deadline=None)
def test_a_pipe_is_cut_the_same_wherever_its_blocks_end(blocks, delimiter):
    recorder = Recorder(delimiter=delimiter)
    send_pipe(recorder.job, blocks)
    assert recorder.values == cut(b"".join(blocks), delimiter)
    assert [record.id for record in recorder.sent] == list(range(1, len(recorder.sent) + 1))


@given(data=st.text("ab:|", max_size=30).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_keys_and_nulls(data):
    recorder = Recorder(delimiter=b"|", key_delimiter=b":", null_empty=True)
    send_text(recorder.job, data)
    for record, line in zip(recorder.sent, cut(data, b"|"), strict=True):
        key, found, value = line.partition(b":")
        if not found:
            key, value = b"", line
        assert (record.key, record.value) == (key or None, value or None)


def test_values_are_slices_of_the_map(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"key=one\ntwo")
    recorder = Recorder(key_delimiter=b"=")
    send_file(recorder.job, str(path))
    assert recorder.values == [b"one", b"two"]
    assert isinstance(recorder.sent[0].value.obj, mmap.mmap)
    assert recorder.sent[0].value.obj is recorder.sent[1].value.obj is recorder.sent[0].key.obj


def test_the_last_report_unmaps_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")
    recorder = Recorder()
    send_file(recorder.job, str(path))

    def mapped():
        with open("/proc/self/maps") as maps:
            return str(path) in maps.read()

    last = recorder.sent.pop()
    recorder.sent.clear()
    assert mapped() and last.value == b"two"
    del last
    assert not mapped()


def test_no_descriptor_stays_open(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\n" * 10)
    with pytest.raises(FatalError, match="broken"):
        send_file(Recorder({3: FATAL}).job, str(path))
    recorder = Recorder()
    send_file(recorder.job, str(path))
    recorder.sent.clear()
    gc.collect()  # the recorders that are gone held slices, and a map holds a descriptor of its own
    folder = "/proc/self/fd"
    assert [n for n in os.listdir(folder) if os.path.realpath(f"{folder}/{n}") == str(path)] == []


def test_the_position_moves_on(tmp_path, monkeypatch):
    monkeypatch.setattr(kafkapp.cli.input, "MAX_LINES_PER_BATCH", 10)
    path = tmp_path / "file"
    path.write_bytes(b"x\n" * 25)
    recorder = Recorder()
    send_file(recorder.job, str(path))
    assert recorder.moves == [20, 40, 50]
    assert [record.id for record in recorder.sent] == list(range(1, 26))


def test_a_refused_line_is_reported_and_the_rest_goes_on():
    error = Error(ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
    recorder = Recorder({2: error})
    send_text(recorder.job, b"a\nb\nc")
    assert recorder.values == [b"a", b"c"]
    assert recorder.refusals == [(2, error)]


def test_a_line_is_numbered_on_across_blocks_and_turns(monkeypatch):
    monkeypatch.setattr(kafkapp.cli.input, "MAX_LINES_PER_BATCH", 3)
    recorder = Recorder()
    send_pipe(recorder.job, [b"1\n2\n3\n4\n5", b"\n6\n7", b"\n8"])
    assert [(record.id, bytes(record.value)) for record in recorder.sent] == [(n, b"%d" % n) for n in range(1, 9)]


def test_a_record_goes_out_with_the_last_byte_of_its_delimiter():
    recorder = Recorder(delimiter=b"|+|")
    counts = []

    def blocks():
        for block in (b"one|", b"+", b"|two|", b"+|three"):
            yield block
            counts.append(len(recorder.sent))  # when the next block is asked for

    send_pipe(recorder.job, blocks())
    assert counts == [0, 0, 1, 2]
    assert recorder.values == [b"one", b"two", b"three"]


def test_a_pipe_of_one_endless_line_costs_no_more_than_its_length():
    reading, writing = os.pipe()
    blocks = 300

    def write():
        with open(writing, "wb") as pipe:
            pipe.writelines([b"x" * 65536] * blocks)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    recorder = Recorder(delimiter=b"\r\n")
    send_streamed(recorder.job, reading)
    thread.join(30)
    os.close(reading)
    assert [len(value) for value in recorder.values] == [blocks * 65536]
