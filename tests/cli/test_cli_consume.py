"""`kafkapp consume`: what it writes of records, where it begins and ends, byte for byte."""
import json

import pyarrow
import pytest
from command_line import new_topic, run, without_logs

from kafkapp import KafkaConsumer, TopicPartition
from kafkapp.cli import consume_run
from kafkapp.cli.envelope import envelope
from kafkapp.cli.main import group
from kafkapp.consumer.envelopes import envelope_lines

NOON = 1795867200000        # 2026-11-28T12:00Z


@pytest.fixture
def consume(broker, topic, capfdbinary, monkeypatch):
    """What `kafkapp consume` writes of the topic to its end, as bytes; it has to succeed. In this process, for speed."""
    without_logs(monkeypatch)

    def consume(*arguments, end=("-e",), topics=(topic,), quiet=("-q",)):
        status = group.main(["consume", "-b", broker.bootstrap_servers, *topics, *end, *quiet, *map(str, arguments)], "kafkapp", standalone_mode=False)
        out, err = capfdbinary.readouterr()
        assert (status, err if quiet else b"") == (0, b"")
        return out if quiet else (out, err.decode())
    return consume


ODD = [
    {"value": b"plain", "key": b"key"}, {"value": None, "key": b"tombstone"}, {"value": b"", "key": b""}, {"value": b"no key"}, {"value": None},
    {"value": b"\xff\x00\n\xfe", "key": b"\xc3"}, {"value": "wörld\u2028 \U0001f600\"\\\n\t\x00".encode(), "key": "schlüssel".encode()},
    {"value": b'{"a":1}', "timestamp": 1}, {"value": b"\xef\xbb\xbfmark", "timestamp": NOON},
    {"value": b"h", "headers": [("a", b"1"), ("a", b"2"), ("b", None), ("c", b"")]}, {"value": b"h", "headers": [("x", b"\xff\n"), ("y", None), ("z", "ö".encode())]},
    {"value": b"x" * 100_000, "key": b"large", "partition": 1}]


def parts(record):
    return record.partition, record.key, record.value, [(name, value) for name, value in record.headers], record.timestamp


@pytest.mark.parametrize("more", [(), ("-c", 12)], ids=["to the end", "count"])
def test_consume_into_produce_is_a_copy(broker, topic, send, consume, more):
    send(*ODD)
    copy = new_topic()
    broker.create_topic(copy)
    text = consume("--json", *more, end=() if more else ("-e",))
    assert len(text.splitlines()) == 12 and all(json.loads(line)["topic"] == topic for line in text.split(b"\n")[:-1])
    done = run("produce", "-b", broker.bootstrap_servers, "-t", copy, "-f", "envelope", stdin=text)
    assert done.returncode == 0, done.stderr
    written = broker.records(topic)
    assert len(written) == len(ODD) and sorted(map(parts, broker.records(copy)), key=repr) == sorted(map(parts, written), key=repr)


def test_an_envelope_has_what_kcat_writes_too(send, consume, topic):
    send({"value": b"v", "timestamp": 17, "headers": [("a", b"1")]}, {"value": None, "key": b"\xff"})
    first, second = map(json.loads, consume("-J").splitlines())
    assert first == {"topic": topic, "partition": 0, "offset": 0, "tstype": "create", "timestamp": 17, "headers": [["a", "1"]], "key": None, "value": "v"}
    assert (second["offset"], second["key_base64"], second["value"]) == (1, "/w==", None) and "headers" not in second


def test_envelopes_are_as_python_writes_json(broker, topic, send):
    """Written in C: each character below 256, whole and cut UTF-8, nulls, headers; of all records, and of some."""
    texts = [bytes([byte]) * times for byte in range(256) for times in (1, 9)] + [chr(c).encode() for c in range(1, 300)] + [
        None, b"", "aöüß€😀\x7f\x00\"\\/".encode() * 3, b"plain text of some length, and more", *(b"12345678"[:end] + "ä€😀".encode()[:cut] for end in range(9) for cut in range(10))]
    send(*({"value": text, "key": text, "timestamp": number + 1, "headers": [(f"n{number % 7}ä\"", text)] * (number % 3)} for number, text in enumerate(texts)))
    with KafkaConsumer({"bootstrap.servers": broker.bootstrap_servers}) as consumer:
        consumer.assign({(topic, 0): 0})
        while len(batch := consumer.poll_batch(20, headers=True)) < len(texts):
            consumer.seek_to_beginning()
    expected = [envelope(f'"topic": "{topic}", "partition": 0, "offset": {number}, "tstype": "create", "timestamp": {number + 1}',
                         [(f"n{number % 7}ä\"", text)] * (number % 3), text, text) + b"\n" for number, text in enumerate(texts)]
    assert [line + b"\n" for line in envelope_lines(batch).split(b"\n")[:-1]] == expected
    assert envelope_lines(batch, [7, 3]) == expected[7] + expected[3] and envelope_lines(batch, []) == b""
    with pytest.raises(IndexError):
        envelope_lines(batch, [len(texts)])


def test_values_are_lines_and_null_is_an_empty_one(send, consume):
    send(b"first", b"", None, b"\xff\x00\r", b"two\nlines", b"last")
    assert consume() == b"first\n\n\n\xff\x00\r\ntwo\nlines\nlast\n"
    assert consume("-D", r"\0", "-Z") == b"first\0\0NULL\0\xff\x00\r\0two\nlines\0last\0"
    assert consume("--null-marker", r"\x00", "-c", 3, end=()) == b"first\n\n\x00\n"


