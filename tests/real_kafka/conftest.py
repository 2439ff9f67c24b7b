"""Everything in this folder runs against a real Apache Kafka: `pytest -m kafka` runs it alone."""

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

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)
