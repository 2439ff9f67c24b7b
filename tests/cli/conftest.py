"""Fixtures of the command's tests."""
import pytest
from command_line import mock_cluster


@pytest.fixture(scope="module")
def servers():
    """The bootstrap servers of `kafkapp mock-cluster`, a process of its own."""
    with mock_cluster() as servers:
        yield servers
