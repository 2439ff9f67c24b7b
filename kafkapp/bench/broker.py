"""The broker of a run: librdkafka's mock cluster in a process of its own, so that its CPU is not the client's.

Layer L5. Knows of the mock cluster only the command that starts it.
"""
from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kafkapp.bench.case import ROOT


@contextmanager
def mock_cluster(timeout: float = 20.0) -> Iterator[str]:
    """Start `kafkapp mock-cluster`, give its bootstrap servers, and end it.

    Raises:
        RuntimeError: it did not say in time where it listens.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen([sys.executable, "-P", "-m", "kafkapp", "mock-cluster"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    guard = threading.Timer(timeout, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        servers = process.stdout.readline().strip()
        guard.cancel()
        if not servers:
            raise RuntimeError(f"the mock cluster did not start (exit status {process.wait(timeout)})")
        yield servers
    finally:
        guard.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
