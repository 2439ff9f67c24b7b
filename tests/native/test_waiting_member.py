"""A member that waits for its group longer than its session: build_support/patches/members-that-wait.patch."""
import subprocess

import pytest
from helpers import LIBRDKAFKA, keeps_words


@pytest.mark.skipif(LIBRDKAFKA != (2, 15, 1), reason="older embedded clusters have no such delay, later ones nobody has looked at")
def test_the_embedded_cluster_answers_a_member_that_waits_longer_than_its_session(librdkafka_program):
    """Releases without the patch are the control: its consumer waits for max.poll.interval.ms then."""
    run = subprocess.run([librdkafka_program("waiting_member")], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (0, "1 assigned\n" if keeps_words() else "0 assigned\n"), run.stderr
