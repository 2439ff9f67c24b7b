"""Concurrent flushes: each waits only for what was sent before it, however many flushes timed out before.

csrc's own books are in stress_delivery.c.
"""
import threading

import pytest
from faultkit import make
from helpers import HELD, NOWHERE, Reports, wait_for

from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio.loop_client import LoopClient
from kafkapp.testing import MockCluster

FLUSHES = 300


@pytest.fixture
def two_brokers():
    """Partition 0 is led by the first, partition 1 by the second."""
    with MockCluster(2) as cluster:
        cluster.create_topic("t", 2)
        for partition in (0, 1):
            cluster.set_leader("t", partition, partition + 1)
        yield cluster


def give_up(producer):
    with pytest.raises(KafkaException) as caught:
        producer.flush(0)
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
def test_a_flush_after_many_that_timed_out_waits_only_for_its_own_records(kind, two_brokers):
    reports = Reports()
    producer = make(kind, two_brokers, {"linger.ms": 0, "reconnect.backoff.max.ms": 100, "message.timeout.ms": 60000})
    client = LoopClient(producer)
    producer.fetch_broker_metadata("t")
    two_brokers.broker_down(1)
    two_brokers.broker_down(2)
    for number in range(FLUSHES):
        producer.send(ProducerRecord("t", 0, value=b"before", id=number), reports)
        give_up(producer)
    mark = client.close_epoch()
    producer.send(ProducerRecord("t", 1, value=b"after", id="after"), reports)
    assert not client.is_epoch_done(mark)
    two_brokers.broker_up(1)
    if kind == "Manual":
        wait_for(lambda: producer.poll_events(0.1) is not None and len(reports) >= FLUSHES, 50)
    reports.wait(FLUSHES, 50)
    wait_for(lambda: client.is_epoch_done(mark))
    assert len(producer) == 1 and reports.ids == list(range(FLUSHES))
    give_up(producer)       # which does wait for it
    producer.close(0)
    assert reports.ids[-1] == "after"


@pytest.mark.parametrize("what", ["callback", "plain", "batch"])
def test_a_flush_does_not_wait_for_what_is_sent_after_it(what):
    producer = make("Manual", NOWHERE, HELD)
    client = LoopClient(producer)
    marks = []
    for number in range(FLUSHES):
        if what == "batch":
            producer.send_batch("t", [b"v"] * 3, partition=number % 3)
        else:
            producer.send(ProducerRecord("t", number % 3, value=b"v"), (lambda *report: None) if what == "callback" else None)
        marks.append(client.close_epoch())
    assert marks == sorted(set(marks)) and client.close_epoch() == marks[-1]       # nothing was sent since
    assert not any(map(client.is_epoch_done, marks))
    assert len(producer) == FLUSHES * (3 if what == "batch" else 1)
    producer.purge()
    wait_for(lambda: producer.poll_events(0.1) is not None and len(producer) == 0)
    assert all(map(client.is_epoch_done, marks))
    producer.close(0)


def test_a_record_that_waited_for_room_is_counted_when_it_is_sent(two_brokers):
    # It found the queue full, other flushes came and went, and it is sent at last: a flush from then on waits for it.
    producer = make("Auto", two_brokers, {"linger.ms": 0, "queue.buffering.max.messages": 1, "message.timeout.ms": 60000})
    client = LoopClient(producer)
    producer.fetch_broker_metadata("t")
    two_brokers.broker_down(1)
    two_brokers.broker_down(2)
    reports = Reports()
    producer.send(ProducerRecord("t", 0, value=b"first", id=0), reports)
    sender = threading.Thread(target=lambda: producer.send(ProducerRecord("t", 1, value=b"second", id=1), reports))
    sender.start()
    for _ in range(20):
        give_up(producer)
    two_brokers.broker_up(1)
    reports.wait(1, 30)
    sender.join(30)
    mark = client.close_epoch()
    assert not client.is_epoch_done(mark) and len(producer) == 1
    two_brokers.broker_up(2)
    producer.flush(30)
    assert client.is_epoch_done(mark) and reports.ids == [0, 1]
    producer.close(5)
