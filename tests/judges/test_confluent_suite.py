"""confluent-kafka's own tests of its producer, errors, logs and threads, run against kafkapp by a shim of its names.

Their source archive is fetched from the package index into the user's cache folder, and nothing of it is kept here. Newer
archives have no tests. What each test must come to, and why, stands in docs/internals/judges.md.
"""
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers import ROOT
from kafka_jars import cache_folder, may_not_be_left_out

pytestmark = pytest.mark.timeout(400)

PINNED = "confluent-kafka==1.4.2 --hash=sha256:c2660807e5c1ecd723e280f76918794c3fd84595000c1e8de1f254f5d89a785c"
FILES = ("test_KafkaError.py", "test_Producer.py", "test_enums.py", "test_log.py", "test_misc.py", "test_threads.py")
SHIM = Path(__file__).parent / "shim"


class Unreachable(Exception):
    """The package index, or the archive in it."""


def suite():
    """The folder of their tests, filled by pip the first time."""
    folder = cache_folder() / "confluent-kafka-1.4.2-tests"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Filled beside its place and renamed, so that a run that was stopped half way leaves no half-filled cache.
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        work = Path(work)
        (work / "pinned").write_text(PINNED)
        # pip checks the hash before it runs the archive's setup.py for its metadata; no compiler and no librdkafka are asked for.
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--require-hashes", "--no-deps",
                   "--no-build-isolation", "--no-binary", ":all:", "-d", str(work), "-r", str(work / "pinned")]
        try:
            done = subprocess.run(command, text=True, capture_output=True, timeout=120)
        except subprocess.TimeoutExpired:
            raise Unreachable("pip could not fetch confluent-kafka 1.4.2 in two minutes") from None
        if done.returncode:
            assert "DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
            raise Unreachable(f"pip could not fetch confluent-kafka 1.4.2: {' '.join(done.stderr.split())[-400:]}")
        # The files alone: beside the package that they come with, they would import that.
        (work / "tests").mkdir()
        with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
            for name in FILES:
                (work / "tests" / name).write_bytes(archive.extractfile(f"confluent-kafka-1.4.2/tests/{name}").read())
        try:
            (work / "tests").rename(folder)
        except OSError:
            if not folder.is_dir():     # else another run was faster
                raise
    return folder


def run(folder, report):
    """{test: (outcome, what it said)} of the tests in a folder, in a process that finds the shim before any confluent_kafka."""
    unwanted = ("CI", "PYTEST_ADDOPTS")     # with CI set, they allow a timeout
    environment = {name: text for name, text in os.environ.items() if name not in unwanted} | {
        "PYTHONPATH": os.pathsep.join([str(SHIM), os.environ["PYTHONPATH"]]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), "--import-mode", "importlib",
               "-p", "pytest_timeout", "--timeout", "120", "-p", "no:cacheprovider", f"--junit-xml={report}", str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=380)
    assert report.exists(), done.stdout[-4000:]
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [part for part in case if part.tag in ("failure", "error", "skipped")]
        outcome = {"skipped": "skipped"}.get(bad[0].tag, "failed") if bad else "passed"
        said = "\n".join(f"{part.get('message')}\n{part.text}" for part in bad)
        found[f"{case.get('classname').split('.')[-1]}.py::{case.get('name')}"] = (outcome, said)
    return found


def table(text):
    """{test: (outcome, what it says, why)} of the page's rows."""
    rows = [[cell.strip().strip("`") for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| `test_")]
    return {test: (outcome, says, why) for test, outcome, says, why in rows}


def differences(expected, found):
    """A line for each test that did not come to what the table has for it."""
    for test in sorted(expected.keys() | found.keys()):
        outcome, said = found.get(test, ("not run", ""))
        want, says, _ = expected.get(test, ("not in the table", "", ""))
        if outcome != want or says not in said:
            yield f"{test}: {want}{says and f' with {says!r}'} in the table, but {outcome}: {said[-2000:]}"


EXPECTED = table((ROOT / "docs" / "internals" / "judges.md").read_text())


def test_their_tests_come_to_what_the_table_says(tmp_path):
    try:
        folder = suite()
    except Unreachable as missing:
        if may_not_be_left_out():
            pytest.fail(f"confluent-kafka's tests are required here, but {missing}", pytrace=False)
        pytest.skip(str(missing))
    assert [*differences(EXPECTED, run(folder, tmp_path / "report.xml"))] == []


def test_the_table_says_why():
    assert len(EXPECTED) > 30 and {test.split("::")[0] for test in EXPECTED} == set(FILES)
    assert [test for test, (outcome, says, why) in EXPECTED.items() if outcome != "passed" and not (says and why)] == []


@pytest.mark.parametrize("found", [("failed", "AssertionError"), ("skipped", "no broker"), None])
def test_another_outcome_would_be_found(found):
    right = {"test_log.py::test_a": ("passed", ""), "test_log.py::test_b": ("failed", "NotImplementedError: no consumer")}
    text = "| `test_log.py::test_a` | passed | | |\n| `test_log.py::test_b` | failed | `no consumer` | as said |\n"
    assert [*differences(table(text), right)] == []
    for test in right:
        other = {**right, test: found} if found else {name: said for name, said in right.items() if name != test}
        assert len([*differences(table(text), other)]) == 1
    assert len([*differences(table(text), dict.fromkeys(right, ("passed", "")))]) == 1      # one that is expected to fail
    assert len([*differences(table(text), {**right, "test_log.py::test_c": ("passed", "")})]) == 1


def test_what_cannot_be_fetched_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Unreachable, match="could not fetch confluent-kafka"):
        suite()
    assert not [*(tmp_path / "kafkapp-tests").iterdir()]
