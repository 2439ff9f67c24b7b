"""Instructions that a program in Python spends in the package's own libraries, counted by callgrind."""
import os
import platform
import re
import shutil
import subprocess
import sys

import pytest

import kafkapp

FOLDER = os.path.dirname(os.path.realpath(kafkapp.__file__)) + os.sep
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the budgets are instructions of x86_64")


def need_valgrind():
    """Skip the test, or fail it where all tools should be there."""
    if not shutil.which("valgrind"):
        if os.environ.get("CI"):
            pytest.fail("valgrind is not installed")
        pytest.skip("valgrind is not installed")


def run(program, arguments, out, *options):
    """Run it under callgrind, which writes what it counts into the file `out`."""
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *options, sys.executable, "-c", program, *map(str, arguments)],
                   check=True, capture_output=True, timeout=100)


def rows(out, *options):
    """(instructions, function, library) of each of the package's own functions, its librdkafka not among them."""
    table = subprocess.run(["callgrind_annotate", "--threshold=100", *options, str(out)], check=True, capture_output=True, text=True)
    found = [(int(count.replace(",", "")), function, library) for count, function, library in
             re.findall(r"^ *([\d,]+) \([^)]*\) +(.*?) \[(.*?)\]$", table.stdout, re.MULTILINE)
             if library.startswith(FOLDER) and "librdkafka" not in library]
    assert found, table.stdout
    return found
