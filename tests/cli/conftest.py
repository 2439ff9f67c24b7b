"""Fixtures of the command's tests."""
import pytest
from command_line import mock_cluster

from kafkapp import KafkaAsyncProducer


@pytest.fixture(scope="module")
def servers():
    """The bootstrap servers of `kafkapp mock-cluster`, a process of its own."""
    with mock_cluster() as servers:
        yield servers


@pytest.fixture
def send(broker, topic):
    """Send records to partition 0 of the topic, or another: values, or what `send` takes by name."""
    def send(*records, partition=0):
        with KafkaAsyncProducer({"bootstrap.servers": broker.bootstrap_servers}) as producer:
            for record in records:
                fields = record if isinstance(record, dict) else {"value": record}
                producer.send(topic, **{"partition": partition, **fields})
    return send
