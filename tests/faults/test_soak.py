"""The soak (tests/support/soak.py, F54) in seconds instead of hours: it runs, and reports the losses that are planted."""
import json
import os
import subprocess
import sys

import pytest
from helpers import ROOT


def soak(folder, seconds, *options):
    """(exit status, what it wrote as JSON) of a soak of its own."""
    figures = folder / "figures.json"
    command = [sys.executable, ROOT / "tests" / "support" / "soak.py", "--hours", str(seconds / 3600), "--rate", "3000", "--every", "1",
               "--figures", figures, *options]
    found = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT / "tests" / "support")])      # no script's folder is looked into: see conftest
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, timeout=100 + 2 * seconds, check=False)
    assert figures.exists(), ended.stderr
    return ended.returncode, json.loads(figures.read_text())


def test_nothing_is_lost_while_faults_come_and_go(tmp_path, faults):
    status, written = soak(tmp_path, faults.rounds(4, 120), "--round", "6", "--seed", str(faults.seed))
    figures = written["figures"]["soak"]
    assert status == 0 and figures["wrong"] == [], figures
    assert figures["delivered"] > 1000 and sum(figures["faults"].values()) >= 1
    assert written["seed"] == faults.seed and written["librdkafka"] and written["cpu"]
    faults.figure(**figures)


@pytest.mark.parametrize("fault", ["lost", "unreported"])
def test_control_a_soak_tells_of_a_planted_fault(tmp_path, fault):
    status, written = soak(tmp_path, 1.5, "--plant", fault, "--seed", "4")
    assert status == 1 and written["figures"]["soak"]["wrong"] == [fault]
