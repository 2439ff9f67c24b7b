"""`kafkapp produce --format`: the records of JSON lines, envelopes, CSV and lines with headers; lines that make no record."""
import json

import pytest
from command_line import new_topic, run

import kafkapp
from kafkapp.cli.csv_rows import csv_rows
from kafkapp.cli.delimited import delimited
from kafkapp.cli.formats import BadInput, BadLine, Fields, compact, envelopes, json_lines


@pytest.fixture
def produce(broker):
    """The outcome of `kafkapp produce`, and what the topic holds then, in the order of its first partition."""
    def produce(*arguments, status=0, **options):
        topic = new_topic()
        broker.create_topic(topic)
        result = run("produce", "-b", broker.bootstrap_servers, "-t", topic, *arguments, **options)
        assert result.returncode == status, result
        return result, broker.records(topic)
    return produce


def made(form, *lines):
    """What a format makes of lines: the fields, or the reason why not."""
    return [fields if isinstance(fields, Fields) else str(fields) for _, _, fields in form(list(lines))]


# -- JSON lines --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line, key", [
    (b'{"id":"a"}', b"a"), ('{"id":"é\\u20ac"}'.encode(), "é€".encode()), (b'{"id":1}', b"1"), (b'{"id":1.50}', b"1.50"),
    (b'{"id":12345678901234567890123}', b"12345678901234567890123"), (b'{"id":1e5}', b"1e5"), (b'{"id":true}', b"true"),
    (b'{"id":false}', b"false"), (b'{"id":null}', None), (b'{"id":""}', b""), (b'{"x":{"id":2},"id":"outer"}', b"outer")])
def test_a_field_is_the_key(line, key):
    assert made(json_lines("id", None), line) == [Fields(line, key)]


