"""Tests against a real Apache Kafka: `pytest -m kafka` runs only these."""

import contextlib
import os
import pathlib

import pytest
from kafka_fixtures import (  # noqa: F401  (pytest finds fixtures and hooks by their names here)
    kafka,
    kafka_factory,
    kafka_nodes,
    ledger,
    make_topic,
    proxies,
    pytest_terminal_summary,
    topic,
    verdict_of,
)
from kafka_jars import KafkaUnavailable, find_jars

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)


def pytest_collection_finish(session):
    # By Maven, the first time on a machine: it is not to count as the time of the test that comes first.
    ours = any(HERE in item.path.parents for item in session.items)
    if ours and not session.config.option.collectonly and not os.environ.get("KAFKAPP_TEST_BOOTSTRAP"):
        with contextlib.suppress(KafkaUnavailable):
            find_jars()
