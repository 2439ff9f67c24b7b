"""Errors that come while a consumer reads: those of partitions raise, those that pass go to error_cb or to logging."""
import logging
import threading
import time

import pytest
from consumers import batches, new_consumer
from helpers import properties, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaConsumer, KafkaException, KafkaSyncProducer, RebalanceEvent

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
