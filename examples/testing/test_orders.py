"""Tests of orders.py: pytest examples/testing

kafka_cluster and kafka_producer are the fixtures of kafkapp's pytest plugin, which is there when kafkapp is installed.
"""

import json

import pytest
from orders import Orders

from kafkapp import ErrorCode
from kafkapp.testing import ApiKey

pytestmark = pytest.mark.kafka_cluster(topics={"orders": 6})


@pytest.fixture
def orders(kafka_producer):
    return Orders(kafka_producer)


def test_a_placed_order_is_an_event_with_its_items(kafka_cluster, orders, kafka_producer):
    orders.placed(1, ["apple", "pear"])
    kafka_producer.flush(10)
    [record] = kafka_cluster.records("orders")
    assert record.key == b"order-1" and record.headers == [("version", b"1")]
    assert json.loads(record.value) == {"event": "placed", "items": ["apple", "pear"]}


def test_the_events_of_an_order_stay_in_order(kafka_cluster, orders, kafka_producer):
    for number in range(10):
        orders.placed(number, ["plum"])
        orders.cancelled(number)
    kafka_producer.flush(10)
    records = kafka_cluster.records("orders")
    assert len(records) == 20
    for number in range(10):
        of_this = [record for record in records if record.key == b"order-%d" % number]
        assert [record.value is None for record in of_this] == [False, True]
        assert len({record.partition for record in of_this}) == 1


def test_a_full_disk_of_the_broker_is_waited_for(kafka_cluster, orders, kafka_producer):
    kafka_cluster.push_request_errors(ApiKey.PRODUCE, *[ErrorCode.KAFKA_STORAGE_ERROR] * 3)
    orders.placed(1, ["quince"])
    kafka_producer.flush(30)
    assert len(kafka_cluster.records("orders")) == 1 and not orders.failed


@pytest.mark.kafka_producer(allow_undelivered=True)
def test_an_order_that_may_not_be_written_is_kept(kafka_cluster, orders, kafka_producer):
    kafka_cluster.push_request_errors(ApiKey.PRODUCE, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    orders.placed(7, ["fig"])
    kafka_producer.flush(10)
    assert orders.failed == [(7, ErrorCode.TOPIC_AUTHORIZATION_FAILED)]
    assert kafka_cluster.records("orders") == []


@pytest.mark.kafka_producer({"message.timeout.ms": 300}, allow_undelivered=True)
def test_an_order_for_brokers_that_stay_away_is_kept(kafka_cluster, orders, kafka_producer):
    kafka_cluster.broker_down(None)
    orders.placed(8, ["fig"])
    kafka_producer.flush(30)
    assert orders.failed == [(8, ErrorCode._MSG_TIMED_OUT)]
