"""Construction of both producers: defaults, identity, properties with callbacks, metadata, and the closed state."""
import asyncio
import gc
import json
import logging
import sys
import warnings
from datetime import timedelta

import pytest
from helpers import HELD, NOWHERE, Reports, Stopwatch, consume, needs, properties, wait_for

from kafkapp import (
    BrokerMetadata,
    Error,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    ProducerConfig,
    ProducerRecord,
    Properties,
)

pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")     # kafka-python
both = pytest.mark.parametrize("Producer", [KafkaAsyncProducer, KafkaSyncProducer])
MAKERS = {
    "auto": KafkaAsyncProducer,
    "manual": lambda mapping: KafkaAsyncProducer(mapping, EventsPollingOption.Manual),
    "sync": KafkaSyncProducer,
}


# -- construction and defaults ---------------------------------------------------------------------


@both
def test_properties_may_be_a_dict_or_properties(broker, topic, Producer):
    for made in ({"bootstrap.servers": broker.bootstrap_servers, "acks": "all"},
                 Properties({ProducerConfig.BOOTSTRAP_SERVERS: broker.bootstrap_servers, ProducerConfig.ACKS: "all"})):
        with Producer(made) as producer:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
            assert producer.properties["acks"] == "all"
    assert len(consume(broker, topic, 2)) == 2


@both
def test_the_users_mapping_is_neither_changed_nor_followed(broker, Producer):
    made = properties(broker)
    with Producer(made) as producer:
        assert made == {"bootstrap.servers": broker.bootstrap_servers}
        made["client.id"] = "changed"
        assert producer.client_id != "changed"


