"""The fault matrix in docs/internals/reliability.md: each fault names a test and a control that exist.

Reads sources, runs nothing.
"""
import re

import pytest
from helpers import ROOT

TEXT = (ROOT / "docs" / "internals" / "reliability.md").read_text()
FAULTS = [f"F{number:02}" for number in range(1, 63)]
TEST = re.compile(r"`(?:kafka/)?(test_\w+\.py)::(test_\w+)`")


def table():
    """(fault, tests, controls) of each row, as text."""
    found = []
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"F\d\d", cells[0]):
            found.append((cells[0], cells[2], cells[3]))
    return found


def exists(text):
    """Whether each test that is named is there, and at least one is named."""
    named = TEST.findall(text)
    return bool(named) and all(re.search(rf"^ *(?:async )?def {name}\(", path.read_text(), re.MULTILINE)
                               for file, name in named for path in [next((ROOT / "tests").rglob(file))])


def test_every_fault_has_a_row():
    assert [fault for fault, *_ in table()] == FAULTS


@pytest.mark.parametrize("fault, tests, controls", table(), ids=lambda value: value[:3])
def test_every_test_and_every_control_exists(fault, tests, controls):
    assert exists(tests), tests
    assert exists(controls), controls
    assert not set(TEST.findall(tests)) & set(TEST.findall(controls)), "a test is no control of itself"


def test_every_test_that_calls_itself_a_control_is_in_the_table():
    written = {name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_control_\w+)\(", path.read_text(), re.M)}
    assert written - {name for _, _, controls in table() for _, name in TEST.findall(controls)} == set()
    assert len(written) > 10


def test_what_nobody_wrote_is_missed():
    assert exists("`test_reliability_table.py::test_what_nobody_wrote_is_missed`")
    assert not exists("`test_reliability_table.py::test_that_nobody_wrote`") and not exists("see there")
