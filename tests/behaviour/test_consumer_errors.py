"""Errors that come while a consumer reads: those of partitions raise, those that pass go to error_cb or to logging."""
import logging
import threading
import time

import pytest
from consumers import batches, new_consumer
from groups import CLASSIC, PROTOCOLS, write
from helpers import properties, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaConsumer, KafkaException, KafkaSyncProducer, RebalanceEvent
from kafkapp.testing import ApiKey

UNKNOWN = {ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION}

OURS = {"allow_auto_create_topics": False, "topic_metadata_propagation_max_ms": 0}      # else a topic may be new, and is not missing yet


def missing(cluster, topic):
    """A partition that the topic has not, and one of a topic that there is not, which librdkafka 2.0.2's cluster makes."""
    return [(topic, 77), (f"no-{topic}", 77)]


@pytest.mark.parametrize("number", [0, 1], ids=["partition", "topic"])
def test_what_is_assigned_and_missing_goes_to_error_cb(broker, topic, number):
    """Row C30: once, by the thread that runs callbacks; what there is is read all the same."""
    place, said = missing(broker, topic)[number], []

    def callback(error):
        said.append((error, threading.get_ident()))

    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send_batch(topic, [b"v"] * 5, partition=1)
    with new_consumer(broker, None, (), {"error_cb": callback}, **OURS) as consumer:
        consumer.assign({place: 0, (topic, 1): 0})
        batches(consumer, 5)
        while not said:
            assert not consumer.poll_batch(0.1)
        error, thread = said[0]
        assert error.code in UNKNOWN and f"{place[0]} [{place[1]}]: " in str(error)
        assert thread != threading.get_ident()


def test_without_a_callback_it_is_logged(broker, topic, caplog):
    caplog.set_level(logging.ERROR, "kafkapp")
    with new_consumer(broker, None, (), **OURS) as consumer:
        consumer.assign([(topic, 77)])
        wait_for(lambda: consumer.poll_batch(0.1) or [line for line in caplog.messages if f"{topic} [77]: " in line])


def test_where_polls_dispatch(broker, topic):
    """With Manual nothing else does."""
    said = []
    with KafkaConsumer(properties(broker, {"error_cb": said.append}, **OURS), EventsPollingOption.Manual) as consumer:
        consumer.assign([(topic, 77)])
        wait_for(lambda: consumer.poll_batch(0.1) or said)
    assert f"{topic} [77]: " in str(said[0])


def test_a_callback_that_raises_and_one_that_polls(broker, topic, monkeypatch):
    """The poll that has found the error returns all the same."""
    raised, called = [], threading.Event()
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: raised.append(unraisable.exc_value))

    def callback(error):
        try:
            consumer.poll(0)
        finally:
            called.set()

    with new_consumer(broker, None, (), {"error_cb": callback}, **OURS) as consumer:
        consumer.assign([(topic, 77)])
        wait_for(lambda: consumer.poll_batch(0.1) or called.is_set())
        wait_for(lambda: raised)
        assert "from a callback of the same consumer" in str(raised[0])


def test_what_comes_after_on_rebalance_has_polled_another_consumer(cluster, broker, topic):
    """Within the same poll: librdkafka calls back in it, on the thread that fills, for the one that it is of."""
    said = []

    def told(event, partitions):
        if event is RebalanceEvent.Assigned:
            cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.value)
            with pytest.raises(KafkaException):
                consumer.fetch_broker_metadata(topic, 20)
            time.sleep(0.5)     # the errors are in the queue
            assert not other.poll_batch(0)

    callbacks = {"log_cb": lambda *line: None, "error_cb": said.append}
    with new_consumer(broker) as other, KafkaConsumer(properties(cluster, callbacks, group_id=topic, **OURS)) as consumer:
        consumer.subscribe([topic], told, 30)
        for _ in range(10):
            consumer.poll_batch(0.1)
        wait_for(lambda: len({error.message for error in said if "no longer available" in error.message}) == 4)


@pytest.mark.parametrize("way", ["subscribe", "poll"])
def test_a_subscribed_topic_that_is_missing_goes_to_error_cb(cluster, topic, way):
    """No call raises it, whichever serves the group meanwhile."""
    said = []
    cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.value)
    with new_consumer(cluster, None, (), {"error_cb": said.append}, group_id=topic, **OURS) as consumer:
        consumer.subscribe([topic])
        while not said:
            if way == "poll":
                assert not consumer.poll(0.1)
                continue
            with pytest.raises(KafkaException, match="assigned nothing in time") as raised:
                consumer.subscribe([topic], timeout=0.2)
            assert raised.value.__cause__ is None
        assert said[0].code == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and topic in said[0].message
        assert not consumer.poll(0.1)


def test_a_topic_that_may_not_be_read_is_the_cause_why_nothing_is_assigned(cluster, topic):
    """And no error of a later poll."""
    cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED.value)
    with new_consumer(cluster, group_id=topic) as consumer:
        cause = None
        while cause is None:
            with pytest.raises(KafkaException, match="assigned nothing in time") as raised:
                consumer.subscribe([topic], timeout=0.2)
            cause = raised.value.__cause__
        assert cause.error.code == ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED and topic in str(cause)
        assert not consumer.poll(0.1)


