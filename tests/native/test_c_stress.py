"""The C stress without a sanitizer: senders, batches, flushes and a dispatcher against each other; no lost wake-up.

Fault F24. The same program that `tests/support/sanitize.py tsan` runs, here without a sanitizer.
"""
import shutil
import subprocess

import pytest
import sanitize

CSRC = sanitize.ROOT / "csrc"


def build(folder, csrc=CSRC):
    """The program, or a skip where this machine builds none."""
    if lacks := sanitize.missing(None):
        pytest.skip(lacks)
    return sanitize.build_stress(None, folder, csrc=csrc)


def broken(folder, file, before, after, line):
    """The program with a line of a fault between two parts of a source, of which one may be empty."""
    csrc = shutil.copytree(CSRC, folder / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    source = (csrc / file).read_text()
    assert source.count(before + after) == 1
    (csrc / file).write_text(source.replace(before + after, before + line + after))
    return build(folder, csrc)


def test_the_c_stress_balances_and_loses_no_wake_up(tmp_path):
    assert subprocess.run([build(tmp_path)], timeout=100, check=False).returncode == 0


def test_control_a_wait_for_a_round_that_has_ended_is_detected(tmp_path):
    # As if the caller had seen the last round, whatever it has seen.
    program = broken(tmp_path, "dispatcher.c", "    int mine = 1;\n    pthread_mutex_lock(&d->lock);\n", "", "    seen = d->rounds;\n")
    assert subprocess.run([program], timeout=100, check=False).returncode == 3


@pytest.mark.parametrize(("before", "after", "line"), [
    ("", "    rd_kafka_destroy(end->rk);\n", "    end->over = 1;\n"),
    ("    if (end->held) {\n", "", "        set(end, &end->left);\n"),
], ids=["destroyed", "left"])
def test_a_client_reported_too_early_is_detected(tmp_path, before, after, line):
    assert subprocess.run([broken(tmp_path, "destroy.c", before, after, line)], timeout=100, check=False).returncode == 1
