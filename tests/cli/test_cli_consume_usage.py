"""`kafkapp consume`: its options, and errors in one clear line that says what to do."""
import json
import socket
import subprocess
import sys

import click
import pytest
from command_line import environment, run, without_logs

from kafkapp import ConsumerConfig, ErrorCode, Offset, TopicPartition
from kafkapp.cli.consume import commits
from kafkapp.cli.consume_formats import nulls, parse_format
from kafkapp.cli.consume_places import Range, milliseconds, parse_one, parse_range, starts, stops
from kafkapp.cli.main import group
from kafkapp.cli.properties import client_properties, complete_pair, properties_json
from kafkapp.cli.request import Misuse
from kafkapp.testing import MockCluster

NOON = 1795867200000        # 2026-11-28T12:00Z


@pytest.fixture(scope="module")
def servers():
    with MockCluster(1) as cluster:
        cluster.create_topic("orders", 2)
        # The cluster of librdkafka 2.0.2 creates each topic that is asked for.
        cluster.set_topic_error("nothing", ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        yield cluster.bootstrap_servers


def refusal(*arguments, **options):
    """The one line of an error of use."""
    result = run("consume", *arguments, **options)
    assert (result.returncode, result.stdout) == (2, ""), result
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("kafkapp"), result.stderr
    return result.stderr


@pytest.fixture
def refused(monkeypatch):
    """The message of an error of use, in this process, for speed: `kafkapp.cli.main.run` makes one line of it."""
    without_logs(monkeypatch)

    def refused(*arguments):
        with pytest.raises(click.ClickException) as caught:
            group.main(["consume", *map(str, arguments)], "kafkapp", standalone_mode=False)
        assert caught.value.exit_code == 2
        return caught.value.format_message()
    return refused


# -- what can be seen without a broker ---------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, words", [
    ((), "no topic: name one"), (("",), "must not be empty"), (("-t", ""), "must not be empty"), (("-b", "", "t"), "must not be empty"), (("-g", "", "t"), "must not be empty"),
    (("t", "-o", "middle"), "'middle': expected beginning, end, stored"), (("t", "-o", "s@noon"), "'noon' is no time: expected milliseconds"),
    (("t", "-f", "%s %x"), "%x is not known: %t topic"), (("t", "-p", "-1"), "-p"), (("t", "-c", "0"), "-c"),
    (("t", "-o", "stored"), "-o stored needs a group, whose committed offsets it means: -g NAME"), (("^t",), "give -g NAME, and no -p"), (("^t", "-g", "g", "-p", "0"), "give -g NAME, and no -p"),
    (("t", "-g", "g", "-o", "5"), "name partitions by -p, or leave out -g"), (("t", "-g", "g", "-o", "e@5"), "name partitions by -p"),
    (("t", "-f", "%s", "-J"), "--json and --format exclude each other"), (("t", "-f", "%s", "-K", ":"), "--format and --key-delimiter exclude each other"),
    (("t", "-J", "-Z"), "--json and -Z exclude each other"), (("t", "--arrow", "-", "--null-marker", "x"), "--arrow and --null-marker exclude each other"),
    (("t", "-J", "--arrow", "-"), "--json and --arrow exclude each other"), (("t", "-Z", "--null-marker", "x"), "exclude each other"),
    (("t", "-X", "lingre.ms=5", "-b", "127.0.0.1:1"), "lingre.ms"), (("t", "-X", "fetch.min.bytes=many", "-b", "127.0.0.1:1"), "fetch.min.bytes"),
    (("t", "-g", "g", "-p", "0", "-X", "enable.auto.commit=maybe"), "enable.auto.commit: expected true or false, not 'maybe'"),
    (("t",), "no brokers: name them by -b HOST:PORT or in the environment's KAFKA_BOOTSTRAP_SERVERS")], ids=str)
def test_errors_of_use(refused, monkeypatch, arguments, words):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert words in refused(*arguments)


def test_an_error_of_use_is_one_line():
    assert refusal() == "kafkapp: no topic: name one, as in `kafkapp consume orders`\n"


def test_an_unreachable_broker():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert f"no broker reachable at {server} within 0.5 s: " in refusal("-b", server, "t", "--timeout", "0.5")


def test_topics_and_partitions_that_are_not_there(servers, refused, tmp_path):
    path = tmp_path / "a.arrows"
    line = refused("-b", servers, "orders", "nothing", "--arrow", path)
    assert "topic nothing is not there; `kafkapp produce -L` lists those that are" in line
    assert not path.exists()
    assert "topic orders has partitions 0 to 1, and not 7" in refused("-b", servers, "orders", "-p", "7", "-p", "0")
    assert "orders [0] has offsets 0 to 0, and not 5: name one of these" in refused("-b", servers, "orders", "-o", "5")


def test_where_an_arrow_stream_cannot_go(servers, refused, tmp_path):
    path = tmp_path / "a.arrows"
    path.write_bytes(b"yesterday's")
    assert "holds something already: remove it, or name another file" in refused("-b", servers, "orders", "--arrow", path)
    assert path.read_bytes() == b"yesterday's"
    assert "No such file or directory" in refused("-b", servers, "orders", "--arrow", tmp_path / "missing" / "a")


