"""`kafkapp produce -X list`, the completion of properties, codecs and formats, and -z above the other properties."""
import json

import pytest
from command_line import run

from kafkapp import ProducerConfig
from kafkapp.cli.options import compressed
from kafkapp.cli.properties import client_properties


def completions(*words):
    result = run(env={"_KAFKAPP_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("kafkapp", "produce", *words)), "COMP_CWORD": str(1 + len(words))})
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_the_list_has_defaults_and_meanings():
    result = run("produce", "-X", "list")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nlinger.ms (float; default 5; 0..900000)\n    Alias for `queue.buffering.max.ms`: Delay in milliseconds to wait" in result.stdout
    assert "\ncompression.type (enum value; default none; none, gzip, snappy, lz4, zstd)\n" in result.stdout
    assert "\npartitioner (string; default murmur2_random" in result.stdout       # kafkapp's own
    assert max(map(len, result.stdout.splitlines())) < 400 and "<br>" not in result.stdout
    assert "\ngroup.id " not in result.stdout and "\nerror_cb " not in result.stdout      # a consumer's; no text


def test_the_list_for_a_machine():
    result = run("produce", "--json", "-X", "list")
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert found["acks"]["default"] == "-1" and found["acks"]["importance"] == "high" and found["acks"]["text"].startswith("Alias for")
    assert sorted(found) == [one.name for one in client_properties()]


def test_every_listed_property_is_one_that_producers_take():
    names = {one.name for one in client_properties()}
    constants = {value for name, value in vars(ProducerConfig).items() if name.isupper()}
    assert constants - {"error_cb", "log_cb", "stats_cb", "oauthbearer_token_refresh_cb", "interceptors", "enable.manual.events.poll"} <= names


def test_names_are_completed_and_the_words_behind_them():
    assert completions("-X", "enable.id") == ["enable.idempotence="]
    assert "\nclient.id (string; default kafkapp)\n" in run("produce", "-X", "list").stdout
    assert completions("-X", "li") == ["linger.ms=", "list"]
    assert len(completions("-X", "")) == 1 + len(client_properties())


def test_words_of_properties_in_shells_that_keep_them_whole():
    result = run(env={"_KAFKAPP_COMPLETE": "zsh_complete", "COMP_WORDS": "kafkapp produce -X acks=", "COMP_CWORD": "3"})
    assert result.returncode == 0
    result = run(env={"_KAFKAPP_COMPLETE": "zsh_complete", "COMP_WORDS": "kafkapp produce -X compression.type=g", "COMP_CWORD": "3"})
    assert "compression.type=gzip" in result.stdout.splitlines()


def test_codecs_and_formats_are_completed():
    assert completions("-z", "") == ["none", "gzip", "snappy", "lz4", "zstd"]
    assert completions("--compress", "z") == ["zstd"]
    assert completions("--format", "") == ["lines", "json", "envelope", "csv", "file"]


@pytest.mark.parametrize("name", ["compression.type", "compression.codec"])
def test_compress_goes_above_the_properties(name):
    assert compressed({name: "gzip", "acks": "1"}, "lz4") == {"compression.type": "lz4", "acks": "1"}
    assert compressed({name: "gzip"}, None) == {name: "gzip"}


def test_help_has_the_exit_statuses():
    said = run("produce", "--help").stdout
    assert "Exit status:" in said
    for status, what in (("0", "all records were delivered"), ("1", "some were not"), ("2", "nothing was sent"), ("130, 143", "ended by Ctrl-C or SIGTERM")):
        assert any(line.split(maxsplit=status.count(" ") + 1)[:status.count(" ") + 1] == status.split() and what in line for line in said.splitlines()), status
