"""csrc/ alone, without Python: senders, batches, flushes and a serving thread against each other, and no lost wake-up.

Layer: fault tests F24. The same program that `tests/sanitize.py tsan` runs, here without a sanitizer.
"""
import shutil
import subprocess
import sysconfig

import pytest
from support import ROOT

CSRC = ROOT / "csrc"


def build(folder, delivery=CSRC / "delivery.c"):
    """The program, or a skip where this machine builds none."""
    if not shutil.which("gcc") or not shutil.which("pkg-config"):
        pytest.skip("needs gcc and pkg-config")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "rdkafka"], text=True, capture_output=True, check=False)
    if flags.returncode:
        pytest.skip(flags.stderr.strip())
    program = folder / "stress"
    sources = [ROOT / "tests" / "stress_delivery.c", delivery, *(CSRC / f"{name}.c" for name in ("rounds", "batch", "produce"))]
    subprocess.run(["gcc", "-O1", "-I", CSRC, "-I", sysconfig.get_path("include"), *sources, *flags.stdout.split(), "-lpthread",
                    "-o", program], check=True, timeout=100)
    return program


def test_the_books_balance_and_no_wake_up_is_lost(tmp_path):
    assert subprocess.run([build(tmp_path)], timeout=100, check=False).returncode == 0


def test_control_a_wait_for_a_round_that_has_ended_is_told_of(tmp_path):
    # As if the caller had seen the last round, whatever it has seen.
    source = (CSRC / "delivery.c").read_text()
    start = "    int mine = 1;\n    pthread_mutex_lock(&d->lock);\n"
    assert source.count(start) == 1
    (tmp_path / "delivery.c").write_text(source.replace(start, start + "    seen = d->rounds;\n"))
    program = build(tmp_path, tmp_path / "delivery.c")
    assert subprocess.run([program], timeout=100, check=False).returncode == 3