def test_without_pyarrow_it_says_what_to_install():
    code = "import sys; sys.modules['pyarrow'] = None; sys.argv = ['kafkapp', 'consume', 't', '--arrow', 'x']; import runpy; runpy.run_module('kafkapp', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "kafkapp: --arrow needs pyarrow, which is not here: pip install 'kafkapp[arrow]'\n")


def test_properties_are_those_of_a_consumer():
    text = run("consume", "-X", "list").stdout
    assert "\nfetch.min.bytes (integer; default 1; " in text and "\nacks " not in text
    names = {one.name for one in client_properties(consumer=True)}
    assert {ConsumerConfig.GROUP_ID, ConsumerConfig.AUTO_OFFSET_RESET, ConsumerConfig.ISOLATION_LEVEL} <= names
    assert {one["name"] for one in json.loads(properties_json(consumer=True))} == names


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "false", "False", "f", "0"])
def test_auto_commit_is_spelled_as_librdkafkas(text):
    assert commits({"enable.auto.commit": text}) == (text.lower() in ("true", "1"))
    assert commits({})


def test_the_shell_completes_a_consumers_properties():
    result = run(env={"_KAFKAPP_COMPLETE": "bash_complete", "COMP_WORDS": "kafkapp consume -X isolation.level=", "COMP_CWORD": "3"})
    assert result.stdout == "plain,isolation.level=read_uncommitted\nplain,isolation.level=read_committed\n"
    context = click.Context(click.Command("consume"), info_name="consume")
    assert [item.value for item in complete_pair(context, None, "isolation")] == ["isolation.level="]
    assert complete_pair(context, None, "acks") == []


def test_help_has_the_exit_statuses():
    result = run("consume", "--help")
    assert result.returncode == 0 and all(word in result.stdout for word in ("Exit status:", "130, 143", "141", "-o, --offset"))


def test_it_does_not_import_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "kafkapp", "consume", "--help"], env=environment(), capture_output=True, timeout=30, check=True)
    assert b"kafkapp.cli.consume_run" in done.stderr
    assert not any(name in done.stderr for name in (b"pyarrow", b"rich", b"asyncio", b"kafkapp.bench"))


# -- places ------------------------------------------------------------------------------------------------------------

class Offsets:
    """Two partitions, as a consumer knows them: offsets 10 to 20, the time of each is NOON + offset; and an empty one."""

    def beginning_offsets(self, places, timeout):
        return {place: 10 * (place.partition == 0) for place in places}

    def end_offsets(self, places, timeout):
        return {place: 20 * (place.partition == 0) for place in places}

    def offsets_for_times(self, times, timeout):
        return {place: max(10, time - NOON) for place, time in times.items() if place.partition == 0 and time - NOON < 20}


PLACES = [TopicPartition("t", 0), TopicPartition("t", 1)]


@pytest.mark.parametrize("text, first, second", [
    ("beginning", Offset.Beginning, Offset.Beginning), ("end", Offset.End, Offset.End), ("0", 10, 0), ("-3", 17, 0), ("-30", 10, 0), ("-0", 20, 0),
    (f"@{NOON + 15}", 15, 0), (f"s@{NOON + 99}", 20, 0), ("s@2026-11-28T12:00:00.012Z", 12, 0), ("@2026-11-28T13:00:00.012+01:00", 12, 0),
    ("@2026-11-28T12:00:00.012", 12, 0), ("@2026-11-28", 10, 0)])
def test_starts(text, first, second):
    assert starts(Offsets(), PLACES, parse_one(text), 1) == dict(zip(PLACES, (first, second), strict=True))


def test_an_offset_behind_the_end():
    assert starts(Offsets(), PLACES[:1], parse_one("20"), 1) == {PLACES[0]: 20}
    with pytest.raises(Misuse, match=r"t \[0\] has offsets 10 to 20, and not 21: name one of these, other partitions by -p"):
        starts(Offsets(), PLACES, parse_one("21"), 1)


def test_stops():
    assert stops(Offsets(), PLACES, NOON + 12, 1) == {PLACES[0]: 12, PLACES[1]: 0}
    assert stops(Offsets(), PLACES, NOON + 99, 1) == {PLACES[0]: 20, PLACES[1]: 0}


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "+1", "1_000", "9223372036854775807", "@", "s@", "e@x", "x@5", "s@-1", "@2026-13-01", "s@5e3", "@0001-01-01T00:00+23:00", "@1969-12-31"])
def test_no_places(text):
    with pytest.raises(click.BadParameter):
        parse_one(text)


def test_a_start_and_an_end():
    assert parse_range(None, None, ("e@9", "s@5")) == Range(since=5, until=9)
    for texts in ("1", "2"), ("beginning", "s@1"), ("e@1", "e@2"), ("s@5", "e@5"), ("end", "-1"):
        with pytest.raises(click.BadParameter):
            parse_range(None, None, texts)
    assert milliseconds("1970-01-01T00:00:01.5Z") == 1500


def test_formats_are_checked_whole():
    assert parse_format(b"%%%s%%")[0] == b"%%%b%%" and parse_format(b"")[0] == b""
    for text in b"%", b"%s%", b"%%%", b"%\xff", b"% s", b"%\n":
        with pytest.raises(click.BadParameter, match="is not known"):
            parse_format(text)


def test_nulls_of_a_bitmap():
    assert nulls(b"\x05\x01", 10) == [1, 3, 4, 5, 6, 7, 9]
