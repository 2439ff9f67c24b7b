"""Transactions while librdkafka's main thread is starved: a commit has ended when it returns.

The thread has a lower priority than a busy process on the same processor, so that microseconds of work take it tens of
milliseconds. A commit in short calls, each of which resumes, fails then: it mistakes the response to one step for
another's, and librdkafka 2.0.2 aborts the process.
"""
import os

import pytest
from helpers import ROOT, run_python

PROGRAM = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from transactional_producers import open_producer
from kafkapp import ProducerRecord
from kafkapp.testing import MockCluster

starved = sys.argv[2] == "starved"
BUSY = "import os, sys, time; os.sched_setaffinity(0, {int(sys.argv[1])}); end = time.time() + 15\\nwhile time.time() < end: pass"

def threads():
    return set(os.listdir("/proc/self/task"))

with MockCluster() as cluster:
    cluster.create_topic("t")
    before = threads()
    with open_producer("manual", cluster) as producer:
        producer.init_transactions(20)
        cluster.set_rtt(None, 0.01)      # a commit takes a few of these
        [main] = [int(t) for t in threads() - before if open(f"/proc/self/task/{t}/comm").read() == "rdk:main\\n"]
        if starved:
            cpu = max(os.sched_getaffinity(0))
            busy = subprocess.Popen([sys.executable, "-c", BUSY, str(cpu)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.sched_setaffinity(main, {cpu})
            os.sched_setscheduler(main, os.SCHED_IDLE, os.sched_param(0))
        try:
            for _ in range(10):
                producer.begin_transaction()
                producer.send(ProducerRecord("t", 0, value=b"v"))
                producer.commit_transaction(20)
        finally:
            if starved:
                busy.kill()
                busy.wait()
print("ended")
"""


def transactions(how):
    return run_python(PROGRAM, ROOT / "tests" / "support", how, timeout=60).strip()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="needs Linux")
def test_a_commit_has_ended_when_it_returns():
    assert transactions("starved") == "ended"


def test_a_commit_has_ended_also_when_the_thread_is_not_starved():
    assert transactions("free") == "ended"
