"""The table in docs/internals/parity.md: each row of the C++ API's list names a test and files that exist.

Reads sources, runs nothing.
"""
import re

import pytest
from helpers import ROOT

TEXT = (ROOT / "docs" / "internals" / "parity.md").read_text()
ROWS = ([f"U{n}" for n in range(1, 16)] + [f"I{n}" for n in range(1, 18)] + [f"R{n}" for n in range(1, 10)]
        + [f"T{n}" for n in range(1, 5)] + [f"X{n}" for n in range(1, 11)])


def table():
    """(row, test, file); a row without a number of its own belongs to the one above."""
    found, row = [], None
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`test_\w+`", cells[2]):
            row = cells[0] or row
            found.append((row, cells[2].strip("`"), cells[3]))
    return found


def test_every_row_has_a_test():
    assert [row for row in ROWS if row not in {row for row, *_ in table()}] == []
    assert {row for row, *_ in table()} <= set(ROWS)


@pytest.mark.parametrize("row, name, file", table(), ids=lambda value: value)
def test_every_test_exists_and_bears_its_row(row, name, file):
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {name}"
    numbers = re.match(r"test_((?:[uirtx]\d+_)+)", name)[1].split("_")
    assert row in {number[0].upper() + str(int(number[1:])) for number in numbers if number}


def test_every_test_that_bears_a_row_is_in_the_table():
    pattern = re.compile(r"^def (test_[irtux]\d+_\w+)\(", re.MULTILINE)
    paths = [*(ROOT / "tests").rglob("test_parity_*.py"), ROOT / "tests" / "behaviour" / "test_transactions.py",
             *(ROOT / "tests" / "kafka").glob("test_kafka_*.py")]
    found = {name for path in paths for name in pattern.findall(path.read_text())}
    assert found - {name for _, name, _ in table()} == set()
    assert len(found) > 50


def test_every_file_that_a_difference_is_pinned_by_exists():
    names = set(re.findall(r"`((?:kafka/)?test_\w+\.py)`", TEXT))
    assert len(names) > 8
    assert [name for name in names if not [*(ROOT / "tests").rglob(name)]] == []


CONSUMER = [f"C{n}" for n in range(1, 35)] + [f"CR{n}" for n in range(1, 7)]


def consumer_table():
    """(rows, test, file) of the table of the consumer; rows without numbers belong to those above."""
    found, rows = [], None
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"test_\w+", cells[2]):
            rows = cells[0] or rows
            found.append((rows, cells[2], cells[3]))
    return found


def test_every_row_of_the_consumer_has_a_test():
    assert sorted({row for rows, *_ in consumer_table() for row in rows.split(", ")}) == sorted(CONSUMER)


@pytest.mark.parametrize("rows, name, file", consumer_table(), ids=lambda value: value)
def test_every_test_of_the_consumer_exists(rows, name, file):
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {name}"