@pytest.mark.parametrize("line, reason", [
    (b'{"x":1}', "has no field id"), (b"nope", "not JSON: Expecting value at column 1"), (b'{"id":1', "not JSON"), (b"[1]", "must be a JSON object, not an array"),
    (b'"id"', "not a string"), (b"null", "must be a JSON object, not null"), (b"3", "not a number"), (b'{"id":NaN}', "NaN is no number"),
    (b'{"id":[1]}', "not an array"), (b'{"id":{}}', "not an object"), (b'{"id":"\xff"}', "not UTF-8"), (b'{"id":"\\ud800"}', "surrogate"),
    (b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply")])
def test_a_line_without_a_key_is_no_record(line, reason):
    [said] = made(json_lines("id", None), line)
    assert reason in said


def test_blank_lines_are_no_records_and_a_mark_of_utf8_is_no_part():
    form = json_lines(None, b"k")
    assert made(form, b"\xef\xbb\xbf{}", b"", b" \t\r", b'{"a": 1}') == [Fields(b"{}", b"k"), Fields(b'{"a": 1}', b"k")]
    assert [number for number, _, _ in form([b"{}", b"", b"{}"])] == [1, 3]


def test_json_lines_arrive_as_they_stand(produce):
    lines = [b'{"id": 7, "x":1.50}', '{"id":"é"}'.encode(), b'{"id":null} ']
    result, found = produce("--key-field", "id", "-p", "0", stdin=b"\n".join(lines))
    assert [(record.key, record.value) for record in found] == [(b"7", lines[0]), ("é".encode(), lines[1]), (None, lines[2])]
    assert "3 delivered, 0 failed" in result.stdout


def test_lines_that_are_no_records_are_failures_with_file_and_line(produce, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id":1}\nbroken\n{"no":2}\n{"id":3}\n')
    result, found = produce("--key-field", "id", path, status=1)
    assert sorted(record.key for record in found) == [b"1", b"3"]
    assert "2 delivered, 2 failed" in result.stdout and "2 x INVALID_LINE" in result.stderr
    assert f"  {path}:2: not JSON: Expecting value at column 1\n  {path}:3: has no field id, which is the key\n" in result.stderr
    result, _ = produce("--format", "json", "--json", path, status=1)
    summary = json.loads(result.stdout)
    assert (summary["delivered"], summary["failures"]) == (3, {"INVALID_LINE": 1})
    assert summary["first_failures"] == [{"file": str(path), "line": 2, "code": "INVALID_LINE", "message": "not JSON: Expecting value at column 1"}]


@pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",)], ids=str)
def test_every_mode_sends_what_a_format_makes(produce, mode):
    _, found = produce("--key-field", "id", "-p", "0", "-H", "a=b", *mode, stdin=b"".join(b'{"id":%d}\n' % n for n in range(300)))
    assert [record.key for record in found] == [b"%d" % n for n in range(300)]
    assert {tuple(record.headers) for record in found} == {(("a", b"b"),)}


# -- envelopes ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line, fields", [
    ('{"value":"v"}', Fields(b"v", b"fixed")), ('{"value":null,"key":null}', Fields(None, None)), ('{"value":"","key":""}', Fields(b"", b"")),
    ('{"value":{"a":[1,2.5,"é",null,true]}}', Fields('{"a":[1,2.5,"é",null,true]}'.encode(), b"fixed")),
    ('{"value":"é","key":7}', Fields("é".encode(), b"7")), ('{"value_base64":"/wA=","key_base64":null}', Fields(b"\xff\x00", None)),
    ('{"value":"v","headers":{"a":"1","b":null,"c":["2","3"]}}', Fields(b"v", b"fixed", [("a", b"1"), ("b", None), ("c", b"2"), ("c", b"3")])),
    ('{"value":"v","headers":[["a","1"],["a",null]]}', Fields(b"v", b"fixed", [("a", b"1"), ("a", None)])),
    ('{"value":"v","headers":["a","1","b",null]}', Fields(b"v", b"fixed", [("a", b"1"), ("b", None)])),
    ('{"value":"v","headers":[]}', Fields(b"v", b"fixed", [])),
    ('{"value":"v","headers":{"a":"1"},"headers_base64":[["b","/w=="]]}', Fields(b"v", b"fixed", [("a", b"1"), ("b", b"\xff")])),
    ('{"value":{"a":[1.50,1e400,-0,9007199254740993.0,0.12345678901234567890]},"key":1.50}',
     Fields(b'{"a":[1.50,1e400,-0,9007199254740993.0,0.12345678901234567890]}', b"1.50")),
    ('{"value":"v","timestamp":5,"partition":3}', Fields(b"v", b"fixed", [], 5, 3)),
    ('{"topic":"x","partition":1,"offset":9,"tstype":"create","ts":6,"broker":1,"key":"k","payload":"p"}', Fields(b"p", b"k", [], 6, 1))])
def test_an_envelope_has_the_parts_of_a_record(line, fields):
    assert made(envelopes(b"fixed"), line.encode()) == [fields]


@pytest.mark.parametrize("line, reason", [
    ('{"key":"k"}', "has no value"), ('{"value":"v","valeur":"w"}', "unknown field 'valeur'"), ('{"value":"v","payload":"w"}', "has value twice"),
    ('{"value":"v","value_base64":""}', "has both value and value_base64"), ('{"value_base64":"?"}', "value_base64 is no base64"),
    ('{"value_base64":"YQ"}', "is no base64"), ('{"value_base64":5}', "value_base64 must be a string or null, not a number"),
    ('{"value":"v","headers":"a"}', "not a string"), ('{"value":"v","headers":{"a":1}}', "headers: the value of a must be a string or null, not a number"),
    ('{"value":"v","headers":[["a"]]}', "a pair has a name and a value, not 1 items"), ('{"value":"v","headers":["a"]}', "a name has no value"),
    ('{"value":"v","headers":[[1,"b"]]}', "the name of a header must be a string, not a number"), ('{"value":"v","headers_base64":{"a":"?"}}', "no base64"),
    ('{"value":"v","timestamp":"now"}', "timestamp must be a whole number, not a string"), ('{"value":"v","timestamp":1.5}', "not 1.5"),
    ('{"value":"v","timestamp":1e3}', "not 1e3"), ('{"value":"v","timestamp":' + "9" * 5000 + "}", "must be a whole number, not 999"),
    ('{"value":"v","value":"w"}', "has the field 'value' twice"), ('{"value":{"a":1,"a":2}}', "has the field 'a' twice"),
    ('{"value":"v","partition":true}', "partition must be a whole number, not a boolean"), ('{"value":"\\ud800"}', "surrogate")])
def test_an_envelope_that_is_no_record_says_why(line, reason):
    [said] = made(envelopes(None), line.encode())
    assert reason in said


def test_what_is_nested_too_deeply_to_be_written():
    thing = None
    for _ in range(5000):
        thing = [thing]
    with pytest.raises(BadLine, match="nested too deeply"):
        compact(thing)


def test_a_dry_run_is_json_in_any_locale():
    result = run("produce", "-t", "t", "--dry-run", stdin="é€😀\n".encode(), env={"PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, json.loads(result.stdout)["value"]) == (0, "é€😀")


def test_envelopes_arrive(produce):
    lines = [{"key": "a", "value": {"x": 1}, "headers": [["h", "1"], ["h", None]], "partition": 2, "timestamp": 1700000000000},
             {"value_base64": "/wA=", "partition": 1}, {"value": None, "key": "gone", "partition": 3}, {"value": "", "key": "e"}]
    _, found = produce("-f", "envelope", "-p", "0", "-H", "all=x", "-Z", stdin="\n".join(map(json.dumps, lines)).encode())
    assert [(r.partition, r.key, r.value, r.headers) for r in sorted(found, key=lambda r: r.partition)] == [
        (0, b"e", None, [("all", b"x")]), (1, None, b"\xff\x00", [("all", b"x")]), (2, b"a", b'{"x":1}', [("all", b"x"), ("h", b"1"), ("h", None)]),
        (3, b"gone", None, [("all", b"x")])]
    assert [r.timestamp for r in found if r.partition == 2] == [1700000000000]


@pytest.mark.parametrize("part, reason", [('"timestamp":-5', "timestamp must be"), ('"partition":-1', "partition must be"), ('"partition":99999999999', "partition must be"),
                                          ('"headers":{"a\\u0000b":"x"}', "NUL")])
@pytest.mark.parametrize("mode", [(), ("--sync",)], ids=str)
def test_what_a_record_does_not_take_is_a_failure_of_its_line(produce, part, reason, mode):
    result, found = produce("-f", "envelope", *mode, stdin=f'{{"value":"a"}}\n{{"value":"b",{part}}}\n{{"value":"c"}}\n'.encode(), status=1)
    assert sorted(record.value for record in found) == [b"a", b"c"]
    assert "2 delivered, 1 failed" in result.stdout
    assert "  standard input:2: " in result.stderr and reason in result.stderr


def test_a_dry_run_prints_envelopes_that_make_the_same_records(produce, tmp_path):
    lines = [{"key": "k", "value": "v", "headers": {"a": "1"}, "partition": 2, "timestamp": 9}, {"value_base64": "/w==", "partition": 1},
             {"value": None, "partition": 3, "headers_base64": [["b", "/w=="], ["c", None]]}, {"value": '{"x":"é"}', "partition": 0}]
    path = tmp_path / "envelopes"
    path.write_text("\n".join(map(json.dumps, lines)))
    shown = run("produce", "-t", "t", "-f", "envelope", "--dry-run", path)
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 4
    _, once = produce("-f", "envelope", path)
    _, twice = produce("-f", "envelope", stdin=shown.stdout.encode())
    assert [r[1:6] for r in once] == [r[1:6] for r in twice] and len(once) == 4


# -- CSV ---------------------------------------------------------------------------------------------------------------

def rows(*lines, key_field=None, separator=","):
    return made(csv_rows(separator, key_field, b"fixed"), *lines)


def test_rows_are_objects_of_their_columns():
    assert rows(b"\xef\xbb\xbfid,name", b'1,"a ""b"", c"', b"", "2,é\r".encode()) == [
        Fields(b'{"id":"1","name":"a \\"b\\", c"}', b"fixed"), Fields('{"id":"2","name":"é"}'.encode(), b"fixed")]
    assert rows(b"id;name", b"1;x", key_field="id", separator=";") == [Fields(b'{"id":"1","name":"x"}', b"1")]


def test_a_quoted_value_has_line_ends_and_a_row_its_first_line():
    found = list(csv_rows(",", None, None)([b"id,note", b'1,"a', b"", b'b"', b"2,c"]))
    assert found == [(2, b'1,"a\n\nb"', Fields(b'{"id":"1","note":"a\\n\\nb"}')), (5, b"2,c", Fields(b'{"id":"2","note":"c"}'))]


def test_an_open_quote_costs_its_line_alone():
    found = list(csv_rows(",", "id", None)([b"id,note", b'1,"open', b"2,b", b"3,c"]))
    assert [(number, text) for number, text, _ in found] == [(2, b'1,"open'), (3, b"2,b"), (4, b"3,c")]
    assert isinstance(found[0][2], BadLine) and [fields.key for _, _, fields in found[1:]] == [b"2", b"3"]


@pytest.mark.parametrize("line, reason", [(b"1", "has 1 columns, and the header has 2"), (b"1,2,3", "has 3 columns"), (b'1,"a"b', "not CSV"), (b"1,\xff", "not UTF-8")])
def test_a_row_that_is_none(line, reason):
    [said, after] = rows(b"id,name", line, b"2,x")
    assert reason in said and after == Fields(b'{"id":"2","name":"x"}', b"fixed")


@pytest.mark.parametrize("line, reason", [(b"id,id", "'id' more than once"), (b"a,b", "has no column id, which is the key: its columns are a, b"), (b'"id', "not CSV"), (b"id,\xff", "not UTF-8")])
def test_a_header_that_is_none(line, reason):
    with pytest.raises(BadInput, match=reason):
        rows(line, b"1,2", key_field="id")


def test_csv_arrives_and_a_wrong_header_is_an_error(produce, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_bytes(b'id;note\n1;"a\nb"\n2;x\n')
    two.write_bytes(b"nr;note\n3;c\n")
    _, found = produce("-f", "csv", "--column-separator", ";", "--key-field", "id", "-p", "0", one)
    assert [(r.key, json.loads(r.value)) for r in found] == [(b"1", {"id": "1", "note": "a\nb"}), (b"2", {"id": "2", "note": "x"})]
    result, found = produce("-f", "csv", "--column-separator", ";", "--key-field", "id", one, two, status=2)
    assert len(found) == 2 and f"kafkapp: {two}: it has no column id" in result.stderr


# -- lines with headers ------------------------------------------------------------------------------------------------

JAVA = (b"\t", (b",", b":"), b"\t", b"fixed", b"NULL")


@pytest.mark.parametrize("line, fields", [
    (b"h1:v1,h2:v:2\tk\tv\tw", Fields(b"v\tw", b"k", [("h1", b"v1"), ("h2", b"v:2")])), (b"h:NULL\tNULL\tNULL", Fields(None, None, [("h", None)])),
    (b"NULL\tk\t", Fields(b"", b"k", [])), (b"\tk\tv", Fields(b"v", b"k", [])), (b"h:\tvalue", Fields(b"value", b"fixed", [("h", b"")]))])
def test_lines_as_javas_console_producer_reads_them(line, fields):
    assert made(delimited(*JAVA), line) == [fields]


@pytest.mark.parametrize("line, reason", [(b"h:v", "has no headers"), (b"h\tk\tv", "a header must be name:value, not b'h'"), (b":v\tk\tv", "must be name:value"), (b"\xff:v\tk\tv", "not UTF-8")])
def test_lines_whose_headers_are_none(line, reason):
    [said] = made(delimited(*JAVA), line)
    assert reason in said


def test_headers_of_lines_arrive(produce):
    _, found = produce("-p", "0", "--header-delimiter", "|", "--header-separator", ";", "--header-key-separator", "=", "-K", ":", "-H", "all=1",
                       stdin=b"a=x;b=y|k:v\n|:\n|no key")
    assert [(r.headers, r.key, r.value) for r in found] == [
        ([("all", b"1"), ("a", b"x"), ("b", b"y")], b"k", b"v"), ([("all", b"1")], b"", b""), ([("all", b"1")], None, b"no key")]


def test_a_null_marker(produce):
    _, found = produce("-p", "0", "-K", ":", "--null-marker", "-", stdin=b"k:-\n-:v\n-\n--\n")
    assert [(r.key, r.value) for r in found] == [(b"k", None), (None, b"v"), (None, None), (None, b"--")]


# -- keys, whole files, options ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",)], ids=str)
def test_a_fixed_key(produce, mode):
    result, found = produce("-k", r"k\x01", "-p", "0", "--json", *mode, stdin=b"a\nb\n")
    assert [(r.key, r.value) for r in found] == [(b"k\x01", b"a"), (b"k\x01", b"b")]
    assert json.loads(result.stdout)["bytes"] == 6
    _, found = produce("-k", "fixed", "-K", ":", "-p", "0", *mode, stdin=b"own:a\nb\n:c\n")
    assert [(r.key, r.value) for r in found] == [(b"own", b"a"), (b"fixed", b"b"), (b"", b"c")]


def test_a_whole_file_is_a_record(produce, tmp_path):
    one, empty = tmp_path / "one", tmp_path / "empty"
    one.write_bytes(b"a\nb\xff\n")
    empty.write_bytes(b"")
    _, found = produce("-f", "file", "-k", "k", "-p", "0", one, empty, "-", stdin=b"piped\n")
    assert [(r.key, r.value) for r in found] == [(b"k", b"a\nb\xff\n"), (b"k", b""), (b"k", b"piped\n")]
    large = tmp_path / "large"
    large.write_bytes(b"x" * 2000)
    result, found = produce("-f", "file", "-X", "message.max.bytes=1000", large, one, status=1)
    assert [r.value for r in found] == [b"a\nb\xff\n"] and f"  {large}:1: " in result.stderr


@pytest.mark.parametrize("arguments", [
    ("-f", "csv", "-D", ";"), ("-f", "file", "-D", ";"), ("-f", "json", "-K", ":"), ("-f", "csv", "--null-marker", "x"), ("-f", "envelope", "--header-delimiter", "x"),
    ("-f", "lines", "--key-field", "id"), ("-f", "envelope", "--key-field", "id"), ("--key-field", "id", "-k", "k"), ("--tee", "--dry-run"), ("--tee", "-f", "file"),
    ("--column-separator", ";"), ("-f", "json", "--column-separator", ",")])
def test_options_that_exclude_each_other(arguments):
    result = run("produce", "-b", "127.0.0.1:1", "-t", "t", *arguments)
    assert (result.returncode, result.stdout) == (2, "") and "exclude each other" in result.stderr


@pytest.mark.parametrize("option", ["--header-separator", "--header-key-separator"])
def test_separators_without_headers(option):
    result = run("produce", "-b", "127.0.0.1:1", "-t", "t", option, ",")
    assert (result.returncode, result.stdout) == (2, "") and "go with --header-delimiter" in result.stderr


@pytest.mark.parametrize("arguments", [("-f", "xml"), ("--column-separator", ";;"), ("--column-separator", ""), ("-c", "0"), ("--rate", "0"), ("--rate", "nan"), ("-z", "rar"),
                                       ("-k", ""), ("--null-marker", ""), ("--key-field", ""), ("--header-delimiter", "")])
def test_values_that_an_option_does_not_take(arguments):
    result = run("produce", "-b", "127.0.0.1:1", "-t", "t", *arguments)
    assert (result.returncode, result.stdout) == (2, "") and arguments[0] in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("codec", ["none", *sorted({"gzip", "snappy", "lz4", "zstd"} & set(kafkapp.librdkafka_features()))])
def test_compression(produce, codec):
    _, found = produce("-z", codec, "-p", "0", "-X", "compression.codec=lz4", stdin=b"x" * 1000 + b"\ny\n")
    assert [r.value for r in found] == [b"x" * 1000, b"y"]