def test_keys_stand_before_values_as_produce_takes_them(send, consume):
    send({"value": b"v", "key": b"k"}, {"value": b"no key"}, {"value": None, "key": b""})
    assert consume("-K", "%:") == b"k%:v\n%:no key\n%:\n"
    assert consume("-K", r"\t", "-D", ";", "-Z") == b"k\tv;NULL\tno key;\tNULL;"


def test_formats_are_those_of_kcat(send, consume, topic):
    send({"value": b"value", "key": b"key", "timestamp": 1700000000000, "headers": [("a", b"1"), ("b", None), ("c", b"")]}, {"value": None, "timestamp": 5})
    send({"value": b"\xff", "timestamp": 6}, partition=1)
    lines = set(consume("-f", r"%t [%p] @%o %T %k/%K %s/%S %h 100%%\n").splitlines())
    assert lines == {f"{topic} [0] @0 1700000000000 key/3 value/5 a=1,b=NULL,c= 100%".encode(), f"{topic} [0] @1 5 /-1 /-1  100%".encode(),
                     f"{topic} [1] @0 6 /-1 ".encode() + b"\xff/1  100%"}
    assert consume("-f", r"%R%s;", "-p", 0) == b"\0\0\0\5value;\xff\xff\xff\xff;"
    assert consume("-f", r"%s|%k\x21", "-Z", "-p", 0) == b"value|key!NULL|NULL!"
    assert consume("-f", ".") == b"..."


def test_where_it_begins_and_ends(send, consume):
    send(*(b"%d" % n for n in range(9)))
    for arguments, expected in ((("-o", "beginning"), b"012345678"), (("-o", 4), b"45678"), (("-o", 0), b"012345678"), (("-o", 9), b""), (("-o", "end"), b""),
                                (("-o", -2), b"78"), (("-o", -99), b"012345678"), (("-o", 4, "-c", 2), b"45"), (("-o", "e@2030-01-01T00:00Z"), b"012345678")):
        end = () if "e@" in str(arguments) else ("-e",)     # that is an end by itself
        assert consume("-p", 0, "-f", "%s", *arguments, end=end) == expected, arguments


def test_it_ends_before_a_time(topic, send, consume, monkeypatch):
    """The embedded cluster finds no offsets of times: they are given here."""
    send(*(b"%d" % n for n in range(9)))
    send(*(b"abc"[n:n + 1] for n in range(3)), partition=1)
    for first, second, expected in ((4, 1, b"0123a"), (0, 3, b"abc"), (9, 0, b"012345678"), (0, 0, b"")):
        monkeypatch.setattr(consume_run, "stops", lambda *_, stops=(first, second): {TopicPartition(topic, n): stop for n, stop in enumerate((*stops, 0, 0))})
        assert bytes(sorted(consume("-f", "%s", "-o", "e@5", end=()))) == expected
        assert pyarrow.ipc.open_stream(consume("--arrow", "-", "-o", "e@5", end=())).read_all().num_rows == len(expected)


def test_all_partitions_of_all_topics(broker, topic, send, consume):
    other = new_topic()
    broker.create_topic(other, 1)
    send(b"a", b"b")
    send(b"c", partition=1)
    run("produce", "-b", broker.bootstrap_servers, "-t", other, stdin=b"d")
    assert sorted(consume("-t", other).splitlines()) == [b"a", b"b", b"c", b"d"]
    assert sorted(consume("-p", 0, "-t", other, topics=("-t", topic)).splitlines()) == [b"a", b"b", b"d"]
    assert sorted(consume("-p", 1, "-p", 0).splitlines()) == [b"a", b"b", b"c"]
    assert sorted(consume("-o", -1).splitlines()) == [b"b", b"c"]


def test_a_summary_on_standard_error(send, consume, topic):
    send(b"four", {"value": b"v", "key": b"key"})
    send(b"x", partition=1)
    out, err = consume(quiet=())
    assert len(out.splitlines()) == 3
    head, *rows = err.splitlines()
    assert head.startswith("3 read: 9 bytes in ") and head.endswith(" MB/s") and "records/s" in head
    assert rows == [f"  {topic}-0: 2 records, next offset 2", f"  {topic}-1: 1 records, next offset 1"]


def test_thousands_of_records_in_several_batches(broker, topic, consume):
    lines = b"".join(b"%d\n" % n for n in range(30_000))
    run("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "1", stdin=lines)
    assert consume() == lines
    assert consume("-c", 20_001, end=()).count(b"\n") == 20_001
    assert consume("-J", "-o", 29_998, "-p", 1).count(b"\n") == 2


def test_an_arrow_stream(send, consume, tmp_path):
    send(*ODD)
    path = tmp_path / "records.arrows"
    assert consume("--arrow", path) == b""
    table = pyarrow.ipc.open_stream(path).read_all()
    assert table.num_rows == len(ODD) and sorted(table["value"].to_pylist(), key=repr) == sorted((one["value"] for one in ODD), key=repr)
    headers = [one for one in table["headers"].to_pylist() if one]
    assert headers[0] == [{"name": "a", "value": b"1"}, {"name": "a", "value": b"2"}, {"name": "b", "value": None}, {"name": "c", "value": b""}]
    assert pyarrow.ipc.open_stream(consume("--arrow", "-", "-o", "-1", "-p", 0)).read_all()["value"].to_pylist() == [ODD[-2]["value"]]


def test_an_arrow_stream_of_no_records(consume):
    table = pyarrow.ipc.open_stream(consume("--arrow", "-")).read_all()
    assert table.num_rows == 0 and table.column_names[:3] == ["topic", "partition", "offset"]
