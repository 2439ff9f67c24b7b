"""A MockCluster in a process of its own: its memory is not ours, and it can be stopped and made to hang.

`far.broker_down(1)` and all other methods of MockCluster are called over a pipe, with plain arguments.
"""
import json
import os
import signal
import time
from contextlib import contextmanager

from helpers import finish, start_python

PROGRAM = """
import json, sys
from kafkapp.testing import MockCluster

with MockCluster(int(sys.argv[1])) as cluster:
    print(json.dumps(cluster.bootstrap_servers), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            print(json.dumps([getattr(cluster, name)(*[tuple(a) if type(a) is list else a for a in arguments]), None]), flush=True)
        except Exception as failure:
            print(json.dumps([None, repr(failure)]), flush=True)
"""


class FarCluster:
    """A context manager; an unknown method is one of the MockCluster's."""

    def __init__(self, brokers=1):
        self.brokers = brokers

    def __enter__(self):
        self.process = start_python(PROGRAM, self.brokers)
        self.bootstrap_servers = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *failure):
        finish(self.process)        # closes its stdin, which ends it

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments):
            self.process.stdin.write(json.dumps([name, arguments]) + "\n")
            self.process.stdin.flush()
            result, failure = json.loads(self.process.stdout.readline())
            if failure:
                raise RuntimeError(failure)
            return result

        return call

    @contextmanager
    def hanging(self):
        """While in the block its connections stay, and nothing answers."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def hang(self, seconds):
        with self.hanging():
            time.sleep(seconds)     # the length of the fault itself: nothing to wait for
