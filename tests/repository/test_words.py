"""Words and spelling: one vocabulary in sources, documents and tests, that of Kafka and librdkafka; and no misspelling.

The table names what to write instead. A place where another sense of a word is right is allowed by its phrase.
"""
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from test_source import ROOT, tracked

GAP = r"(?:[ \t]*\n[ \t]*(?:#|\*|//)?[ \t]*|[ \t]+)"      # between two words, maybe over the end of a line of a comment

# {what is not written: what to write instead}. "~" is a GAP. Written so that this file does not hold what it looks for.
WORDS = {
    r"for~ever(?!y)": "forever",
    r"time[-]outs?": "timeout",
    r"(?:is|are|was|were|be|been|being)~told|told~of|tells?~of": "is reported, reports, knows",
    r"hand(?:s|ed|ing)?~over|hand[-]overs?": "enqueue, produce; pass for what is no record",
    r"let(?:s|ting)?~go~of": "release",
    r"g(?:ive|ives|ave|iven|iving)~back": "release, return",
    r"g(?:ive|ives|ave|iven|iving)~up": "fail, drop, stop; expire for a time",
    r"settl(?:e|es|ed|ing)": "complete, fail",
    r"serving~threads?": "dispatcher thread",
    r"(?:is|are|was|were|be|been)~had": "is available, can be fetched",
    r"(?<!user )(?<!one )(?<!those )(?<!program )who(?:ever)?~(?:waits?|calls?|asks?|polls?|sends?|closes?|must|holds)":
        "the caller, the waiting thread: name it",
    r"Layer:?~(?:L\d|tests?|test~helper|fault~tests?|tool)": "nothing: layers are the folders",
}
# Where another sense is meant.
ALLOWED = []
EXAMPLES = ["waits for_ever", "in a time_out".replace("_", "-"), "nobody is_told", "tells_of a loss", "handed_over", "the hand-_over".replace("_", ""),
            "lets_go_of it", "given_back", "gives_up", "sett_led".replace("_", ""), "the serving_thread", "where it is_had", "for who_waits", "whoever_calls it",
            "Layer:_L3", "of a\n# time_out".replace("_", "-"), "hands_\n * over"]


def compiled(pattern):
    return re.compile(rf"(?<!\w){pattern.replace('~', GAP)}(?!\w)", re.I)


PATTERNS = {compiled(pattern): instead for pattern, instead in WORDS.items()}


def wrong_words(text):
    """(line, the words, what to write instead) of each."""
    for phrase in ALLOWED:
        text = re.sub(phrase.replace("~", GAP), lambda match: re.sub(r"\S", "-", match.group()), text)
    for pattern, instead in PATTERNS.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match.group().split()), instead


def checked():
    return [(path, text) for path, text in tracked() if path.suffix not in (".patch", ".svg", ".config") and path.name != "LICENSE"]


def test_words_are_those_of_kafka_and_librdkafka():
    found = [f"{path.relative_to(ROOT)}:{line}: {words!r}, write: {instead}" for path, text in checked()
             for line, words, instead in wrong_words(text)]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("text", EXAMPLES)
def test_such_words_would_be_found(text):
    assert [*wrong_words(text.replace("_", " "))]


def test_spelling():
    if importlib.util.find_spec("codespell_lib") is None:
        assert not os.environ.get("CI"), "CI has no codespell"
        pytest.skip("no codespell here")
    command = [sys.executable, "-m", "codespell_lib", *(str(path.relative_to(ROOT)) for path, _ in checked())]
    result = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr
