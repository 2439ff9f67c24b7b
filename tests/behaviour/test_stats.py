"""kafkapp.stats: the statistics of the librdkafka in use as typed objects, taken live from producers and a consumer."""
import json
import pickle
import re
import threading
import typing

import pytest
from helpers import LIBRDKAFKA, NOWHERE, properties

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaSyncProducer, ProducerRecord
from kafkapp.stats import BrokerStatistics, ConsumerGroup, ExactlyOnce, Fatal, PartitionStatistics, Statistics, TopicStatistics, BrokerPartition, Window, statistics
from kafkapp.stats.fields import Field, Part
from kafkapp.testing import ApiKey

PARTS = (BrokerStatistics, ConsumerGroup, ExactlyOnce, Fatal, PartitionStatistics, Statistics, TopicStatistics, BrokerPartition, Window)
SINCE_2_1 = {"stored_leader_epoch", "committed_leader_epoch", "leader_epoch"}
KNOWN = (2, 15, 1)      # a newer librdkafka may write more


class Latest:
    """A `stats_cb` that keeps the newest statistics, for a thread that waits for some of a kind."""

    def __init__(self):
        self.statistics, self.changed = None, threading.Condition()

    def __call__(self, text):
        with self.changed:
            self.statistics = Statistics(text)
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(lambda: self.statistics is not None and condition(self.statistics), 30)
            return self.statistics


def observed(cluster, more=None, **named):
    latest = Latest()
    return latest, properties(cluster, {"stats_cb": latest, "statistics.interval.ms": 50, "log_level": 0, **(more or {})}, **named)


def fields(cls):
    return {name: field for name, field in vars(cls).items() if isinstance(field, Field)}


def parts(part):
    """A part and all that is in it."""
    yield part
    for name in fields(type(part)):
        value = getattr(part, name, None)
        if isinstance(value, Part):
            yield from parts(value)
        elif isinstance(value, typing.Mapping) and not isinstance(value, dict):
            for inner in value.values():
                yield from parts(inner)


@pytest.fixture(scope="module")
def sent(broker):
    """Statistics of an idempotent producer whose records have arrived."""
    topic = "of-statistics"
    broker.create_topic(topic, partitions=2)
    latest, made = observed(broker, {"enable.idempotence": True, "client.id": "orders"})
    with KafkaAsyncProducer(made) as producer:
        for number in range(100):
            producer.send(topic, b"v" * 50, partition=number % 2)
        producer.flush(30)
        yield topic, producer.name, latest.wait(lambda one: one.msg_cnt == 0 and one.txmsgs == 100 and one.find("brokers", "*", "rtt", "cnt"))


def test_figures_are_those_of_the_producer(sent):
    topic, name, one = sent
    assert (one.name, one.client_id, one.type) == (name, "orders", "producer")
    assert one.msg_max == 100_000 and one.msg_size == 0 and one.tx > 0 and one.tx_bytes > 100 * 50
    assert one.topics[topic].topic == topic and set(one.topics[topic].partitions) == {-1, 0, 1}
    assert [one.topics[topic].partitions[number].txmsgs for number in (0, 1)] == [50, 50]
    assert sum(part.txmsgs for part in one.topics[topic].partitions.values()) == one.txmsgs
    [learned] = [part for part in one.brokers.values() if part.nodeid > 0]
    assert learned.state == "UP" and learned.req["Produce"] > 0 and learned.connects >= 1
    assert set(learned.toppars) == {f"{topic}-0", f"{topic}-1"} and learned.toppars[f"{topic}-1"].partition == 1
    assert isinstance(one.eos, ExactlyOnce) and one.eos.producer_id >= 0
    assert one.cgrp is None and one.fatal is None


def assert_complete(one):
    for part in parts(one):
        of_class = fields(type(part))
        if LIBRDKAFKA <= KNOWN:
            assert set(part.json) <= set(of_class), type(part)
        lacking = {name for name in of_class if not hasattr(part, name)}
        assert lacking <= (SINCE_2_1 if LIBRDKAFKA < (2, 1) else set()), type(part)


def test_every_field_that_librdkafka_writes_has_its_attribute(sent):
    _topic, _name, one = sent
    assert_complete(one)
    assert {type(part) for part in parts(one)} == {Statistics, BrokerStatistics, Window, BrokerPartition, TopicStatistics, PartitionStatistics, ExactlyOnce}


def assert_types(one):
    for part in parts(one):
        for name, field in fields(type(part)).items():
            if type(field) is Field and hasattr(part, name):
                [wanted] = typing.get_args(field.__orig_class__)
                assert type(getattr(part, name)) is (typing.get_origin(wanted) or wanted), (type(part), name)


def test_types_are_exact(sent):
    _topic, _name, one = sent
    assert_types(one)
    [broken] = [Window(dict(next(iter(one.brokers.values())).rtt.json, p99=1.5))]
    with pytest.raises(AssertionError):
        assert_types(broken)


def test_the_docstrings_say_the_types():
    """The reference shows these, and no annotation."""
    for cls in set(PARTS) - {Window}:
        for name, field in fields(cls).items():
            if type(field) is Field:
                [wanted] = typing.get_args(field.__orig_class__)
                assert (typing.get_origin(wanted) or wanted).__name__ in re.findall(r"\w+", field.__doc__), (cls, name)
            else:
                assert re.search("Window|None|to ", field.__doc__), (cls, name)