@pytest.mark.skipif("KIP-848" not in PROTOCOLS, reason="this librdkafka has no protocol of KIP-848")
def test_a_topic_that_may_not_be_read_is_raised_by_polls_under_kip_848(cluster, topic):
    """librdkafka says it of no partition, and with the error's number as the offset."""
    cluster.push_request_errors(ApiKey.CONSUMER_GROUP_HEARTBEAT, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED.value)
    with new_consumer(cluster, None, (), PROTOCOLS["KIP-848"], group_id=topic) as consumer:
        consumer.subscribe([topic])
        with pytest.raises(KafkaException) as raised:
            wait_for(lambda: consumer.poll(0.1), 20)
        assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED


def test_no_error_of_a_subscription_outlasts_it(cluster, topic):
    lines, callbacks = [], {"log_cb": lambda *line: lines.append(line[1])}
    cluster.set_topic_error(topic, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED.value)
    with new_consumer(cluster, None, (), callbacks, group_id=topic, debug="topic") as consumer:
        consumer.subscribe([topic])
        wait_for(lambda: "TOPICERR" in lines, 20)
        consumer.unsubscribe()
        assert not consumer.poll(0.1)


def test_what_may_pass_goes_to_error_cb(cluster, topic):
    said = []
    write(cluster, topic, [b"v"], [1])
    with new_consumer(cluster, None, (), {"error_cb": said.append}) as consumer:
        cluster.push_request_errors(ApiKey.FETCH, ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT.value)
        consumer.assign({(topic, 1): 0})
        batches(consumer, 1)
        wait_for(lambda: said)
        assert said[0].code == ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT and f"{topic} [1]: " in said[0].message


class Refused:
    """A consumer whose four partitions have each an error that waits for polls: they begin where no record is."""

    def __init__(self, cluster, topic, subscribes, offset=100):
        self.lines, self.events, callbacks = [], [], {"log_cb": lambda *line: self.lines.append(line[2])}
        self.consumer = new_consumer(cluster, None, (), callbacks, CLASSIC, group_id=topic, debug="topic,cgrp", auto_offset_reset="error")
        places = {(topic, partition): offset for partition in range(4)}
        if subscribes:
            cluster.push_broker_errors(1, ApiKey.OFFSET_FETCH, (0, 0.5))    # so that subscribe() takes none of the errors
            self.consumer.commit_sync(places, 20)
            self.consumer.subscribe([topic], lambda event, partitions: self.events.append(event), 30)
        else:
            self.consumer.assign(list(places) if offset is None else places)
        self.wait_said("offset reset", 4)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.consumer.close()

    def wait_said(self, text, count=1):
        wait_for(lambda: sum(text in line for line in list(self.lines)) >= count, 20)

    def next_error(self):
        with pytest.raises(KafkaException) as raised:
            while True:
                assert not self.consumer.poll(20)
        assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        return str(raised.value)


@pytest.mark.parametrize("subscribes", [False, True])
def test_each_partition_has_its_own_error_once(cluster, topic, subscribes):
    with Refused(cluster, topic, subscribes) as refused:
        errors = [refused.next_error() for _ in range(4)]
        for partition in range(4):
            assert sum(f"{topic} [{partition}]: " in error for error in errors) == 1
        assert not refused.consumer.poll(0.3)


@pytest.mark.parametrize("way", ["assign", "assign without offsets", "unsubscribe", "subscribe", "unsubscribe from a group"])
def test_none_is_raised_of_what_is_no_longer_assigned(cluster, topic, way):
    """Without an offset the error has none either: the group has committed nothing."""
    subscribes, offset = way in ("subscribe", "unsubscribe from a group"), None if way == "assign without offsets" else 100
    with Refused(cluster, topic, subscribes, offset) as refused:
        assert "offset" in refused.next_error()
        if way == "subscribe":
            cluster.create_topic(f"{topic}-2", 1)
            refused.consumer.commit_sync({(f"{topic}-2", 0): 0}, 20)
            refused.consumer.subscribe([f"{topic}-2"], timeout=30)
        elif way.startswith("assign"):
            refused.consumer.assign({(topic, 0): 0})
        else:
            refused.consumer.unsubscribe()
        for _ in range(5):
            assert not refused.consumer.poll(0.1)


def test_none_is_raised_of_what_is_lost_amid_the_poll(cluster, topic):
    """It has taken one of the errors before the rebalance comes, after which the partitions are assigned again and have none."""
    with Refused(cluster, topic, True) as refused:
        refused.consumer.commit_sync({(topic, partition): 0 for partition in range(4)}, 20)
        cluster.push_request_errors(ApiKey.HEARTBEAT, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.value)
        refused.wait_said("delegating revoke")
        wait_for(lambda: refused.consumer.poll(0.05) or len(refused.events) == 3, 30)
        assert refused.events == [RebalanceEvent.Assigned, RebalanceEvent.Lost, RebalanceEvent.Assigned]
        assert not refused.consumer.poll(0.3)


def test_a_fatal_error_is_raised_by_each_poll(cluster, topic):
    """Of a static member whose name another one has taken."""
    with new_consumer(cluster, None, (), {"log_cb": lambda *line: None}, CLASSIC, group_id=topic, group_instance_id="one") as consumer:
        consumer.subscribe([topic], timeout=30)
        cluster.push_request_errors(ApiKey.HEARTBEAT, ErrorCode.RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID.value)
        for poll in (consumer.poll, consumer.poll, consumer.poll_batch, consumer.poll):
            with pytest.raises(KafkaException) as raised:
                poll(20)
            assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID and raised.value.error.is_fatal
