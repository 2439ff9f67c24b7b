"""Broker of a run: librdkafka's mock cluster in its own process, so that its CPU time is not the client's.

Knows only the command that starts it.
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
    """Start `kafkapp mock-cluster`, yield its bootstrap servers, and end it.

    Raises:
        RuntimeError: it did not print its bootstrap servers before the timeout.
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
            raise RuntimeError(f"kafkapp mock-cluster did not start (exit status {process.wait(timeout)})")
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