@both
def test_client_id_is_the_programs_name_unless_given(broker, Producer, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/shop/orders.py"])
    with Producer(properties(broker)) as one, Producer(properties(broker)) as two:
        assert one.client_id == two.client_id == "orders"
        assert one.name.startswith("orders#producer-") and one.name != two.name
        assert one.get_property("client.id") == one.properties["client.id"] == one.client_id
    with Producer(properties(broker, client_id="random")) as one, Producer(properties(broker, client_id="random")) as two:
        assert one.client_id != two.client_id and len(one.client_id) == 12
        assert one.client_id in one.name and one.get_property("client.id") == one.client_id
    with Producer(properties(broker, client_id="mine")) as producer:
        assert producer.client_id == "mine" and "mine" in producer.name


@both
def test_defaults_are_librdkafkas_but_for_the_three_that_are_promised(broker, Producer):
    expected = {
        "partitioner": "murmur2_random",
        "linger.ms": "0" if Producer is KafkaSyncProducer else "5",
        "acks": "-1",
        "queue.buffering.max.messages": "100000",
        "queue.buffering.max.kbytes": "1048576",
        "batch.num.messages": "10000",
        "batch.size": "1000000",
        "message.max.bytes": "1000000",
        "message.timeout.ms": "300000",
        "request.timeout.ms": "30000",
        "security.protocol": "plaintext",
        "max.in.flight": "1000000",
        "enable.idempotence": "false",
        "log_level": "6",
    }
    with Producer(properties(broker)) as producer:
        assert {name: producer.get_property(name) for name in expected} == expected
        assert not producer.get_property("debug")
        assert producer.get_property("no.such.property") is None
    with Producer(properties(broker, partitioner="fnv1a")) as producer:
        assert producer.get_property("partitioner") == "fnv1a"
    with Producer(properties(broker, enable_idempotence=True)) as producer:
        assert producer.get_property("enable.idempotence") == "true"
        assert producer.get_property("max.in.flight") == "5"


@both
def test_the_default_partitioner_spreads_keys_as_java_does(broker, topic, Producer):
    from kafka.partitioner.default import murmur2

    keys = [b"key-%d" % number for number in range(20)]
    with Producer(properties(broker)) as producer:
        for key in keys:
            producer.send(ProducerRecord(topic, key=key, value=key))
        count = len(producer.fetch_broker_metadata(topic).partitions)
    seen = {message.key(): message.partition() for message in consume(broker, topic, 20)}
    assert seen == {key: (murmur2(key) & 0x7fffffff) % count for key in keys}
    assert len(set(seen.values())) > 1


BAD = [
    ({"linger.mss": 5}, ["linger.mss", "did you mean linger.ms?"]),
    ({"bootstrap.server": "h:1"}, ["bootstrap.server", "did you mean bootstrap.servers?"]),
    ({"linger.ms": "soon"}, ["linger.ms", "Invalid value"]),
    ({"linger.ms": -1}, ["linger.ms"]),
    ({"acks": "some"}, ["acks"]),
    ({"partitioner": "invalid"}, ["partitioner"]),
    ({"compression.type": "zip"}, ["compression"]),
    ({"enable.idempotence": True, "max.in.flight": 6}, ["max.in.flight"]),
    ({"enable.idempotence": True, "acks": 1}, ["acks"]),
    ({"message.timeout.ms": 5, "linger.ms": 10}, ["message.timeout.ms", "linger.ms"]),
]


@both
@pytest.mark.parametrize("bad, words", BAD, ids=lambda value: str(value)[:40])
def test_bad_configuration_raises_with_librdkafkas_text_and_a_hint(Producer, bad, words):
    with pytest.raises(KafkaException) as caught:
        Producer(properties(NOWHERE, bad))
    assert isinstance(caught.value, ValueError)
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
    for word in words:
        assert word in str(caught.value)


@both
def test_an_unknown_property_comes_with_a_suggestion(Producer):
    with pytest.raises(KafkaException, match=r"did you mean .*queue\.buffering\.max\.messages"):
        Producer(properties(NOWHERE, {"queue.bufering.max.messages": 5}))


@both
@pytest.mark.parametrize("servers", [{}, {"bootstrap.servers": ""}], ids=["missing", "empty"])
def test_brokers_must_be_named(Producer, servers):
    with pytest.raises(KafkaException, match="bootstrap.servers") as caught:
        Producer({"client.id": "c", **servers})
    assert isinstance(caught.value, ValueError)
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG


@both
def test_a_callback_property_must_be_callable(Producer):
    for name in ("log_cb", "error_cb", "stats_cb", "oauthbearer_token_refresh_cb"):
        with pytest.raises(TypeError, match=name):
            Producer(properties(NOWHERE, {name: "print"}))
    with pytest.raises((TypeError, ValueError), match="client.id"):
        Producer(properties(NOWHERE, {"client.id": print}))


@both
def test_secrets_are_kept_and_not_shown(Producer):
    made = properties(NOWHERE, {"sasl.mechanisms": "PLAIN", "sasl.username": "u-s-e-r", "sasl.password": "hush-hush",
                                "security.protocol": "SASL_PLAINTEXT", "log_cb": lambda *args: None})
    with Producer(made) as producer:
        assert producer.properties["sasl.password"] == "hush-hush"
        for text in (repr(producer.properties), str(producer.properties), repr(producer), str(producer)):
            assert "hush-hush" not in text


# -- metadata --------------------------------------------------------------------------------------


@both
def test_broker_metadata(broker, topic, Producer):
    with Producer(properties(broker)) as producer:
        metadata = producer.fetch_broker_metadata(topic)
        again = producer.fetch_broker_metadata(topic, timeout=timedelta(seconds=5))
    assert isinstance(metadata, BrokerMetadata)
    assert metadata.topic == topic
    assert len(metadata.nodes) == len(broker.bootstrap_servers.split(","))
    assert len(metadata.partitions) == len(again.partitions) == 4
    assert topic in str(metadata)


@both
def test_broker_metadata_of_an_unreachable_cluster_raises_in_time(topic, Producer):
    with Producer(properties(NOWHERE)) as producer:
        with Stopwatch() as watch, pytest.raises(KafkaException) as caught:
            producer.fetch_broker_metadata(topic, 0.3)
        assert watch.seconds < 1
        assert caught.value.error.code in (ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
                                           ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT)
        for exception, timeout in ((ValueError, -1), (TypeError, "1")):
            with pytest.raises(exception, match="timeout"):
                producer.fetch_broker_metadata(topic, timeout)


# -- logs, errors, statistics, tokens --------------------------------------------------------------


def test_without_log_cb_logs_go_to_logging(caplog):
    with caplog.at_level(logging.DEBUG, logger="kafkapp"), KafkaAsyncProducer(properties(NOWHERE)):
        wait_for(lambda: any("127.0.0.1:1" in record.getMessage() for record in caplog.records))
    assert all(record.name.startswith("kafkapp") for record in caplog.records)
    assert max(record.levelno for record in caplog.records) >= logging.WARNING


def test_log_cb_takes_the_logs_over(caplog):
    seen = []
    made = properties(NOWHERE, {"log_cb": lambda *args: seen.append(args)})
    with caplog.at_level(logging.DEBUG, logger="kafkapp"), KafkaAsyncProducer(made):
        wait_for(lambda: seen)
    assert caplog.records == []
    for level, facility, message in seen:
        assert type(level) is int and 0 <= level <= 7
        assert type(facility) is str and type(message) is str
    assert any(facility == "FAIL" and "127.0.0.1:1" in message for _, facility, message in seen)


def test_error_cb_reports_that_all_brokers_are_down():
    seen = []
    with KafkaAsyncProducer(properties(NOWHERE, {"error_cb": seen.append, "log_cb": lambda *args: None})):
        wait_for(lambda: ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN in [error.code for error in seen])
    assert all(isinstance(error, Error) and error.message for error in seen)


def test_stats_cb_is_given_json(broker):
    seen = []
    with KafkaAsyncProducer(properties(broker, {"stats_cb": seen.append}, statistics_interval_ms=50)) as producer:
        wait_for(lambda: len(seen) >= 2)
        assert json.loads(seen[0])["name"] == producer.name


def test_a_property_callback_that_raises_goes_to_the_unraisable_hook(broker, topic, monkeypatch):
    unraisable, reports, mine = [], Reports(), ZeroDivisionError()
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))

    def stats_cb(text):
        raise mine

    with KafkaAsyncProducer(properties(broker, {"stats_cb": stats_cb}, statistics_interval_ms=50)) as producer:
        wait_for(lambda: len(unraisable) >= 2)
        producer.send(ProducerRecord(topic, value=b"v"), reports)
        reports.wait(1)
    assert set(unraisable) == {mine}