def test_a_consumer_has_its_group(broker):
    confluent_kafka = pytest.importorskip("confluent_kafka")
    latest = Latest()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "readers", "stats_cb": latest,
                                         "statistics.interval.ms": 50})
    try:
        consumer.subscribe(["of-a-group"])
        for _ in range(300):
            consumer.poll(0.1)
            if latest.statistics is not None and latest.statistics.cgrp is not None:
                break
        one = latest.statistics
        assert one.type == "consumer" and isinstance(one.cgrp, ConsumerGroup) and one.cgrp.assignment_size >= 0 and one.cgrp.join_state
        assert_types(one)
    finally:
        consumer.close()


def test_a_fatal_error_is_there(cluster, topic):
    latest, made = observed(cluster, {"enable.idempotence": True, "error_cb": lambda error: None, "log_cb": lambda *line: None})
    with KafkaAsyncProducer(made) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(30)
        cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER)
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        one = latest.wait(lambda one: one.fatal is not None)
        assert isinstance(one.fatal, Fatal) and "sequence" in one.fatal.error and one.fatal.cnt == 1
        assert_types(one)


@pytest.mark.parametrize("kind", ["sync", "manual"])
def test_every_producer_has_them(broker, kind):
    latest, made = observed(broker)
    with KafkaSyncProducer(made) if kind == "sync" else KafkaAsyncProducer(made, EventsPollingOption.Manual) as producer:
        for _ in range(600):
            if latest.statistics is not None:
                break
            producer.poll_events(0.05) if kind == "manual" else latest.wait(lambda one: True)
        assert latest.statistics.name == producer.name


# -- reading -----------------------------------------------------------------------------------------------------------

TEXT = json.dumps({"name": "a#producer-1", "msg_cnt": 3, "brokers": {"b:1/1": {"rtt": {"p99": 5}}}, "of a newer one": [1]})


def test_only_what_is_read_is_made(monkeypatch):
    parsed, made = [], []
    monkeypatch.setattr(statistics.json, "loads", lambda text, loads=json.loads, **more: parsed.append(text) or loads(text, **more))
    monkeypatch.setattr(Part, "__init__", lambda part, fields, init=Part.__init__: made.append(type(part)) or init(part, fields))
    one = Statistics(TEXT)
    assert parsed == []
    assert (one.msg_cnt, one.name, len(one.brokers), list(one.brokers)) == (3, "a#producer-1", 1, ["b:1/1"])
    assert parsed == [TEXT] and made == [Statistics]
    assert one.brokers["b:1/1"].rtt.p99 == 5 and made == [Statistics, BrokerStatistics, Window] and parsed == [TEXT]


def test_what_has_no_attribute_can_be_read():
    one = Statistics(TEXT)
    assert one["of a newer one"] == one.json["of a newer one"] == [1] and set(one.json) == set(json.loads(TEXT))
    assert Statistics(TEXT.encode()).json == one.json
    with pytest.raises(AttributeError, match="no 'replyq': this librdkafka does not write it"):
        print(one.replyq)
    assert getattr(one, "replyq", None) is None
    with pytest.raises(KeyError):
        one.brokers["nobody"]


def test_fields_cannot_be_set():
    one = Statistics(TEXT)
    for name in ("msg_cnt", "new"):
        with pytest.raises(AttributeError):
            setattr(one, name, 5)


def test_they_are_printed_and_pickled():
    one = Statistics(TEXT)
    assert repr(one) == "<Statistics of a#producer-1>" and repr(one.brokers["b:1/1"].rtt) == "Window({'p99': 5})"
    assert "b:1/1" in repr(one.brokers)
    for thing in (one, Statistics(TEXT), one.brokers["b:1/1"]):
        assert pickle.loads(pickle.dumps(thing)).json == thing.json


def test_the_names_of_a_part_are_those_of_its_json():
    made = Statistics('{"name": "n", "new": 1}')
    assert list(made) == ["name", "new"] and "new" in made and "old" not in made and made["new"] == 1


@pytest.mark.parametrize("text, error", [("{", ValueError), ("[]", ValueError), ("", ValueError), ("5", ValueError)])
def test_what_is_none_is_refused_when_it_is_read(text, error):
    one = Statistics(text)
    assert repr(one) == "<Statistics that are not librdkafka's>"
    with pytest.raises(error):
        print(one.msg_cnt)
    with pytest.raises(error):
        print(one.json)


@pytest.mark.parametrize("text", [None, {}, 5])
def test_what_is_no_text_is_refused_at_once(text):
    with pytest.raises(TypeError, match=f"the text that stats_cb is given, str or bytes, not {type(text).__name__}"):
        Statistics(text)


def test_a_reason_with_control_characters_is_no_error():
    assert Statistics('{"name": "a\tb"}').name == "a\tb"


def test_threads_may_read_at_once():
    one, seen, start = Statistics(TEXT), [], threading.Barrier(8)

    def read():
        start.wait(30)
        seen.append(one.msg_cnt)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [3] * 8


def test_another_thread_may_parse_it_just_before():
    class Read(Statistics):
        """The text is there when it is looked at first, and gone from then on."""

        _text = property(lambda one: one.texts.pop() if one.texts else None, lambda one, text: setattr(one, "texts", [text] if text else []))

    assert Read(TEXT).msg_cnt == 3


def test_a_broker_that_is_away_has_figures():
    latest = Latest()
    made = {"bootstrap.servers": NOWHERE, "stats_cb": latest, "statistics.interval.ms": 50, "log_level": 0, "error_cb": lambda error: None}
    with KafkaAsyncProducer(made):
        one = latest.wait(lambda one: one.find("brokers", f"{NOWHERE}/bootstrap", "connects") not in ([], [((), 0)]))
    assert one.brokers[f"{NOWHERE}/bootstrap"].nodeid == -1 and one.topics == {}
    assert_complete(one)
