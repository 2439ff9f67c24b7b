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


def test_the_c_stress_balances_and_loses_no_wake_up(tmp_path):
    assert subprocess.run([build(tmp_path)], timeout=100, check=False).returncode == 0


def test_control_a_wait_for_a_round_that_has_ended_is_detected(tmp_path):
    # As if the caller had seen the last round, whatever it has seen.
    csrc = shutil.copytree(CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    source = (csrc / "dispatcher.c").read_text()
    start = "    int mine = 1;\n    pthread_mutex_lock(&d->lock);\n"
    assert source.count(start) == 1
    (csrc / "dispatcher.c").write_text(source.replace(start, start + "    seen = d->rounds;\n"))
    assert subprocess.run([build(tmp_path, csrc)], timeout=100, check=False).returncode == 3


def test_a_client_reported_destroyed_too_early_is_detected(tmp_path):
    csrc = shutil.copytree(CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    source = (csrc / "destroy.c").read_text()
    assert source.count("    rd_kafka_destroy(end->rk);\n") == 1
    (csrc / "destroy.c").write_text(source.replace("    rd_kafka_destroy(end->rk);\n", "    end->over = 1;\n    rd_kafka_destroy(end->rk);\n"))
    assert subprocess.run([build(tmp_path, csrc)], timeout=100, check=False).returncode == 1


def test_a_client_reported_to_have_left_too_early_is_detected(tmp_path):
    csrc = shutil.copytree(CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    source = (csrc / "destroy.c").read_text()
    start = "    if (end->held) {\n"
    assert source.count(start) == 1
    (csrc / "destroy.c").write_text(source.replace(start, start + "        set(end, &end->left);\n"))
    assert subprocess.run([build(tmp_path, csrc)], timeout=100, check=False).returncode == 1