OAUTH = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "OAUTHBEARER", "sasl.oauthbearer.config": "scope=x",
         "log_cb": lambda *args: None}


@needs("sasl_oauthbearer")
def test_the_token_callback_is_given_its_configuration():
    seen, errors = [], []

    def refresh(config):
        seen.append(config)
        return "token", 4_000_000_000.0, "principal", {"extension": "value"}

    with KafkaAsyncProducer(properties(NOWHERE, OAUTH, {"oauthbearer_token_refresh_cb": refresh,
                                                        "error_cb": errors.append})):
        wait_for(lambda: seen)
        wait_for(lambda: errors)        # with a token it tries to connect, and that fails
    assert seen == ["scope=x"]
    assert ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION not in [error.code for error in errors]


@needs("sasl_oauthbearer")
def test_a_token_callback_that_fails_is_reported_to_error_cb(monkeypatch):
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)

    def refresh(config):
        raise LookupError("no token today")

    with KafkaAsyncProducer(properties(NOWHERE, OAUTH, {"oauthbearer_token_refresh_cb": refresh,
                                                        "error_cb": errors.append})):
        wait_for(lambda: ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION in [error.code for error in errors])
    assert "LookupError" in "".join(error.message for error in errors)


# -- closing ---------------------------------------------------------------------------------------

CALLS = {
    "send": lambda producer, record: producer.send(record),
    "purge": lambda producer, record: producer.purge(),
    "fetch_broker_metadata": lambda producer, record: producer.fetch_broker_metadata("t"),
    "with": lambda producer, record: producer.__enter__(),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_after_close_calls_raise_and_what_is_known_stays_known(broker, topic, kind):
    producer = MAKERS[kind](properties(broker, client_id="me"))
    name, made = producer.name, producer.properties
    producer.close()
    with Stopwatch() as watch:
        assert producer.close() is None
        assert producer.close(0) is None
    assert watch.seconds < 0.1
    calls = dict(CALLS)
    if kind != "sync":
        calls["try_send"] = lambda producer, record: producer.try_send(record)
        calls["poll_events"] = lambda producer, record: producer.poll_events()
    for call in calls.values():
        with pytest.raises(RuntimeError, match="(?i)clos|Manual"):
            call(producer, ProducerRecord(topic, value=b"v"))
    assert len(producer) == 0
    assert (producer.name, producer.client_id, producer.properties) == (name, "me", made)
    assert producer.get_property("client.id") == "me"
    assert producer.get_property("acks") == "-1"


@pytest.mark.parametrize("kind", MAKERS)
def test_with_closes_also_when_the_block_raises(broker, kind):
    with pytest.raises(ZeroDivisionError), MAKERS[kind](properties(broker)) as producer:
        raise ZeroDivisionError
    assert producer.closed
    with pytest.raises(RuntimeError, match="closed"):
        producer.purge()


@pytest.mark.parametrize("kind", ["auto", "manual"])
def test_a_dropped_producer_warns_delivers_and_runs_its_callbacks(broker, topic, kind):
    reports = Reports()
    producer = MAKERS[kind](properties(broker, HELD, client_id="dropped"))
    for number in range(100):
        producer.send(ProducerRecord(topic, 0, value=b"v", id=number), reports)
    with pytest.warns(ResourceWarning, match="dropped"):
        del producer
    reports.wait(100)
    assert reports.ids == list(range(100)) and reports.codes == [None] * 100


def test_a_dropped_producer_is_bounded_by_its_message_timeout(topic):
    reports = Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE, {"log_cb": lambda *args: None}, message_timeout_ms=300))
    producer.send(ProducerRecord(topic, value=b"v"), reports)
    with pytest.warns(ResourceWarning):
        del producer
    reports.wait(1, 5)
    assert reports.codes == [ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_closed_producer_goes_in_silence(broker, kind):
    producer = MAKERS[kind](properties(broker))
    producer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del producer
        gc.collect()


@both
def test_an_object_that_was_never_initialised_raises_and_does_not_crash(Producer):
    producer = Producer.__new__(Producer)
    for call in CALLS.values():
        with pytest.raises((RuntimeError, TypeError)):
            call(producer, ProducerRecord("t", value=b"v"))
    for known in (len, repr, lambda producer: producer.name, lambda producer: producer.close()):
        try:
            known(producer)
        except RuntimeError as error:
            assert "__init__" in str(error)
    del producer
    gc.collect()


@both
def test_used_as_asyncios_it_says_where_that_is(Producer):
    async def enter(producer):
        async with producer:
            pass

    async def wait(producer):
        await producer

    with Producer({"bootstrap.servers": NOWHERE}) as producer:
        for use in enter, wait:
            with pytest.raises(TypeError, match="is for threads, and asyncio's producer is kafkapp.aio.KafkaProducer"):
                asyncio.run(use(producer))
