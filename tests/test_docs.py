"""The code of the documents runs, and prints what they say that it prints.

The python blocks below a heading share a namespace, which has BOOTSTRAP; the text blocks below it are
what they print, where `...` stands for anything.
"""
import re

import pytest
from support import ROOT

from kafkapp import ErrorCode

DOCUMENT = ROOT / "docs" / "quickstart.md"
FENCE = re.compile(r"^```(\w*)$")


def sections():
    """(heading, [(first line, code)], expected output) of each heading that has code."""
    found, heading, kind, start, lines = [], "", None, 0, []
    for number, line in enumerate(DOCUMENT.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if kind is None and line.startswith("#"):
            heading = line.lstrip("# ")
            found.append((heading, [], []))
        elif kind is None and fence:
            kind, start, lines = fence[1], number + 1, []
        elif fence:
            {"python": found[-1][1], "text": found[-1][2]}[kind].append((start, "\n".join(lines) + "\n"))
            kind = None
        else:
            lines.append(line)
    assert kind is None, f"the block at line {start} has no end"
    return [(heading, code, "".join(text for _, text in output)) for heading, code, output in found if code]


SECTIONS = sections()


@pytest.mark.parametrize("code, output", [section[1:] for section in SECTIONS], ids=[name for name, *_ in SECTIONS])
def test_the_quick_start_runs_and_prints_what_it_says(broker, capsys, code, output):
    namespace = {"BOOTSTRAP": broker.bootstrap_servers, "__name__": "__main__"}
    for start, text in code:
        exec(compile("\n" * (start - 1) + text, str(DOCUMENT), "exec"), namespace)      # noqa: S102 - it is ours
    printed = capsys.readouterr().out
    assert re.fullmatch(re.escape(output).replace(r"\.\.\.", ".*?"), printed, re.DOTALL), printed


def test_every_heading_of_the_quick_start_with_code_is_found():
    text = DOCUMENT.read_text()
    assert sum(len(code) for _, code, _ in SECTIONS) == text.count("```python") >= 14


def test_every_error_that_the_quick_start_names_exists():
    names = set(re.findall(r"RD_KAFKA_RESP_ERR\w*", DOCUMENT.read_text()))
    assert len(names) > 15
    assert names <= set(ErrorCode.__members__)


def test_every_property_that_the_quick_start_names_exists(broker):
    from kafkapp import KafkaSyncProducer

    of_brokers = {"auto.create.topics.enable", "min.insync.replicas"}
    with KafkaSyncProducer({"bootstrap.servers": broker.bootstrap_servers}) as producer:
        names = set(re.findall(r"`([a-z]+(?:\.[a-z]+)+)(?:=\w+)?`", DOCUMENT.read_text())) - of_brokers
        names = {name for name in names if not name.startswith(("sys.", "batch.wait"))}
        assert len(names) > 10
        assert [name for name in names if producer.get_property(name) is None] == []
