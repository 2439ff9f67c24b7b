"""assign() twice, and close() at once: build_support/patches/stopped-once.patch. tests/native/stopped_once.c holds librdkafka's thread."""
import signal
import subprocess

import pytest
from helpers import LIBRDKAFKA, keeps_words


@pytest.mark.skipif(not keeps_words() and LIBRDKAFKA > (2, 15, 1), reason="a release that nobody has looked at")
def test_a_partition_that_is_assigned_again_while_it_stops_is_stopped_once(librdkafka_program):
    """Releases without the patch are the control: the second answer meets an assertion in 2.0.2 and 2.15.1."""
    run = subprocess.run([librdkafka_program("stopped_once")], capture_output=True, text=True, timeout=60, check=False)
    if keeps_words():
        assert (run.returncode, run.stdout) == (0, "2 stopped\n"), run.stderr
    else:
        assert run.returncode == -signal.SIGABRT and "rktp_started" in run.stderr
