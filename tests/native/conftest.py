"""Fixtures of the tests of native code."""
import re
import subprocess
from pathlib import Path

import pytest
import sanitize

import kafkapp.consumer.record_queue


@pytest.fixture
def librdkafka_program(tmp_path):
    """Makes a driver of tests/native, with the librdkafka of kafkapp's modules; or a skip where this machine builds none."""
    if lacks := sanitize.missing(None):
        pytest.skip(lacks)

    def make(name):
        flags = [flag for flag in sanitize.installed().cflags if flag.startswith("-I")]
        linked = subprocess.run(["ldd", kafkapp.consumer.record_queue.__file__], check=True, capture_output=True, text=True,
                                timeout=60).stdout
        library = Path(re.search(r"librdkafka\S* => (\S+)", linked)[1])
        made = tmp_path / name
        subprocess.run(["gcc", "-O1", "-rdynamic", *flags, sanitize.ROOT / f"tests/native/{name}.c", library,
                        f"-Wl,-rpath,{library.parent}", "-ldl", "-pthread", "-o", made], check=True, timeout=100)
        return made
    return make
