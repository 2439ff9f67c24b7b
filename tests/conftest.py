"""Fixtures that every test can have: mock clusters, topics, and waits that end.

A crash or a hang of the native code must say where: faulthandler is on here and in every Python that a test starts.
"""
import faulthandler
import os
import time
import uuid
from pathlib import Path

import pytest

import kafkapp
from kafkapp.testing import MockCluster

os.environ.setdefault("PYTHONFAULTHANDLER", "1")
# A Python that a test starts imports the kafkapp that is tested, and not the source folder that it happens to start in.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(kafkapp.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
if not faulthandler.is_enabled():
    faulthandler.enable()


def wait_for(predicate, timeout=10.0):
    """Return what `predicate()` gives as soon as it is true; fail when it is not within `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (result := predicate()):
        assert time.monotonic() < end, f"not within {timeout} s: {getattr(predicate, '__name__', predicate)}"
        time.sleep(0.005)
    return result


@pytest.fixture
def cluster():
    """One broker for this test alone, to be broken as one likes. With librdkafka 2.0.2, closing it may take a second."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def broker():
    """One broker for all tests that break nothing: inject no errors here, and use topics of your own."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def topic(request):
    """The name of a new topic with four partitions: on `cluster` if the test has that, else on the shared `broker`."""
    where = request.getfixturevalue("cluster" if "cluster" in request.fixturenames else "broker")
    name = f"t-{uuid.uuid4().hex[:12]}"
    where.create_topic(name)
    return name
